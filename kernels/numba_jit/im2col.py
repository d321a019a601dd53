"""Unfolding of convolution windows into columns, and its adjoint."""

from __future__ import annotations

from .compiler import inline, kernel
from .exponential import ZERO, at, at_most, copy, fill, floats

CHANNELS = 256  # channels that are added up at a time


@inline
def first_inside(position, dilation):  # type: ignore[no-untyped-def]
    """The first tap at or after coordinate 0 of a window that starts at `position`."""
    return 0 if position >= 0 else (dilation - 1 - position) // dilation


@inline
def first_outside(position, dilation, taps, size):  # type: ignore[no-untyped-def]
    """The first tap at or after coordinate `size`, or `taps` if the window ends before."""
    return 0 if position >= size else at_most(taps, (size - position + dilation - 1) // dilation)


@inline
def _unfold_row(row, target, position, dilation, S, W, C):  # type: ignore[no-untyped-def]
    """The S taps of a window in one row of x."""
    low, high = first_inside(position, dilation), first_outside(position, dilation, S, W)
    high = low if high < low else high
    fill(target, ZERO, low * C)
    if dilation == 1:
        copy(at(row, (position + low) * C), at(target, low * C), (high - low) * C)
    else:
        for s in range(low, high):
            copy(at(row, (position + s * dilation) * C), at(target, s * C), C)
    fill(at(target, high * C), ZERO, (S - high) * C)


@kernel
def im2col(x, columns, H, W, C, OH, OW, R, S, stride, padding, dilation, begin, end):  # type: ignore[no-untyped-def]
    """Copies the taps of a window that are neighbours in x at once; task i handles row i of the N * OH output rows."""
    for task in range(begin, end):
        n, oh = task // OH, task % OH
        for ow in range(OW):
            for r in range(R):
                h = oh * stride[0] - padding[0] + r * dilation[0]
                target = at(columns, ((task * OW + ow) * R + r) * S * C)
                if 0 <= h < H:
                    _unfold_row(at(x, (n * H + h) * W * C), target, ow * stride[1] - padding[1], dilation[1], S, W, C)
                else:
                    fill(target, ZERO, S * C)


@inline
def window(position, tap, stride, dilation, count):  # type: ignore[no-untyped-def]
    """The output index whose window meets the padded `position` with `tap`, or -1."""
    start = position - tap * dilation
    index = start // stride
    return index if start >= 0 and index * stride == start and index < count else -1


@kernel
def col2im(columns, x, H, W, C, OH, OW, R, S, stride, padding, dilation, begin, end):  # type: ignore[no-untyped-def]
    """Gathers, for every pixel, the taps that met it, in order; task i writes row i of the N * H rows of x."""
    total = floats(CHANNELS)
    for task in range(begin, end):
        n, h = task // H, task % H
        for w in range(W):
            for c in range(0, C, CHANNELS):
                count = at_most(C - c, CHANNELS)
                fill(total, ZERO, count)
                for r in range(R):
                    oh = window(h + padding[0], r, stride[0], dilation[0], OH)
                    if oh < 0:
                        continue
                    for s in range(S):
                        ow = window(w + padding[1], s, stride[1], dilation[1], OW)
                        if ow < 0:
                            continue
                        source = at(columns, ((((n * OH + oh) * OW + ow) * R + r) * S + s) * C + c)
                        for j in range(count):
                            total[j] += source[j]
                copy(total, at(x, (task * W + w) * C + c), count)
