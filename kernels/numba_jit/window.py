"""What pooling does with a run of windows in one row, for all channels; what a window accumulates stays in registers.

Windows of a run have the same extent and stand `stride` elements apart in the image; `row_step` parts the rows of one,
and `step` its columns. `ahead` points to what is read next, of which every window fetches `fetched` rows by columns
pixels, in the order of memory: fetching in the order of windows was measured to be slower.

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

from .channels import WIDE, each, fetch, for_channels, load, reach, store, store_taps
from .compiler import inline
from .fusion import activation_of
from .memory import at_most
from .simd import LANES, VECTOR, Accumulator, FloatPointer, constant, f32, i32, splat, zero

_TAP = ir.IntType(8) if LANES == 16 else i32
_TAPS, _STORED_TAPS = ir.VectorType(_TAP, LANES), ir.VectorType(ir.IntType(8), LANES)
TapPointer = types.CPointer(types.uint8)
L = types.int64
_PAIR = types.UniTuple(L, 2)
ACTIVATED = types.Tuple((L, FloatPointer, FloatPointer, L))  # scaled, scale, shift, activation
_Fetch = Callable[[Any], None]
SMALL = 1 << 17  # elements of images that the second cache holds
FEW = 2  # vectors at once where memory and not arithmetic is the limit: measured to be faster than WIDE there


@inline
def whole_windows(taps, stride, padding, dilation, size, count):  # type: ignore[no-untyped-def]
    """First and last + 1 of the windows, of `count`, that lie wholly inside the image along one axis."""
    room = size + padding - dilation * (taps - 1) - 1
    return (padding + stride - 1) // stride, at_most(room // stride + 1, count) if room >= 0 else 0


@inline
def run_of(window, inside):  # type: ignore[no-untyped-def]
    """How many windows from this one on lie `inside`; 1 if it does not itself."""
    return inside[1] - window if inside[0] <= window < inside[1] else 1


@inline
def fetched_pixels(rows, columns, size):  # type: ignore[no-untyped-def]
    """How many pixels each window fetches of what comes next: none if all images, of `size` elements, are in cache."""
    return (0, 0) if size <= SMALL else (rows, columns)


def _for_windows(b: Any, windows: Any, source: Any, stride: Any, ahead: Any, fetched: Any, count: Any,
                 body: Callable[[Any, Any, list[Any], Any, _Fetch], None], wide: int) -> None:  # fmt: skip
    """Emit ``body(window, target, offsets, mask, fetch_row)`` for every window and its channels.

    `window` points to its first pixel, `target` is its result's offset, ``fetch_row(row)`` is its part of fetching.
    """
    rows, columns = cgutils.unpack_tuple(b, fetched, 2)
    area = b.mul(rows, columns)
    window, target = cgutils.alloca_once_value(b, source), cgutils.alloca_once_value(b, constant(0))

    def channels(offsets: list[Any], mask: Any) -> None:
        at_window = b.load(target)
        held = b.mul(columns, reach(b, offsets, count))
        share = b.gep(ahead, [b.mul(b.add(at_window, offsets[0]), area)])

        def fetch_row(row: Any) -> None:
            with b.if_then(b.icmp_signed("<", row, rows)):
                fetch(b, b.gep(share, [b.mul(row, held)]), held)

        body(b.load(window), at_window, offsets, mask, fetch_row)

    with cgutils.for_range(b, windows):
        for_channels(b, count, channels, wide)
        b.store(b.gep(b.load(window), [stride]), window)
        b.store(b.add(b.load(target), count), target)


@intrinsic(prefer_literal=True)
def window_maximum(
    typingctx, rows, columns, windows, source, stride, row_step, step, activated, ahead, fetched, tap, row_taps, y,
    argmax, around, count
):  # type: ignore[no-untyped-def]  # fmt: skip
    """Maximum and tap of `windows` windows of `rows` x `columns` pixels, unrolled where these are literals.

    `activated` says what becomes of the pixels first, see `fusion.activation_of`.
    `tap` is a window's first tap, `row_taps` the taps of a full row; `around` is for y and for argmax.
    """

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        height, width, windows, source, stride, row_step, step, activated, *rest = arguments
        ahead, fetched, tap, row_taps, y, argmax, around, count = rest
        of_channels = activation_of(b, *cgutils.unpack_tuple(b, activated, 4))
        around, taps_around = (b.icmp_signed("!=", b.extract_value(around, i), constant(0)) for i in range(2))
        wide = FEW if isinstance(rows, types.IntegerLiteral) and rows.literal_value == 2 else WIDE
        next_row = b.trunc(b.sub(row_taps, width), _TAP)
        one = ir.Constant(_TAPS, [1] * LANES)

        def compete(window: Any, target: Any, offsets: list[Any], mask: Any, fetch_row: _Fetch) -> None:
            activate = [of_channels(c, mask) for c in offsets]
            best = [cgutils.alloca_once(b, VECTOR) for _ in offsets]
            where = [cgutils.alloca_once(b, _TAPS) for _ in offsets]
            # The number of the tap is counted up as a vector: a scalar would be moved to a register for each select.
            here = cgutils.alloca_once(b, _TAPS)
            b.store(splat(b, b.trunc(tap, _TAP), _TAP), here)
            for j in range(len(offsets)):
                b.store(splat(b, ir.Constant(f32, float("-inf"))), best[j])
                b.store(b.load(here), where[j])

            def compete_row(row: Any) -> None:
                fetch_row(row)
                line = b.gep(window, [b.mul(row, row_step)])

                def compete_pixel(column: Any) -> None:
                    pixel = b.gep(line, [b.mul(column, step)])
                    for j, c in enumerate(offsets):
                        value, largest = activate[j](load(b, b.gep(pixel, [c]), mask)), b.load(best[j])
                        better = b.or_(b.fcmp_ordered(">", value, largest), b.fcmp_unordered("uno", value, value))
                        b.store(b.select(better, value, largest), best[j])
                        b.store(b.select(better, b.load(here), b.load(where[j])), where[j])
                    b.store(b.add(b.load(here), one), here)

                each(b, columns, width, compete_pixel)
                b.store(b.add(b.load(here), splat(b, next_row, _TAP)), here)

            each(b, rows, height, compete_row)
            for j, c in enumerate(offsets):
                store(b, b.load(best[j]), b.gep(y, [b.add(target, c)]), mask, around)
            taps = [b.load(item) if LANES == 16 else b.trunc(b.load(item), _STORED_TAPS) for item in where]
            store_taps(b, taps, b.gep(argmax, [b.add(target, offsets[0])]), mask, taps_around)

        _for_windows(b, windows, source, stride, ahead, fetched, count, compete, wide)
        return context.get_dummy_value()

    pointers = FloatPointer, TapPointer
    steps = L, FloatPointer, L, L, L, ACTIVATED, FloatPointer, _PAIR, L, L
    return types.void(rows, columns, *steps, *pointers, _PAIR, L), codegen


@intrinsic(prefer_literal=True)
def window_mean(
    typingctx, rows, columns, windows, source, stride, row_step, step, ahead, fetched, divisor, y, around, count
):  # type: ignore[no-untyped-def]
    """The sums of `windows` windows of `rows` x `columns` pixels over `divisor`; see `window_maximum`."""

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        height, width, windows, source, stride, row_step, step, ahead, fetched, divisor, y, around, count = arguments
        divisors, around = splat(b, divisor), b.icmp_signed("!=", around, constant(0))

        def average(window: Any, target: Any, offsets: list[Any], mask: Any, fetch_row: _Fetch) -> None:
            total = [Accumulator(b) for _ in offsets]
            for vector in total:
                vector.set(zero())

            def add_row(row: Any) -> None:
                fetch_row(row)
                line = b.gep(window, [b.mul(row, row_step)])

                def add_pixel(column: Any) -> None:
                    pixel = b.gep(line, [b.mul(column, step)])
                    for vector, c in zip(total, offsets, strict=True):
                        vector.set(b.fadd(vector.get(), load(b, b.gep(pixel, [c]), mask)))

                each(b, columns, width, add_pixel)

            each(b, rows, height, add_row)
            for vector, c in zip(total, offsets, strict=True):
                store(b, b.fdiv(vector.get(), divisors), b.gep(y, [b.add(target, c)]), mask, around)

        _for_windows(b, windows, source, stride, ahead, fetched, count, average, FEW)
        return context.get_dummy_value()

    steps = L, FloatPointer, L, L, L, FloatPointer, _PAIR
    return types.void(rows, columns, *steps, types.float32, FloatPointer, L, L), codegen


@intrinsic
def rows_mean(typingctx, rows, columns, windows, source, row_step, divisor, y, count):  # type: ignore[no-untyped-def]
    """As `window_mean` for large windows side by side: row by row, so that memory is read in order; sums lie in y."""

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        height, width, windows, source, row_step, divisor, y, count = arguments
        divisors, last = splat(b, divisor), b.sub(height, constant(1))
        with cgutils.for_range(b, height) as row, cgutils.for_range(b, windows) as window:
            first, final = b.icmp_signed("==", row.index, constant(0)), b.icmp_signed("==", row.index, last)
            pixel = b.mul(b.mul(window.index, width), count)
            line, target = b.gep(source, [b.add(b.mul(row.index, row_step), pixel)]), b.mul(window.index, count)

            def add_row(offsets: list[Any], mask: Any) -> None:
                places = [b.gep(y, [b.add(target, c)]) for c in offsets]
                total = [Accumulator(b) for _ in offsets]
                with b.if_else(first) as (begins, goes_on):
                    with begins:
                        for vector in total:
                            vector.set(zero())
                    with goes_on:
                        for vector, place in zip(total, places, strict=True):
                            vector.set(load(b, place, mask))
                with cgutils.for_range(b, width) as column:
                    for vector, c in zip(total, offsets, strict=True):
                        value = load(b, b.gep(line, [b.add(b.mul(column.index, count), c)]), mask)
                        vector.set(b.fadd(vector.get(), value))
                with b.if_then(final):
                    for vector in total:
                        vector.set(b.fdiv(vector.get(), divisors))
                for vector, place in zip(total, places, strict=True):
                    store(b, vector.get(), place, mask)

            for_channels(b, count, add_row, 2 * WIDE)
        return context.get_dummy_value()

    return types.void(L, L, L, FloatPointer, L, types.float32, FloatPointer, L), codegen
