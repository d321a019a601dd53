"""Pooling: forward one output pixel at a time, backward one row of dx at a time, from the windows that met it.

A pixel's channels pass as vectors with a masked tail; what a window accumulates stays in registers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .compiler import inline, kernel
from .exponential import ZERO
from .im2col import first_inside, first_outside, window_at
from .memory import at, at_most, fill
from .simd import (
    LANES,
    VECTOR,
    Accumulator,
    FloatPointer,
    constant,
    f32,
    i32,
    masked_load,
    masked_store,
    splat,
    tail_mask,
    zero,
)

_TAPS, _STORED_TAPS = ir.VectorType(i32, LANES), ir.VectorType(ir.IntType(16), LANES)
_TapPointer = types.CPointer(types.uint16)


def _masked_taps(b: Any, kind: str, result: ir.Type, parameters: list[ir.Type]) -> Any:
    name = f"llvm.masked.{kind}.v{LANES}i16.p0"
    return cgutils.get_or_insert_function(b.module, ir.FunctionType(result, parameters), name)


def _load_taps(b: Any, pointer: Any, mask: Any) -> Any:
    address = b.bitcast(pointer, _STORED_TAPS.as_pointer())
    function = _masked_taps(b, "load", _STORED_TAPS, [address.type, i32, mask.type, _STORED_TAPS])
    nothing = ir.Constant(_STORED_TAPS, [0] * LANES)
    return b.call(function, [address, ir.Constant(i32, 2), mask, nothing])


def _store_taps(b: Any, value: Any, pointer: Any, mask: Any) -> None:
    address = b.bitcast(pointer, _STORED_TAPS.as_pointer())
    function = _masked_taps(b, "store", ir.VoidType(), [_STORED_TAPS, address.type, i32, mask.type])
    b.call(function, [value, address, ir.Constant(i32, 2), mask])


@intrinsic
def _window_maximum(typingctx, source, row_step, step, rows, columns, tap, row_taps, y, argmax, count):  # type: ignore[no-untyped-def]
    """Maximum and tap of a window of `rows` x `columns` pixels for `count` channels.

    `row_step` and `step` part its rows and pixels in memory; `tap` is its first tap, `row_taps` the taps of a full row.
    """

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        source, row_step, step, rows, columns, tap, row_taps, y, argmax, count = arguments
        best, where = cgutils.alloca_once(b, VECTOR), cgutils.alloca_once(b, _TAPS)
        with cgutils.for_range_slice(b, constant(0), count, constant(LANES)) as (c, _):
            mask = tail_mask(b, b.sub(count, c))
            b.store(splat(b, ir.Constant(f32, float("-inf"))), best)
            b.store(splat(b, b.trunc(tap, i32), i32), where)
            with cgutils.for_range(b, rows) as row:
                line = b.gep(source, [b.add(b.mul(row.index, row_step), c)])
                first = b.add(tap, b.mul(row.index, row_taps))
                with cgutils.for_range(b, columns) as column:
                    value = masked_load(b, b.gep(line, [b.mul(column.index, step)]), mask)
                    here = splat(b, b.trunc(b.add(first, column.index), i32), i32)
                    better = b.or_(
                        b.fcmp_ordered(">", value, b.load(best)), b.fcmp_unordered("uno", value, value))  # fmt: skip
                    b.store(b.select(better, value, b.load(best)), best)
                    b.store(b.select(better, here, b.load(where)), where)
            masked_store(b, b.load(best), b.gep(y, [c]), mask)
            _store_taps(b, b.trunc(b.load(where), _STORED_TAPS), b.gep(argmax, [c]), mask)
        return context.get_dummy_value()

    L = types.int64
    return types.void(FloatPointer, L, L, L, L, L, L, FloatPointer, _TapPointer, L), codegen


@kernel
def max_pool2d_forward(x, y, argmax, H, W, C, OH, OW, R, S, stride, padding, dilation, begin, end):  # type: ignore[no-untyped-def]
    """Compares tap by tap in window order; task i handles row i of the N * OH output rows."""
    for task in range(begin, end):
        n, top = task // OH, task % OH * stride[0] - padding[0]
        r_low, r_high = first_inside(top, dilation[0]), first_outside(top, dilation[0], R, H)
        line = at(x, (n * H + top + r_low * dilation[0]) * W * C)
        for ow in range(OW):
            left = ow * stride[1] - padding[1]
            s_low, s_high = first_inside(left, dilation[1]), first_outside(left, dilation[1], S, W)
            pixel = (task * OW + ow) * C
            _window_maximum(
                at(line, (left + s_low * dilation[1]) * C), dilation[0] * W * C, dilation[1] * C,
                r_high - r_low, s_high - s_low, r_low * S + s_low, S, at(y, pixel), at(argmax, pixel), C)  # fmt: skip


@intrinsic
def _add_where(typingctx, target, source, argmax, tap, count):  # type: ignore[no-untyped-def]
    """Add to `target` the elements of `source` whose `argmax` is `tap`."""

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        target, source, argmax, tap, count = arguments
        wanted = b.trunc(splat(b, b.trunc(tap, i32), i32), _STORED_TAPS)
        with cgutils.for_range_slice(b, constant(0), count, constant(LANES)) as (c, _):
            mask = tail_mask(b, b.sub(count, c))
            won = b.icmp_unsigned("==", _load_taps(b, b.gep(argmax, [c]), mask), wanted)
            gradient = b.select(won, masked_load(b, b.gep(source, [c]), mask), zero())
            place = b.gep(target, [c])
            masked_store(b, b.fadd(masked_load(b, place, mask), gradient), place, mask)
        return context.get_dummy_value()

    L = types.int64
    return types.void(FloatPointer, FloatPointer, _TapPointer, L, L), codegen


@kernel
def max_pool2d_backward(dy, argmax, dx, H, W, C, OH, OW, R, S, stride, padding, dilation, begin, end):  # type: ignore[no-untyped-def]
    """Adds for task i, row i of the N * H rows of dx, what each window that met it sends back, kernel row by row."""
    for task in range(begin, end):
        n, h = task // H, task % H
        row = at(dx, task * W * C)
        fill(row, ZERO, W * C)
        for r in range(R):
            oh = window_at(h + padding[0], r, stride[0], dilation[0], OH)
            if oh < 0:
                continue
            for ow in range(OW):
                left = ow * stride[1] - padding[1]
                pixel = ((n * OH + oh) * OW + ow) * C
                for s in range(first_inside(left, dilation[1]), first_outside(left, dilation[1], S, W)):
                    place = at(row, (left + s * dilation[1]) * C)
                    _add_where(place, at(dy, pixel), at(argmax, pixel), r * S + s, C)


# ---------------------------------------------------------------- averages


@intrinsic
def _window_mean(typingctx, source, row_step, step, rows, columns, divisor, y, count):  # type: ignore[no-untyped-def]
    """The sum of `rows` x `columns` pixels over `divisor`, for `count` channels; steps as in `_window_maximum`."""

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        source, row_step, step, rows, columns, divisor, y, count = arguments
        total, divisors = Accumulator(b), splat(b, divisor)
        with cgutils.for_range_slice(b, constant(0), count, constant(LANES)) as (c, _):
            mask = tail_mask(b, b.sub(count, c))
            total.set(zero())
            with cgutils.for_range(b, rows) as row:
                line = b.gep(source, [b.add(b.mul(row.index, row_step), c)])
                with cgutils.for_range(b, columns) as column:
                    value = masked_load(b, b.gep(line, [b.mul(column.index, step)]), mask)
                    total.set(b.fadd(total.get(), value))
            masked_store(b, b.fdiv(total.get(), divisors), b.gep(y, [c]), mask)
        return context.get_dummy_value()

    L = types.int64
    return types.void(FloatPointer, L, L, L, L, types.float32, FloatPointer, L), codegen


@intrinsic
def _add_divided(typingctx, target, source, divisor, count):  # type: ignore[no-untyped-def]
    """Add `source` / `divisor` to `target`."""

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        target, source, divisor, count = arguments
        divisors = splat(b, divisor)
        with cgutils.for_range_slice(b, constant(0), count, constant(LANES)) as (c, _):
            mask = tail_mask(b, b.sub(count, c))
            share = b.fdiv(masked_load(b, b.gep(source, [c]), mask), divisors)
            place = b.gep(target, [c])
            masked_store(b, b.fadd(masked_load(b, place, mask), share), place, mask)
        return context.get_dummy_value()

    return types.void(FloatPointer, FloatPointer, types.float32, types.int64), codegen


@inline
def _extent(index, kernel_size, stride, padding, size, count_include_pad):  # type: ignore[no-untyped-def]
    """First and last + 1 input coordinate of an averaging window, and the length that it is averaged over."""
    start = index * stride - padding
    stop = at_most(start + kernel_size, size + padding)
    padded = stop - start
    low, high = (start if start > 0 else 0), at_most(stop, size)
    return low, high, padded if count_include_pad else high - low


@kernel
def avg_pool2d_forward(x, y, H, W, C, OH, OW, R, S, stride, padding, count_include_pad, begin, end):  # type: ignore[no-untyped-def]
    """Adds the window's pixels in order, then divides; task i handles row i of the N * OH output rows."""
    for task in range(begin, end):
        n, oh = task // OH, task % OH
        h_low, h_high, height = _extent(oh, R, stride[0], padding[0], H, count_include_pad)
        line = at(x, (n * H + h_low) * W * C)
        for ow in range(OW):
            w_low, w_high, width = _extent(ow, S, stride[1], padding[1], W, count_include_pad)
            target, divisor = at(y, (task * OW + ow) * C), np.float32(height * width)
            _window_mean(at(line, w_low * C), W * C, C, h_high - h_low, w_high - w_low, divisor, target, C)


@kernel
def avg_pool2d_backward(dy, dx, H, W, C, OH, OW, R, S, stride, padding, count_include_pad, begin, end):  # type: ignore[no-untyped-def]
    """Adds for task i, row i of the N * H rows of dx, the shares of the windows that met it, kernel row by row."""
    for task in range(begin, end):
        n, h = task // H, task % H
        row = at(dx, task * W * C)
        fill(row, ZERO, W * C)
        for r in range(R):
            oh = window_at(h + padding[0], r, stride[0], 1, OH)
            if oh < 0:
                continue
            _, _, height = _extent(oh, R, stride[0], padding[0], H, count_include_pad)
            for ow in range(OW):
                w_low, w_high, width = _extent(ow, S, stride[1], padding[1], W, count_include_pad)
                source, divisor = at(dy, ((n * OH + oh) * OW + ow) * C), np.float32(height * width)
                for w in range(w_low, w_high):
                    _add_divided(at(row, w * C), source, divisor, C)


@inline
def _adaptive_start(index, size, outputs):  # type: ignore[no-untyped-def]
    """floor(index * size / outputs)."""
    return index * size // outputs


@inline
def _adaptive_stop(index, size, outputs):  # type: ignore[no-untyped-def]
    """ceil((index + 1) * size / outputs)."""
    return ((index + 1) * size + outputs - 1) // outputs


@kernel
def adaptive_avg_pool2d_forward(x, y, H, W, C, OH, OW, begin, end):  # type: ignore[no-untyped-def]
    """Adds the window's pixels in order, then divides; task i handles row i of the N * OH output rows."""
    for task in range(begin, end):
        n, oh = task // OH, task % OH
        h_low, h_high = _adaptive_start(oh, H, OH), _adaptive_stop(oh, H, OH)
        line = at(x, (n * H + h_low) * W * C)
        for ow in range(OW):
            w_low, w_high = _adaptive_start(ow, W, OW), _adaptive_stop(ow, W, OW)
            target, divisor = at(y, (task * OW + ow) * C), np.float32((h_high - h_low) * (w_high - w_low))
            _window_mean(at(line, w_low * C), W * C, C, h_high - h_low, w_high - w_low, divisor, target, C)


@kernel
def adaptive_avg_pool2d_backward(dy, dx, H, W, C, OH, OW, begin, end):  # type: ignore[no-untyped-def]
    """Adds for task i, row i of the N * H rows of dx, the shares of the windows that met it, window by window.

    The windows that meet coordinate i of an axis are those that pooling the other way would average for output i.
    """
    for task in range(begin, end):
        n, h = task // H, task % H
        row = at(dx, task * W * C)
        fill(row, ZERO, W * C)
        for oh in range(_adaptive_start(h, OH, H), _adaptive_stop(h, OH, H)):
            height = _adaptive_stop(oh, H, OH) - _adaptive_start(oh, H, OH)
            for ow in range(OW):
                w_low, w_high = _adaptive_start(ow, W, OW), _adaptive_stop(ow, W, OW)
                source, divisor = at(dy, ((n * OH + oh) * OW + ow) * C), np.float32(height * (w_high - w_low))
                for w in range(w_low, w_high):
                    _add_divided(at(row, w * C), source, divisor, C)
