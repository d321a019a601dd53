"""Depthwise convolution (one input and one output channel a group): the channels are the vector."""

from __future__ import annotations

from .compiler import inline, kernel
from .exponential import ZERO
from .memory import at, copy, fill


@inline
def _pack(w, packed, K, TAPS):  # type: ignore[no-untyped-def]
    for t in range(TAPS):
        source, target = at(w, t), at(packed, t * K)
        for k in range(K):
            target[k] = source[k * TAPS]


@inline
def _multiply_add(y, x, w, count):  # type: ignore[no-untyped-def]
    """y += x * w over channels."""
    for k in range(count):
        y[k] += x[k] * w[k]


@kernel
def depthwise_conv2d_forward_pack(w, packed, K, TAPS, begin, end):  # type: ignore[no-untyped-def]
    """packed[(r, s), k] = w[k, r, s, 0], in one task."""
    for _ in range(begin, end):
        _pack(w, packed, K, TAPS)


@kernel
def depthwise_conv2d_backward_data_pack(w, packed, K, TAPS, begin, end):  # type: ignore[no-untyped-def]
    """packed[(r, s), k] = w[k, r, s, 0], in one task."""
    for _ in range(begin, end):
        _pack(w, packed, K, TAPS)


@kernel
def depthwise_conv2d_forward(x, b, packed, y, stride, padding, dilation, H, W, K, R, S, B, OH, OW, begin, end):  # type: ignore[no-untyped-def]
    """A task computes one row of output pixels; each pixel adds up its taps in place."""
    for task in range(begin, end):
        n, oh = task // OH, task % OH
        for ow in range(OW):
            target = at(y, (task * OW + ow) * K)
            if B > 0:
                copy(at(b, 0), target, K)
            else:
                fill(target, ZERO, K)
            for r in range(R):
                ih = oh * stride[0] - padding[0] + r * dilation[0]
                for s in range(S):
                    iw = ow * stride[1] - padding[1] + s * dilation[1]
                    if 0 <= ih < H and 0 <= iw < W:
                        _multiply_add(target, at(x, ((n * H + ih) * W + iw) * K), at(packed, (r * S + s) * K), K)


@kernel
def depthwise_conv2d_backward_data(  # type: ignore[no-untyped-def]
    dy, packed, dx, stride, padding, dilation, OH, OW, H, W, K, R, S, begin, end,
):  # fmt: skip
    """A task computes one row of dx; each pixel adds up the taps that fall on an output pixel."""
    for task in range(begin, end):
        n, ih = task // H, task % H
        for iw in range(W):
            target = at(dx, (task * W + iw) * K)
            fill(target, ZERO, K)
            for r in range(R):
                above = ih + padding[0] - r * dilation[0]
                for s in range(S):
                    left = iw + padding[1] - s * dilation[1]
                    oh, ow = above // stride[0], left // stride[1]
                    if above % stride[0] == 0 and left % stride[1] == 0 and 0 <= oh < OH and 0 <= ow < OW:
                        _multiply_add(target, at(dy, ((n * OH + oh) * OW + ow) * K), at(packed, (r * S + s) * K), K)


@kernel
def depthwise_conv2d_backward_weight(  # type: ignore[no-untyped-def]
    x, dy, partial, stride, padding, dilation, N, H, W, OH, OW, K, R, S, PARTS, begin, end,
):  # fmt: skip
    """A task sums one run of output rows into its own partial result."""
    rows = N * OH
    for part in range(begin, end):
        target = at(partial, part * R * S * K)
        fill(target, ZERO, R * S * K)
        for row in range(part * rows // PARTS, (part + 1) * rows // PARTS):
            n, oh = row // OH, row % OH
            for ow in range(OW):
                for r in range(R):
                    ih = oh * stride[0] - padding[0] + r * dilation[0]
                    for s in range(S):
                        iw = ow * stride[1] - padding[1] + s * dilation[1]
                        if 0 <= ih < H and 0 <= iw < W:
                            _multiply_add(at(target, (r * S + s) * K), at(x, ((n * H + ih) * W + iw) * K),
                                          at(dy, (row * OW + ow) * K), K)  # fmt: skip


@kernel
def depthwise_conv2d_backward_weight_reduce(partial, dw, K, S, TAPS, PARTS, begin, end):  # type: ignore[no-untyped-def]
    """dw[k, r, s, 0] = the partial sums added in order, in one task."""
    for _ in range(begin, end):
        for t in range(TAPS):
            for k in range(K):
                total = partial[0, t, k]
                for part in range(1, PARTS):
                    total += partial[part, t, k]
                dw[k, t // S, t % S, 0] = total
