"""What pooling sends back to a run of pixels in one row of dx, for all channels.

Results pass the caches by where `around` is not 0. Else the places that are written in the next row are fetched.

The gradient of a maximum is masked by an activation, judged by the pooled output: `gate` is (y, activation). Without an
activation any array as long as y will do.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..fused import NO_ACTIVATION, RELU6
from .channels import each, fetch, for_channels, load, load_taps, reach, store
from .fusion import DoublePointer, add_to_doubles
from .simd import Accumulator, FloatPointer, constant, f32, fma, i1, prefetch, splat, zero
from .vector import add_in_double
from .window import TapPointer

_i8 = ir.IntType(8)
L = types.int64
GATE = types.Tuple((FloatPointer, L))


def _masked_gradient(b: Any, dy: Any, argmax: Any, gate: Any, ahead: Any) -> Callable[[Any, Any, list[Any]], list[Any]]:
    """Emits ``gradients(place, mask, taps)``: dy at a place of a window for each tap that won it, else 0.

    The element of y that lies `ahead` is fetched, if it is needed.
    """
    y, activation = cgutils.unpack_tuple(b, gate, 2)
    active = b.icmp_signed("!=", activation, constant(NO_ACTIVATION))
    everything = splat(b, b.not_(active), i1)
    six = b.icmp_signed("==", activation, constant(RELU6))
    # "Unordered or less" holds of NaN: without a limit, also of infinity.
    high = splat(b, b.select(six, ir.Constant(f32, 6.0), ir.Constant(f32, float("nan"))))

    def gradients(place: Any, mask: Any, taps: list[Any]) -> list[Any]:
        value, winner = load(b, b.gep(y, [place]), mask), load_taps(b, b.gep(argmax, [place]), mask)
        with b.if_then(active):
            prefetch(b, b.gep(y, [b.add(place, ahead)]))
        passes = b.and_(b.fcmp_ordered(">", value, zero()), b.fcmp_unordered("<", value, high))
        gradient = b.select(b.or_(passes, everything), load(b, b.gep(dy, [place]), mask), zero())
        return [b.select(b.icmp_unsigned("==", winner, tap), gradient, zero()) for tap in taps]

    return gradients


@intrinsic(prefer_literal=True)
def gather_where(
    typingctx, columns, rows, pixels, dx, stride, dy, argmax, gate, row_step, step, taps, ahead, around, count
):  # type: ignore[no-untyped-def]
    """Sums for `pixels` pixels of dx of what `rows` x `columns` windows each send them: dy where argmax is their tap.

    Pixels of dx are `stride` apart, those of dy neighbours; `row_step` and `step` part the windows that meet a pixel.
    `taps` are the first tap that meets it and what parts it from the next row's and the next column's; columns are
    unrolled if they are a literal. So many elements `ahead` in dx and in dy is what is needed next.
    """

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        width, height, pixels, dx, stride, dy, argmax, gate, row_step, step, taps, ahead, around, count = arguments
        tap, row_taps, tap_step = cgutils.unpack_tuple(b, taps, 3)
        next_dx, next_dy = cgutils.unpack_tuple(b, ahead, 2)
        gradients = _masked_gradient(b, dy, argmax, gate, next_dy)
        around = b.icmp_signed("!=", around, constant(0))

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
                        (gradient,) = gradients(place, mask, [wanted])
                        total[j].set(b.fadd(total[j].get(), gradient))

                each(b, columns, width, gather_window)

            each(b, rows, height, gather_row)
            below = b.add(b.load(window), next_dy)
            prefetch(b, b.gep(argmax, [b.add(below, offsets[0])]))
            for vector, c in zip(total, offsets, strict=True):
                store(b, vector.get(), b.gep(b.load(pixel), [c]), mask, around, next_dx)
                prefetch(b, b.gep(dy, [b.add(below, c)]))

        window, pixel = cgutils.alloca_once_value(b, constant(0)), cgutils.alloca_once_value(b, dx)
        with cgutils.for_range(b, pixels):
            for_channels(b, count, gather)
            b.store(b.add(b.load(window), count), window)
            b.store(b.gep(b.load(pixel), [stride]), pixel)
        return context.get_dummy_value()

    steps = L, L, types.UniTuple(L, 3), types.UniTuple(L, 2)
    return types.void(columns, rows, L, FloatPointer, L, FloatPointer, TapPointer, GATE, *steps, L, L), codegen


@intrinsic
def give_where(typingctx, windows, columns, dx, next_dx, dy, argmax, gate, next_dy, tap, around, count):  # type: ignore[no-untyped-def]
    """Write the `columns` pixels of each of `windows` windows side by side: dy where argmax is their tap, `tap` first.

    So many elements on, `next_dx` and `next_dy`, is what the next row needs.
    """

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        windows, columns, dx, next_dx, dy, argmax, gate, next_dy, tap, around, count = arguments
        gradients = _masked_gradient(b, dy, argmax, gate, next_dy)

        def give_row(around: Any) -> None:
            with cgutils.for_range(b, windows) as window, cgutils.for_range(b, columns) as column:
                pixel = b.add(b.mul(window.index, columns), column.index)
                target, source = b.gep(dx, [b.mul(pixel, count)]), b.mul(window.index, count)
                wanted = splat(b, b.trunc(b.add(tap, column.index), _i8), _i8)

                def give(offsets: list[Any], mask: Any) -> None:
                    prefetch(b, b.gep(argmax, [b.add(b.add(source, offsets[0]), next_dy)]))
                    for c in offsets:
                        from_ = b.add(source, c)
                        (gradient,) = gradients(from_, mask, [wanted])
                        store(b, gradient, b.gep(target, [c]), mask, around, next_dx)
                        prefetch(b, b.gep(dy, [b.add(from_, next_dy)]))

                for_channels(b, count, give)

        # Two loops: with a branch for each vector, few channels took a fifth longer.
        with b.if_else(b.icmp_signed("!=", around, constant(0))) as (streaming, ordinary):
            with streaming:
                give_row(ir.Constant(i1, 1))
            with ordinary:
                give_row(ir.Constant(i1, 0))
        return context.get_dummy_value()

    return types.void(L, L, FloatPointer, L, FloatPointer, TapPointer, GATE, L, L, L, L), codegen


@intrinsic(prefer_literal=True)
def give_and_add(
    typingctx, columns, windows, dx, dy, argmax, gate, ahead, tap, around, count, products, x, centre, sums
):  # type: ignore[no-untyped-def]
    """As `give_where`, with its sums; `columns` are a literal, and unrolled.

    The sums of dx and, if `products` says that there is an x, of dx * (x - centre) are added to the (2, count) doubles
    of `sums`: of a few hundred windows at most, for they are added in float32 first. So many elements `ahead` in dx, dy
    and x is what is needed next; of x it is fetched in the order of memory, in which vectors of channels do not pass.
    """

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        width, windows, dx, dy, argmax, gate, ahead, tap, around, count, products, x, centre, sums = arguments
        next_dx, next_dy, next_x = cgutils.unpack_tuple(b, ahead, 3)
        gradients, around = _masked_gradient(b, dy, argmax, gate, next_dy), b.icmp_signed("!=", around, constant(0))
        places = [constant(i) for i in range(columns.literal_value)]
        wanted = [splat(b, b.trunc(b.add(tap, column), _i8), _i8) for column in places]

        def give(offsets: list[Any], mask: Any, with_x: bool) -> None:
            first, second = ([Accumulator(b) for _ in offsets] for _ in range(2))
            middle = [load(b, b.gep(centre, [c]), mask) for c in offsets]
            for vector in first + second:
                vector.set(zero())
            held = b.mul(width, reach(b, offsets, count))
            share = b.gep(x, [b.add(next_x, b.mul(b.mul(width, windows), offsets[0]))])
            with cgutils.for_range(b, windows) as window:
                source = b.mul(window.index, count)
                pixel = b.mul(source, width)
                targets = [b.add(pixel, b.mul(column, count)) for column in places]
                if with_x:
                    fetch(b, b.gep(share, [b.mul(window.index, held)]), held)
                below = b.add(source, next_dy)
                prefetch(b, b.gep(argmax, [b.add(below, offsets[0])]))
                for c in offsets:
                    prefetch(b, b.gep(dy, [b.add(below, c)]))
                for j, c in enumerate(offsets):
                    for target, gradient in zip(targets, gradients(b.add(source, c), mask, wanted), strict=True):
                        place = b.add(target, c)
                        store(b, gradient, b.gep(dx, [place]), mask, around, next_dx)
                        first[j].set(b.fadd(first[j].get(), gradient))
                        if with_x:
                            deviation = b.fsub(load(b, b.gep(x, [place]), mask), middle[j])
                            second[j].set(fma(b, gradient, deviation, second[j].get()))
            for row, totals in enumerate((first, second) if with_x else (first,)):
                for total, c in zip(totals, offsets, strict=True):
                    place = b.gep(sums, [b.add(b.mul(constant(row), count), c)])
                    if mask is None:
                        add_in_double(b, place, total.get())
                    else:
                        add_to_doubles(b, total.get(), place, mask)

        with b.if_else(b.icmp_signed("!=", products, constant(0))) as (both, one):
            with both:
                for_channels(b, count, partial(give, with_x=True))
            with one:
                for_channels(b, count, partial(give, with_x=False))
        return context.get_dummy_value()

    pointers, summed = (FloatPointer, FloatPointer, TapPointer), (FloatPointer, FloatPointer, DoublePointer)
    return types.void(columns, L, *pointers, GATE, types.UniTuple(L, 3), L, L, L, L, *summed), codegen


@intrinsic(prefer_literal=True)
def give_share(typingctx, add, windows, columns, dx, stride, next_dx, dy, next_dy, factor, around, count):  # type: ignore[no-untyped-def]
    """Give the `columns` pixels of each of `windows` windows of a row dy times `factor`; see `give_where`.

    It is added to what is there if the literal `add`, else it replaces that.
    """
    adds = bool(add.literal_value)

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        _, windows, columns, dx, stride, next_dx, dy, next_dy, factor, around, count = arguments
        factors, around = splat(b, factor), b.icmp_signed("!=", around, constant(0))
        with cgutils.for_range(b, windows) as window:
            source = b.gep(dy, [b.mul(window.index, count)])
            with cgutils.for_range(b, columns) as column:
                pixel = b.gep(dx, [b.add(b.mul(window.index, stride), b.mul(column.index, count))])

                def give(offsets: list[Any], mask: Any) -> None:
                    for c in offsets:
                        place, gradient = b.gep(pixel, [c]), b.gep(source, [c])
                        share = b.fmul(load(b, gradient, mask), factors)
                        prefetch(b, b.gep(gradient, [next_dy]))
                        if adds:
                            store(b, b.fadd(load(b, place, mask), share), place, mask)
                            prefetch(b, b.gep(place, [next_dx]), writing=True)
                        else:
                            store(b, share, place, mask, around, next_dx)

                for_channels(b, count, give)
        return context.get_dummy_value()

    return types.void(add, L, L, FloatPointer, L, L, FloatPointer, L, types.float32, L, L), codegen
