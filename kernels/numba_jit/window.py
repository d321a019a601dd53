"""What pooling does with a run of windows in one row, for all channels; what a window accumulates stays in registers.

Windows of a run have the same extent and stand `stride` elements apart in the image; `row_step` parts the rows of one,
and `step` its columns. WIDE vectors of channels pass at once, so that memory is read in long runs and the vectors hide
each other's latency; what is left over passes as single vectors with a mask. Windows jump between rows, of which the
hardware's prefetchers lose track: every access asks for what the next row of windows will need.

Tap numbers are bytes in memory. In registers they are bytes only where masks have registers of their own: elsewhere a
mask is as wide as what it was compared from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

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

WIDE = 4
_i8 = ir.IntType(8)
_TAP = _i8 if LANES == 16 else i32
_TAPS, _STORED_TAPS = ir.VectorType(_TAP, LANES), ir.VectorType(_i8, LANES)
TapPointer = types.CPointer(types.uint8)
L = types.int64


def _for_channels(b: Any, count: Any, body: Callable[[list[Any], Any], None]) -> None:
    """Emit ``body(offsets, mask)`` for WIDE whole vectors at a time (the mask is None), then one by one."""
    whole = b.sub(count, b.srem(count, constant(WIDE * LANES)))
    with cgutils.for_range_slice(b, constant(0), whole, constant(WIDE * LANES)) as (c, _):
        body([b.add(c, constant(j * LANES)) for j in range(WIDE)], None)
    with cgutils.for_range_slice(b, whole, count, constant(LANES)) as (c, _):
        body([c], tail_mask(b, b.sub(count, c)))


def _each(b: Any, kind: Any, times: Any, body: Callable[[Any], None]) -> None:
    """Emit ``body(index)`` so many times: unrolled if `kind`, the type of `times`, is a literal."""
    if isinstance(kind, types.IntegerLiteral):
        for i in range(kind.literal_value):
            body(constant(i))
        return
    with cgutils.for_range(b, times) as loop:
        body(loop.index)


def _load(b: Any, pointer: Any, mask: Any) -> Any:
    if mask is None:
        return b.load(b.bitcast(pointer, VECTOR.as_pointer()), align=4)
    return masked_load(b, pointer, mask)


def _store(b: Any, value: Any, pointer: Any, mask: Any) -> None:
    if mask is None:
        b.store(value, b.bitcast(pointer, VECTOR.as_pointer()), align=4)
    else:
        masked_store(b, value, pointer, mask)


def _prefetch(b: Any, pointer: Any, write: int = 0) -> None:
    """Ask for a line of memory that is needed soon; any address will do."""
    address = b.bitcast(pointer, _i8.as_pointer())
    function = cgutils.get_or_insert_function(
        b.module, ir.FunctionType(ir.VoidType(), [address.type, i32, i32, i32]), "llvm.prefetch.p0"
    )
    b.call(function, [address, ir.Constant(i32, write), ir.Constant(i32, 3), ir.Constant(i32, 1)])


def _masked_taps(b: Any, kind: str, result: ir.Type, parameters: list[ir.Type]) -> Any:
    name = f"llvm.masked.{kind}.v{LANES}i8.p0"
    return cgutils.get_or_insert_function(b.module, ir.FunctionType(result, parameters), name)


def _load_taps(b: Any, pointer: Any, mask: Any) -> Any:
    address = b.bitcast(pointer, _STORED_TAPS.as_pointer())
    if mask is None:
        return b.load(address, align=1)
    function = _masked_taps(b, "load", _STORED_TAPS, [address.type, i32, mask.type, _STORED_TAPS])
    return b.call(function, [address, ir.Constant(i32, 1), mask, ir.Constant(_STORED_TAPS, [0] * LANES)])


def _store_taps(b: Any, value: Any, pointer: Any, mask: Any) -> None:
    address = b.bitcast(pointer, _STORED_TAPS.as_pointer())
    if mask is None:
        b.store(value, address, align=1)
        return
    function = _masked_taps(b, "store", ir.VoidType(), [_STORED_TAPS, address.type, i32, mask.type])
    b.call(function, [value, address, ir.Constant(i32, 1), mask])


@intrinsic(prefer_literal=True)
def window_maximum(
    typingctx, rows, columns, windows, source, stride, row_step, step, ahead, tap, row_taps, y, argmax, count
):  # type: ignore[no-untyped-def]
    """Maximum and tap of `windows` windows of `rows` x `columns` pixels, unrolled where these are literals.

    `tap` is a window's first tap, `row_taps` the taps of a full row; `ahead` elements on is what the next row reads.
    """

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        height, width, windows, source, stride, row_step, step, ahead, tap, row_taps, y, argmax, count = arguments
        next_row = b.trunc(b.sub(row_taps, width), _TAP)
        one = ir.Constant(_TAPS, [1] * LANES)

        def compete(offsets: list[Any], mask: Any) -> None:
            best = [cgutils.alloca_once(b, VECTOR) for _ in offsets]
            where = [cgutils.alloca_once(b, _TAPS) for _ in offsets]
            # The number of the tap is counted up as a vector: a scalar would be moved to a register for each select.
            here = cgutils.alloca_once(b, _TAPS)
            b.store(splat(b, b.trunc(tap, _TAP), _TAP), here)
            for j in range(len(offsets)):
                b.store(splat(b, ir.Constant(f32, float("-inf"))), best[j])
                b.store(b.load(here), where[j])

            def compete_row(row: Any) -> None:
                line = b.gep(b.load(window), [b.mul(row, row_step)])

                def compete_pixel(column: Any) -> None:
                    pixel = b.gep(line, [b.mul(column, step)])
                    for j, c in enumerate(offsets):
                        place = b.gep(pixel, [c])
                        value, largest = _load(b, place, mask), b.load(best[j])
                        _prefetch(b, b.gep(place, [ahead]))
                        better = b.or_(b.fcmp_ordered(">", value, largest), b.fcmp_unordered("uno", value, value))
                        b.store(b.select(better, value, largest), best[j])
                        b.store(b.select(better, b.load(here), b.load(where[j])), where[j])
                    b.store(b.add(b.load(here), one), here)

                _each(b, columns, width, compete_pixel)
                b.store(b.add(b.load(here), splat(b, next_row, _TAP)), here)

            _each(b, rows, height, compete_row)
            for j, c in enumerate(offsets):
                taps, place = b.load(where[j]), b.add(b.load(target), c)
                _store(b, b.load(best[j]), b.gep(y, [place]), mask)
                _store_taps(b, taps if LANES == 16 else b.trunc(taps, _STORED_TAPS), b.gep(argmax, [place]), mask)

        window, target = cgutils.alloca_once_value(b, source), cgutils.alloca_once_value(b, constant(0))
        with cgutils.for_range(b, windows):
            _for_channels(b, count, compete)
            b.store(b.gep(b.load(window), [stride]), window)
            b.store(b.add(b.load(target), count), target)
        return context.get_dummy_value()

    return types.void(rows, columns, L, FloatPointer, L, L, L, L, L, L, FloatPointer, TapPointer, L), codegen


@intrinsic(prefer_literal=True)
def window_mean(typingctx, rows, columns, windows, source, stride, row_step, step, ahead, divisor, y, count):  # type: ignore[no-untyped-def]
    """The sums of `windows` windows of `rows` x `columns` pixels over `divisor`; see `window_maximum`."""

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        height, width, windows, source, stride, row_step, step, ahead, divisor, y, count = arguments
        divisors = splat(b, divisor)

        def average(offsets: list[Any], mask: Any) -> None:
            total = [Accumulator(b) for _ in offsets]
            for vector in total:
                vector.set(zero())

            def add_row(row: Any) -> None:
                line = b.gep(b.load(window), [b.mul(row, row_step)])

                def add_pixel(column: Any) -> None:
                    pixel = b.gep(line, [b.mul(column, step)])
                    for vector, c in zip(total, offsets, strict=True):
                        place = b.gep(pixel, [c])
                        vector.set(b.fadd(vector.get(), _load(b, place, mask)))
                        _prefetch(b, b.gep(place, [ahead]))

                _each(b, columns, width, add_pixel)

            _each(b, rows, height, add_row)
            for vector, c in zip(total, offsets, strict=True):
                _store(b, b.fdiv(vector.get(), divisors), b.gep(y, [b.add(b.load(target), c)]), mask)

        window, target = cgutils.alloca_once_value(b, source), cgutils.alloca_once_value(b, constant(0))
        with cgutils.for_range(b, windows):
            _for_channels(b, count, average)
            b.store(b.gep(b.load(window), [stride]), window)
            b.store(b.add(b.load(target), count), target)
        return context.get_dummy_value()

    return types.void(rows, columns, L, FloatPointer, L, L, L, L, types.float32, FloatPointer, L), codegen


@intrinsic(prefer_literal=True)
def gather_where(typingctx, columns, rows, pixels, dx, stride, dy, argmax, row_step, step, taps, ahead, count):  # type: ignore[no-untyped-def]
    """Sums for `pixels` pixels of dx of what `rows` x `columns` windows each send them: dy where argmax is their tap.

    Pixels of dx are `stride` apart, those of dy neighbours; `row_step` and `step` part the windows that meet a pixel.
    `taps` are the first tap that meets it and what parts it from the next row's and the next column's; columns are
    unrolled if they are a literal. So many elements `ahead` in dx and in dy is what is needed next.
    """

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        width, height, pixels, dx, stride, dy, argmax, row_step, step, taps, ahead, count = arguments
        tap, row_taps, tap_step = cgutils.unpack_tuple(b, taps, 3)
        next_dx, next_dy = cgutils.unpack_tuple(b, ahead, 2)

        def gather(offsets: list[Any], mask: Any) -> None:
            total = [Accumulator(b) for _ in offsets]
            for vector in total:
                vector.set(zero())

            def gather_row(row: Any) -> None:
                start, first = b.add(b.load(window), b.mul(row, row_step)), b.add(tap, b.mul(row, row_taps))

                def gather_window(column: Any) -> None:
                    wanted = splat(b, b.trunc(b.add(first, b.mul(column, tap_step)), _i8), _i8)
                    for j, c in enumerate(offsets):
                        place = b.add(b.add(start, b.mul(column, step)), c)
                        won = b.icmp_unsigned("==", _load_taps(b, b.gep(argmax, [place]), mask), wanted)
                        gradient = b.select(won, _load(b, b.gep(dy, [place]), mask), zero())
                        total[j].set(b.fadd(total[j].get(), gradient))

                _each(b, columns, width, gather_window)

            _each(b, rows, height, gather_row)
            _prefetch(b, b.gep(argmax, [b.add(b.add(b.load(window), offsets[0]), next_dy)]))
            for vector, c in zip(total, offsets, strict=True):
                place = b.gep(b.load(pixel), [c])
                _store(b, vector.get(), place, mask)
                _prefetch(b, b.gep(dy, [b.add(b.add(b.load(window), c), next_dy)]))
                _prefetch(b, b.gep(place, [next_dx]), 1)

        window, pixel = cgutils.alloca_once_value(b, constant(0)), cgutils.alloca_once_value(b, dx)
        with cgutils.for_range(b, pixels):
            _for_channels(b, count, gather)
            b.store(b.add(b.load(window), count), window)
            b.store(b.gep(b.load(pixel), [stride]), pixel)
        return context.get_dummy_value()

    steps = L, L, types.UniTuple(L, 3), types.UniTuple(L, 2)
    return types.void(columns, rows, L, FloatPointer, L, FloatPointer, TapPointer, *steps, L), codegen


@intrinsic
def give_where(typingctx, windows, columns, dx, next_dx, dy, argmax, next_dy, tap, count):  # type: ignore[no-untyped-def]
    """Write the `columns` pixels of each of `windows` windows side by side: dy where argmax is their tap, `tap` first.

    So many elements on, `next_dx` and `next_dy`, is what the next row needs.
    """

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        windows, columns, dx, next_dx, dy, argmax, next_dy, tap, count = arguments
        with cgutils.for_range(b, windows) as window, cgutils.for_range(b, columns) as column:
            pixel = b.add(b.mul(window.index, columns), column.index)
            target, source = b.gep(dx, [b.mul(pixel, count)]), b.mul(window.index, count)
            wanted = splat(b, b.trunc(b.add(tap, column.index), _i8), _i8)

            def give(offsets: list[Any], mask: Any) -> None:
                _prefetch(b, b.gep(argmax, [b.add(b.add(source, offsets[0]), next_dy)]))
                for c in offsets:
                    place, from_ = b.gep(target, [c]), b.add(source, c)
                    won = b.icmp_unsigned("==", _load_taps(b, b.gep(argmax, [from_]), mask), wanted)
                    _store(b, b.select(won, _load(b, b.gep(dy, [from_]), mask), zero()), place, mask)
                    _prefetch(b, b.gep(dy, [b.add(from_, next_dy)]))
                    _prefetch(b, b.gep(place, [next_dx]), 1)

            _for_channels(b, count, give)
        return context.get_dummy_value()

    return types.void(L, L, FloatPointer, L, FloatPointer, TapPointer, L, L, L), codegen


@intrinsic(prefer_literal=True)
def give_share(typingctx, add, windows, columns, dx, stride, next_dx, dy, next_dy, factor, count):  # type: ignore[no-untyped-def]
    """Give the `columns` pixels of each of `windows` windows of a row dy times `factor`; see `give_where`.

    It is added to what is there if the literal `add`, else it replaces that.
    """
    adds = bool(add.literal_value)

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        _, windows, columns, dx, stride, next_dx, dy, next_dy, factor, count = arguments
        factors = splat(b, factor)
        with cgutils.for_range(b, windows) as window, cgutils.for_range(b, columns) as column:
            pixel = b.gep(dx, [b.add(b.mul(window.index, stride), b.mul(column.index, count))])
            source = b.gep(dy, [b.mul(window.index, count)])

            def give(offsets: list[Any], mask: Any) -> None:
                for c in offsets:
                    place, gradient = b.gep(pixel, [c]), b.gep(source, [c])
                    share = b.fmul(_load(b, gradient, mask), factors)
                    _store(b, b.fadd(_load(b, place, mask), share) if adds else share, place, mask)
                    _prefetch(b, b.gep(gradient, [next_dy]))
                    _prefetch(b, b.gep(place, [next_dx]), 1)

            _for_channels(b, count, give)
        return context.get_dummy_value()

    return types.void(add, L, L, FloatPointer, L, L, FloatPointer, L, types.float32, L), codegen
