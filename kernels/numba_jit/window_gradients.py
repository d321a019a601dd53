"""What pooling sends back to a run of pixels in one row of dx, for all channels.

Results pass the caches by where `around` is not 0. Else the places that are written in the next row are fetched.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .channels import each, for_channels, load, load_taps, store
from .simd import Accumulator, FloatPointer, constant, i1, prefetch, splat, zero
from .window import TapPointer

_i8 = ir.IntType(8)
L = types.int64


@intrinsic(prefer_literal=True)
def gather_where(typingctx, columns, rows, pixels, dx, stride, dy, argmax, row_step, step, taps, ahead, around, count):  # type: ignore[no-untyped-def]
    """Sums for `pixels` pixels of dx of what `rows` x `columns` windows each send them: dy where argmax is their tap.

    Pixels of dx are `stride` apart, those of dy neighbours; `row_step` and `step` part the windows that meet a pixel.
    `taps` are the first tap that meets it and what parts it from the next row's and the next column's; columns are
    unrolled if they are a literal. So many elements `ahead` in dx and in dy is what is needed next.
    """

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        width, height, pixels, dx, stride, dy, argmax, row_step, step, taps, ahead, around, count = arguments
        tap, row_taps, tap_step = cgutils.unpack_tuple(b, taps, 3)
        next_dx, next_dy = cgutils.unpack_tuple(b, ahead, 2)
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
                        won = b.icmp_unsigned("==", load_taps(b, b.gep(argmax, [place]), mask), wanted)
                        gradient = b.select(won, load(b, b.gep(dy, [place]), mask), zero())
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
    return types.void(columns, rows, L, FloatPointer, L, FloatPointer, TapPointer, *steps, L, L), codegen


@intrinsic
def give_where(typingctx, windows, columns, dx, next_dx, dy, argmax, next_dy, tap, around, count):  # type: ignore[no-untyped-def]
    """Write the `columns` pixels of each of `windows` windows side by side: dy where argmax is their tap, `tap` first.

    So many elements on, `next_dx` and `next_dy`, is what the next row needs.
    """

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        windows, columns, dx, next_dx, dy, argmax, next_dy, tap, around, count = arguments

        def give_row(around: Any) -> None:
            with cgutils.for_range(b, windows) as window, cgutils.for_range(b, columns) as column:
                pixel = b.add(b.mul(window.index, columns), column.index)
                target, source = b.gep(dx, [b.mul(pixel, count)]), b.mul(window.index, count)
                wanted = splat(b, b.trunc(b.add(tap, column.index), _i8), _i8)

                def give(offsets: list[Any], mask: Any) -> None:
                    prefetch(b, b.gep(argmax, [b.add(b.add(source, offsets[0]), next_dy)]))
                    for c in offsets:
                        from_ = b.add(source, c)
                        won = b.icmp_unsigned("==", load_taps(b, b.gep(argmax, [from_]), mask), wanted)
                        gradient = b.select(won, load(b, b.gep(dy, [from_]), mask), zero())
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

    return types.void(L, L, FloatPointer, L, FloatPointer, TapPointer, L, L, L, L), codegen


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
