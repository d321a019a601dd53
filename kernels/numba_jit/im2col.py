"""Unfolding of convolution windows into columns, and its adjoint."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .compiler import inline, kernel
from .exponential import ZERO
from .memory import at, at_most, copy, fill
from .simd import LANES, FloatPointer, constant, masked_load, masked_store, tail_mask


@intrinsic
def add_to(typingctx, target, source, count):  # type: ignore[no-untyped-def]
    """Add `count` elements of `source` to `target`."""

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        target, source, count = arguments
        with cgutils.for_range_slice(b, constant(0), count, constant(LANES)) as (c, _):
            mask = tail_mask(b, b.sub(count, c))
            place = b.gep(target, [c])
            total = b.fadd(masked_load(b, place, mask), masked_load(b, b.gep(source, [c]), mask))
            masked_store(b, total, place, mask)
        return context.get_dummy_value()

    return types.void(FloatPointer, FloatPointer, types.int64), codegen


@inline
def first_inside(position, dilation):  # type: ignore[no-untyped-def]
    """The first tap at or after coordinate 0 of a window that starts at `position`."""
    return 0 if position >= 0 else (dilation - 1 - position) // dilation


@inline
def first_outside(position, dilation, taps, size):  # type: ignore[no-untyped-def]
    """The first tap at or after coordinate `size`, or `taps` if the window ends before."""
    if position + (taps - 1) * dilation < size:
        return taps
    return 0 if position >= size else (size - position + dilation - 1) // dilation


@inline
def window_at(position, tap, stride, dilation, count):  # type: ignore[no-untyped-def]
    """The index of the window, of `count`, that meets the padded `position` with `tap`, or -1."""
    start = position - tap * dilation
    index = start // stride
    return index if start >= 0 and index * stride == start and index < count else -1


@inline
def unfold_row(row, inside, target, position, dilation, S, W, C, channels):  # type: ignore[no-untyped-def]
    """The S taps of a window in one row of an image, zeros outside; of C channels a pixel, the first `channels`.

    `inside` says whether the row itself is in the image.
    """
    if not inside:
        fill(target, ZERO, S * channels)
        return
    low = at_most(first_inside(position, dilation), S)
    high = first_outside(position, dilation, S, W)
    high = low if high < low else high
    fill(target, ZERO, low * channels)
    if dilation == 1 and channels == C:
        copy(at(row, (position + low) * C), at(target, low * C), (high - low) * C)
    else:
        for s in range(low, high):
            copy(at(row, (position + s * dilation) * C), at(target, s * channels), channels)
    fill(at(target, high * channels), ZERO, (S - high) * channels)


@kernel
def im2col(x, columns, H, W, C, OH, OW, R, S, stride, padding, dilation, begin, end):  # type: ignore[no-untyped-def]
    """Copies the taps of a window that are neighbours in x at once; task i handles row i of the N * OH output rows."""
    for task in range(begin, end):
        n, oh = task // OH, task % OH
        for ow in range(OW):
            for r in range(R):
                h = oh * stride[0] - padding[0] + r * dilation[0]
                target = at(columns, ((task * OW + ow) * R + r) * S * C)
                unfold_row(at(x, (n * H + h) * W * C), 0 <= h < H, target, ow * stride[1] - padding[1], dilation[1],
                           S, W, C, C)  # fmt: skip


@inline
def _fold_row(source, row, position, dilation, S, W, C):  # type: ignore[no-untyped-def]
    """Add the S taps of a window to one row of x."""
    low, high = first_inside(position, dilation), first_outside(position, dilation, S, W)
    if dilation == 1 and low < high:
        add_to(at(row, (position + low) * C), at(source, low * C), (high - low) * C)
    else:
        for s in range(low, high):
            add_to(at(row, (position + s * dilation) * C), at(source, s * C), C)


@kernel
def col2im(columns, x, H, W, C, OH, OW, R, S, stride, padding, dilation, begin, end):  # type: ignore[no-untyped-def]
    """Gathers for task i, row i of the N * H rows of x, what the windows that met it hold, kernel row by kernel row."""
    for task in range(begin, end):
        n, h = task // H, task % H
        row = at(x, task * W * C)
        fill(row, ZERO, W * C)
        for r in range(R):
            oh = window_at(h + padding[0], r, stride[0], dilation[0], OH)
            if oh < 0:
                continue
            for ow in range(OW):
                source = at(columns, (((n * OH + oh) * OW + ow) * R + r) * S * C)
                _fold_row(source, row, ow * stride[1] - padding[1], dilation[1], S, W, C)
