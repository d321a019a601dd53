"""Convolution by blocks of im2col and `gemm`; every block of columns stays in L2 and is used at once.

Depthwise convolutions have one input channel a group, too few for a matrix product: see `depthwise.py`.
"""

from __future__ import annotations

from ..ops import BLOCK
from .compiler import inline, kernel
from .depthwise import (  # noqa: F401 - stages of this module's operations
    depthwise_conv2d_backward_data,
    depthwise_conv2d_backward_data_pack,
    depthwise_conv2d_backward_weight,
    depthwise_conv2d_backward_weight_reduce,
    depthwise_conv2d_forward,
    depthwise_conv2d_forward_pack,
)
from .gemm import gemm
from .simd import advance, pointer


@inline
def _least(first, second):  # type: ignore[no-untyped-def]
    return first if first < second else second


@inline
def _pointwise(R, S, stride, padding):  # type: ignore[no-untyped-def]
    """Whether the columns are the image itself."""
    return R * S == 1 and stride[0] == 1 and stride[1] == 1 and padding[0] == 0 and padding[1] == 0


@inline
def _gather_row(x, n, ih, iw, first_channel, channels, S, step, target, to):  # type: ignore[no-untyped-def]
    """target[to:] = the S pixels (iw, iw + step, ...) of image row ih, zeros outside the image."""
    H, W = x.shape[1], x.shape[2]
    for s in range(S):
        at = iw + s * step
        if 0 <= ih < H and 0 <= at < W:
            for c in range(channels):
                target[to + c] = x[n, ih, at, first_channel + c]
        else:
            for c in range(channels):
                target[to + c] = 0.0
        to += channels


@kernel
def conv2d_forward_pack(w, packed, R, S, CG, KG, begin, end):  # type: ignore[no-untyped-def]
    """packed[g, (r, s, c), k] = w[g * KG + k, r, s, c]; a task packs one group."""
    for g in range(begin, end):
        for k in range(KG):
            for r in range(R):
                for s in range(S):
                    for c in range(CG):
                        packed[g, (r * S + s) * CG + c, k] = w[g * KG + k, r, s, c]


@kernel
def conv2d_forward(  # type: ignore[no-untyped-def]
    x, b, packed, columns, y, stride, padding, dilation, C, K, R, S, CG, KG, B, OH, OW, GROUPS, DEPTH, PIXELS, ROWS,
    begin, end,
):  # fmt: skip
    """A task computes ROWS output pixels: their columns, then y = bias + columns @ packed, group by group."""
    for task in range(begin, end):
        first = task * ROWS
        rows = _least(ROWS, PIXELS - first)
        if B > 0:
            for pixel in range(first, first + rows):
                n, oh, ow = pixel // (OH * OW), pixel // OW % OH, pixel % OW
                for k in range(K):
                    y[n, oh, ow, k] = b[k]
        for g in range(GROUPS):
            if _pointwise(R, S, stride, padding):
                a, a_row = pointer(x, first * C + g * CG), C
            else:
                for i in range(rows):
                    pixel = first + i
                    n, oh, ow = pixel // (OH * OW), pixel // OW % OH, pixel % OW
                    for r in range(R):
                        _gather_row(x, n, oh * stride[0] - padding[0] + r * dilation[0],
                                    ow * stride[1] - padding[1], g * CG, CG, S, dilation[1], columns[i], r * S * CG)  # fmt: skip
                a, a_row = pointer(columns, 0), DEPTH
            gemm(rows, KG, DEPTH, a, a_row, 1, pointer(packed, g * DEPTH * KG), KG,
                 pointer(y, first * K + g * KG), K, 1 if B > 0 else 0)  # fmt: skip


@kernel
def conv2d_backward_data_pack(w, packed, R, S, CG, KG, begin, end):  # type: ignore[no-untyped-def]
    """packed[g, (r, s), k, c] = w[g * KG + k, r, s, c]; a task packs one group."""
    for g in range(begin, end):
        for r in range(R):
            for s in range(S):
                for k in range(KG):
                    for c in range(CG):
                        packed[g, r * S + s, k, c] = w[g * KG + k, r, s, c]


@inline
def _gather_gradient(dy, columns, g, n, ih, iw, i, KG, R, S, stride, padding, dilation):  # type: ignore[no-untyped-def]
    """columns[i] = the gradients that pixel (ih, iw) meets, one run of KG for each tap that falls on an output pixel."""
    OH, OW = dy.shape[1], dy.shape[2]
    to = 0
    for r in range(R):
        above = ih + padding[0] - r * dilation[0]
        if above % stride[0] == 0:
            for s in range(S):
                left = iw + padding[1] - s * dilation[1]
                if left % stride[1] == 0:
                    oh, ow = above // stride[0], left // stride[1]
                    if 0 <= oh < OH and 0 <= ow < OW:
                        for k in range(KG):
                            columns[i, to + k] = dy[n, oh, ow, g * KG + k]
                    else:
                        for k in range(KG):
                            columns[i, to + k] = 0.0
                    to += KG
    return to // KG


@kernel
def conv2d_backward_data(  # type: ignore[no-untyped-def]
    dy, packed, columns, dx, stride, padding, dilation, N, H, W, C, K, R, S, CG, KG, GROUPS, TAPS, DEPTH, BLOCKS, ROWS,
    begin, end,
):  # fmt: skip
    """A task computes ROWS pixels of dx of one phase, i.e. with the same position modulo the stride: they meet the same taps."""
    for task in range(begin, end):
        phase_h, phase_w = task // BLOCKS // stride[1], task // BLOCKS % stride[1]
        high, wide = (H - phase_h + stride[0] - 1) // stride[0], (W - phase_w + stride[1] - 1) // stride[1]
        first = task % BLOCKS * ROWS
        rows = _least(ROWS, N * high * wide - first)
        if phase_h >= H or phase_w >= W or rows <= 0:
            continue
        for g in range(GROUPS):
            if _pointwise(R, S, stride, padding):
                a, a_row, taps = pointer(dy, first * K + g * KG), K, TAPS
            else:
                a, a_row, taps = pointer(columns, 0), DEPTH, 0
                for i in range(rows):
                    pixel = first + i
                    n, ih, iw = pixel // (high * wide), pixel // wide % high, pixel % wide
                    taps = _gather_gradient(dy, columns, g, n, phase_h + ih * stride[0], phase_w + iw * stride[1], i, KG,
                                            R, S, stride, padding, dilation)  # fmt: skip
            # One product where all taps take part, or none; otherwise one for each tap of the phase.
            whole = taps == TAPS or taps == 0
            done = 0
            while done < rows:
                pixel = first + done
                n, ih, iw = pixel // (high * wide), pixel // wide % high, pixel % wide
                # Rows of dx are evenly spaced within an image row; everywhere if the stride is 1.
                run = rows - done if stride[0] == 1 and stride[1] == 1 else _least(rows - done, wide - iw)
                at = ((n * H + phase_h + ih * stride[0]) * W + phase_w + iw * stride[1]) * C + g * CG
                t = 0
                for tap in range(1 if whole else TAPS):
                    met = ((phase_h + padding[0] - tap // S * dilation[0]) % stride[0] == 0
                           and (phase_w + padding[1] - tap % S * dilation[1]) % stride[1] == 0)
                    if whole or met:
                        gemm(run, CG, taps * KG if whole else KG, advance(a, done * a_row + t * KG), a_row, 1,
                             pointer(packed, (g * TAPS + tap) * KG * CG), CG, pointer(dx, at), stride[1] * C,
                             1 if t > 0 else 0)  # fmt: skip
                        t += 1
                done += run


@kernel
def conv2d_backward_weight(  # type: ignore[no-untyped-def]
    x, dy, columns, partial, stride, padding, dilation, C, K, R, S, CG, KG, OH, OW, GROUPS, DEPTH, PIXELS, ROWS, PARTS,
    begin, end,
):  # fmt: skip
    """A task sums dy^T @ columns over one run of pixels for one kernel row r and one group."""
    total = (PIXELS + ROWS - 1) // ROWS
    for task in range(begin, end):
        part, g, r = task // (GROUPS * R), task // R % GROUPS, task % R
        start, stop = part * total // PARTS, (part + 1) * total // PARTS
        for block in range(start, stop if stop > start else start + 1):  # no pixels at all: one empty block of zeros
            first = block * ROWS
            rows = _least(ROWS, PIXELS - first)
            if _pointwise(R, S, stride, padding):
                b, b_row = pointer(x, first * C + g * CG), C
            else:
                for i in range(rows):
                    pixel = first + i
                    n, oh, ow = pixel // (OH * OW), pixel // OW % OH, pixel % OW
                    _gather_row(x, n, oh * stride[0] - padding[0] + r * dilation[0], ow * stride[1] - padding[1],
                                g * CG, CG, S, dilation[1], columns[i], 0)  # fmt: skip
                b, b_row = pointer(columns, 0), DEPTH
            gemm(KG, DEPTH, rows, pointer(dy, first * K + g * KG), 1, K, b, b_row,
                 pointer(partial, ((part * K + g * KG) * R + r) * DEPTH), R * DEPTH, 1 if block > start else 0)  # fmt: skip


@kernel
def conv2d_backward_weight_reduce(partial, dw, K, R, DEPTH, PARTS, begin, end):  # type: ignore[no-untyped-def]
    """dw = the partial sums added in order; a task adds BLOCK elements."""
    size = K * R * DEPTH
    total, parts = pointer(dw, 0), pointer(partial, 0)
    first, last = begin * BLOCK, _least(end * BLOCK, size)
    for i in range(first, last):
        total[i] = parts[i]
    for part in range(1, PARTS):
        for i in range(first, last):
            total[i] += parts[part * size + i]
