"""Convolution by blocks of im2col and `gemm`; every block of columns stays in L2 and is used at once.

Depthwise convolutions have one input channel a group, too few for a matrix product: see `depthwise.py`.
"""

from __future__ import annotations

from ..blocking import BLOCK, PACKED
from .compiler import inline, kernel
from .depthwise import (  # noqa: F401 - stages of this module's operations
    depthwise_conv2d_backward_data,
    depthwise_conv2d_backward_data_pack,
    depthwise_conv2d_backward_weight,
    depthwise_conv2d_backward_weight_reduce,
    depthwise_conv2d_forward,
    depthwise_conv2d_forward_pack,
)
from .direct import (  # noqa: F401 - stages of this module's operations
    direct_conv2d_backward_data,
    direct_conv2d_backward_data_pack,
    direct_conv2d_forward,
    direct_conv2d_forward_pack,
)
from .direct_weight import (  # noqa: F401 - stages of this module's operations
    direct_conv2d_backward_weight,
    direct_conv2d_backward_weight_reduce,
)
from .exponential import ZERO
from .gemm import gemm
from .im2col import unfold_row
from .memory import at, at_most, copy, fill
from .narrow import (  # noqa: F401 - stages of this module's operations
    narrow_conv2d_backward_data,
    narrow_conv2d_backward_data_pack,
    narrow_conv2d_backward_weight,
    narrow_conv2d_backward_weight_reduce,
    narrow_conv2d_forward,
    narrow_conv2d_forward_pack,
)
from .pointwise import (  # noqa: F401 - stages of this module's operations
    panels_conv2d_backward_data,
    panels_conv2d_backward_data_pack,
    panels_conv2d_backward_weight,
    panels_conv2d_backward_weight_pack,
    panels_conv2d_forward,
    panels_conv2d_forward_gather,
    panels_conv2d_forward_pack,
)
from .transpose import transpose
from .winograd import (  # noqa: F401 - stages of this module's operations
    winograd_conv2d_backward_data,
    winograd_conv2d_backward_data_weights,
    winograd_conv2d_forward,
    winograd_conv2d_forward_weights,
)
from .winograd_weight import (  # noqa: F401 - stages of this module's operations
    winograd_conv2d_backward_weight,
    winograd_conv2d_backward_weight_reduce,
)
from .winograd_wide import (  # noqa: F401 - stages of this module's operations
    wide_winograd_conv2d_backward_data,
    wide_winograd_conv2d_backward_data_inputs,
    wide_winograd_conv2d_forward,
    wide_winograd_conv2d_forward_inputs,
)


@inline
def _pointwise(R, S, stride, padding):  # type: ignore[no-untyped-def]
    """Whether the columns are the image itself."""
    return R * S == 1 and stride[0] == 1 and stride[1] == 1 and padding[0] == 0 and padding[1] == 0


@kernel
def conv2d_forward_pack(w, packed, K, KG, DEPTH, begin, end):  # type: ignore[no-untyped-def]
    """packed[g, (r, s, c), k] = w[g * KG + k, r, s, c]; a task packs PACKED channels, group by group."""
    k, last = begin * PACKED, at_most(end * PACKED, K)
    while k < last:
        g, within = k // KG, k % KG
        count = at_most(last - k, KG - within)
        transpose(at(w, k * DEPTH), DEPTH, at(packed, g * DEPTH * KG + within), KG, count, DEPTH)
        k += count


@kernel
def conv2d_forward(  # type: ignore[no-untyped-def]
    x, b, packed, columns, y, stride, padding, dilation, H, W, C, K, R, S, CG, KG, B, OH, OW, GROUPS, DEPTH, PIXELS,
    ROWS, begin, end,
):  # fmt: skip
    """A task computes ROWS output pixels: their columns, then y = bias + columns @ packed, group by group."""
    for task in range(begin, end):
        first = task * ROWS
        rows = at_most(ROWS, PIXELS - first)
        if B > 0:
            for i in range(rows):
                copy(at(b, 0), at(y, (first + i) * K), K)
        for g in range(GROUPS):
            if _pointwise(R, S, stride, padding):
                a, a_row = at(x, first * C + g * CG), C
            else:
                for i in range(rows):
                    pixel = first + i
                    n, oh, ow = pixel // (OH * OW), pixel // OW % OH, pixel % OW
                    for r in range(R):
                        ih = oh * stride[0] - padding[0] + r * dilation[0]
                        iw, row = ow * stride[1] - padding[1], at(x, (n * H + ih) * W * C + g * CG)
                        unfold_row(row, 0 <= ih < H, at(columns, i * DEPTH + r * S * CG), iw, dilation[1], S, W, C, CG)
                a, a_row = at(columns, 0), DEPTH
            gemm(rows, KG, DEPTH, a, a_row, 1, at(packed, g * DEPTH * KG), KG,
                 at(y, first * K + g * KG), K, 1 if B > 0 else 0)  # fmt: skip


@kernel
def conv2d_backward_data_pack(w, packed, K, CG, KG, TAPS, begin, end):  # type: ignore[no-untyped-def]
    """packed[g, (r, s), k, c] = w[g * KG + k, r, s, c]; a task packs PACKED channels."""
    for k in range(begin * PACKED, at_most(end * PACKED, K)):
        for t in range(TAPS):
            copy(at(w, (k * TAPS + t) * CG), at(packed, ((k // KG * TAPS + t) * KG + k % KG) * CG), CG)


@inline
def _gather_gradient(dy, image, ih, iw, target, OH, OW, K, KG, R, S, stride, padding, dilation):  # type: ignore[no-untyped-def]
    """target = the gradients that pixel (ih, iw) meets, KG for each tap that falls on an output pixel; counts the taps.

    `image` is the first row of dy's image among all images' rows, and `dy` points to the group's first channel.
    """
    taps = 0
    for r in range(R):
        above = ih + padding[0] - r * dilation[0]
        if above % stride[0] == 0:
            oh = above // stride[0]
            for s in range(S):
                left = iw + padding[1] - s * dilation[1]
                if left % stride[1] == 0:
                    ow = left // stride[1]
                    if 0 <= oh < OH and 0 <= ow < OW:
                        copy(at(dy, ((image + oh) * OW + ow) * K), at(target, taps * KG), KG)
                    else:
                        fill(at(target, taps * KG), ZERO, KG)
                    taps += 1
    return taps


@kernel
def conv2d_backward_data(  # type: ignore[no-untyped-def]
    dy, packed, columns, dx, stride, padding, dilation, N, H, W, C, OH, OW, K, R, S, CG, KG, GROUPS, TAPS, DEPTH,
    BLOCKS, ROWS, begin, end,
):  # fmt: skip
    """A task computes ROWS pixels of dx of one phase, the same position modulo the stride: they meet the same taps."""
    for task in range(begin, end):
        phase_h, phase_w = task // BLOCKS // stride[1], task // BLOCKS % stride[1]
        high, wide = (H - phase_h + stride[0] - 1) // stride[0], (W - phase_w + stride[1] - 1) // stride[1]
        first = task % BLOCKS * ROWS
        rows = at_most(ROWS, N * high * wide - first)
        if phase_h >= H or phase_w >= W or rows <= 0:
            continue
        for g in range(GROUPS):
            if _pointwise(R, S, stride, padding):
                a, a_row, taps = at(dy, first * K + g * KG), K, TAPS
            else:
                a, a_row, taps = at(columns, 0), DEPTH, 0
                for i in range(rows):
                    pixel = first + i
                    n, ih, iw = pixel // (high * wide), pixel // wide % high, pixel % wide
                    ih, iw = phase_h + ih * stride[0], phase_w + iw * stride[1]
                    taps = _gather_gradient(at(dy, g * KG), n * OH, ih, iw, at(columns, i * DEPTH), OH, OW, K, KG, R, S,
                                            stride, padding, dilation)  # fmt: skip
            # One product where all taps take part, or none; otherwise one for each tap of the phase.
            whole = taps == TAPS or taps == 0
            done = 0
            while done < rows:
                pixel = first + done
                n, ih, iw = pixel // (high * wide), pixel // wide % high, pixel % wide
                # Rows of dx are evenly spaced within an image row; everywhere if the stride is 1.
                run = rows - done if stride[0] == 1 and stride[1] == 1 else at_most(rows - done, wide - iw)
                target = at(dx, ((n * H + phase_h + ih * stride[0]) * W + phase_w + iw * stride[1]) * C + g * CG)
                t = 0
                for tap in range(1 if whole else TAPS):
                    met = (phase_h + padding[0] - tap // S * dilation[0]) % stride[0] == 0 and (
                        phase_w + padding[1] - tap % S * dilation[1]
                    ) % stride[1] == 0
                    if whole or met:
                        gemm(run, CG, taps * KG if whole else KG, at(a, done * a_row + t * KG), a_row, 1,
                             at(packed, (g * TAPS + tap) * KG * CG), CG, target, stride[1] * C,
                             1 if t > 0 else 0)  # fmt: skip
                        t += 1
                done += run


@kernel
def conv2d_backward_weight(  # type: ignore[no-untyped-def]
    x, dy, columns, partial, stride, padding, dilation, H, W, C, K, R, S, CG, KG, OH, OW, GROUPS, DEPTH, PIXELS, ROWS,
    PARTS, begin, end,
):  # fmt: skip
    """A task sums dy^T @ columns over one run of pixels for one kernel row r and one group."""
    total = (PIXELS + ROWS - 1) // ROWS
    for task in range(begin, end):
        part, g, r = task // (GROUPS * R), task // R % GROUPS, task % R
        start, stop = part * total // PARTS, (part + 1) * total // PARTS
        for block in range(start, stop if stop > start else start + 1):  # no pixels at all: one empty block of zeros
            first = block * ROWS
            rows = at_most(ROWS, PIXELS - first)
            if _pointwise(R, S, stride, padding):
                b, b_row = at(x, first * C + g * CG), C
            else:
                for i in range(rows):
                    pixel = first + i
                    n, oh, ow = pixel // (OH * OW), pixel // OW % OH, pixel % OW
                    ih, iw = oh * stride[0] - padding[0] + r * dilation[0], ow * stride[1] - padding[1]
                    row = at(x, (n * H + ih) * W * C + g * CG)
                    unfold_row(row, 0 <= ih < H, at(columns, i * DEPTH), iw, dilation[1], S, W, C, CG)
                b, b_row = at(columns, 0), DEPTH
            gemm(KG, DEPTH, rows, at(dy, first * K + g * KG), 1, K, b, b_row,
                 at(partial, ((part * K + g * KG) * R + r) * DEPTH), R * DEPTH, 1 if block > start else 0)  # fmt: skip


@kernel
def conv2d_backward_weight_reduce(partial, dw, K, R, DEPTH, PARTS, begin, end):  # type: ignore[no-untyped-def]
    """dw = the partial sums added in order; a task adds BLOCK elements."""
    size = K * R * DEPTH
    first, last = begin * BLOCK, at_most(end * BLOCK, size)
    copy(at(partial, first), at(dw, first), last - first)
    for part in range(1, PARTS):
        total, addend = at(dw, first), at(partial, part * size + first)
        for i in range(last - first):
            total[i] += addend[i]
