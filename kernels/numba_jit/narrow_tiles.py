"""Register tiles of convolutions with few channels: one element of an image meets several taps while it is held.

Vectors run along the output channels, or along what a kernel row of input channels adds to a data gradient.
"""

from __future__ import annotations

from functools import reduce
from typing import Any, NamedTuple

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..blocking import NARROW
from .simd import (
    LANES,
    LINE,
    Accumulator,
    FloatPointer,
    constant,
    fma,
    i1,
    load_vector,
    masked_load,
    masked_store,
    opaque,
    prefetch,
    splat,
    streaming_store,
    tail_mask,
)

L = types.int64
AT_ONCE = 2  # pixels of dy that a weight gradient holds


def _pixels(b: Any, start: Any, step: Any, count: int) -> list[tuple[Any, Any]]:
    """Pixels `step` apart, as a pointer and a distance from it: so few addresses need registers."""
    steps = [b.mul(step, constant(i)) for i in range(4)]
    starts = [b.gep(start, [b.mul(step, constant(i))]) for i in range(0, count, 4)]
    return [(starts[i // 4], steps[i % 4]) for i in range(count)]


def _broadcast(b: Any, pixel: tuple[Any, Any], offset: Any) -> Any:
    start, distance = pixel
    return splat(b, b.load(b.gep(start, [b.add(offset, distance)])))


@intrinsic
def ask_for(typingctx, start, count):  # type: ignore[no-untyped-def]
    """Begin to bring `count` numbers to the first cache."""

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        start, count = arguments
        with cgutils.for_range_slice(b, constant(0), count, constant(LINE)) as (i, _):
            prefetch(b, b.gep(start, [i]))
        return context.get_dummy_value()

    return types.void(FloatPointer, L), codegen


@intrinsic
def copy_pixels(typingctx, source, source_row, target, target_row, rows, count, ahead):  # type: ignore[no-untyped-def]
    """Copy `rows` rows of `count` numbers, and ask for what lies `ahead` of them."""

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        source, source_row, target, target_row, rows, count, ahead = arguments
        with cgutils.for_range(b, rows) as row:
            from_row = b.gep(source, [b.mul(row.index, source_row)])
            to_row = b.gep(target, [b.mul(row.index, target_row)])
            with cgutils.for_range_slice(b, constant(0), count, constant(LANES)) as (i, _):
                mask, place = tail_mask(b, b.sub(count, i)), b.gep(from_row, [i])
                prefetch(b, b.gep(place, [ahead]), near=False)
                masked_store(b, masked_load(b, place, mask), b.gep(to_row, [i]), mask)
        return context.get_dummy_value()

    return types.void(FloatPointer, L, FloatPointer, L, L, L, L), codegen


class Window(NamedTuple):
    """What output pixels side by side see: R rows of C channels, `pitch` apart, and weights in rows of `NARROW`."""

    a: Any
    pitch: Any
    R: Any
    C: Any
    w: Any


class Output(NamedTuple):
    """Output pixels K numbers apart, of which a vector of `channels` is computed; `streams`: around the caches."""

    y: Any
    K: Any
    channels: Any
    biased: Any
    bias: Any
    streams: Any


@intrinsic(prefer_literal=True)
def convolve_columns(typingctx, columns, taps, m, window, output):  # type: ignore[no-untyped-def]
    """y[n] = bias + the sum over r, c, s of a[r * pitch + (n + s) * C + c] w[r, c, s], for n < m.

    A tile computes as many columns as its literal says, and reads as many; what lies behind column m is not stored.
    """
    width, span = columns.literal_value, taps.literal_value

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        _, _, m, *tuples = arguments
        (a, pitch, R, C, w), of_output = (cgutils.unpack_tuple(b, item) for item in tuples)
        y, K, channels, biased, bias, streams = of_output
        mask = tail_mask(b, channels)
        sums = [Accumulator(b) for _ in range(width)]
        pixels = _pixels(b, a, C, width + span - 1)
        with cgutils.for_range(b, R) as r, cgutils.for_range(b, C) as c:
            offset = b.add(b.mul(r.index, pitch), c.index)
            step = b.add(b.mul(r.index, C), c.index)
            asked = b.mul(step, constant(2))  # of the next tile's pixels, two in a step
            asked = b.select(b.icmp_signed("<", asked, constant(width)), asked, constant(0))
            for n in (width, width + 1):
                prefetch(b, b.gep(y, [b.mul(K, b.add(asked, constant(n)))]), writing=True)
            row = b.mul(step, constant(span * NARROW))
            weights = [masked_load(b, b.gep(w, [b.add(row, constant(s * NARROW))]), mask) for s in range(span)]
            for j, pixel in enumerate(pixels):
                element = _broadcast(b, pixel, offset)
                for s in range(span):
                    if 0 <= j - s < width:
                        sums[j - s].set(fma(b, element, weights[s], sums[j - s].get()))
        there = b.icmp_signed("!=", biased, constant(0))
        addend = masked_load(b, bias, b.and_(mask, splat(b, there, i1)))
        with b.if_else(b.icmp_signed("!=", streams, constant(0))) as (streaming, ordinary):
            for branch, around in ((streaming, True), (ordinary, False)):
                with branch:
                    for n, total in enumerate(sums):
                        with b.if_then(b.icmp_signed("<", constant(n), m)):
                            value, place = b.fadd(total.get(), addend), b.gep(y, [b.mul(K, constant(n))])
                            if around:
                                streaming_store(b, value, place)
                            else:
                                masked_store(b, value, place, mask)
        return context.get_dummy_value()

    return types.void(columns, taps, L, window, output), codegen


@intrinsic(prefer_literal=True)
def spread_columns(typingctx, columns, vectors, R, K, a, a_row, step, packed, width, target, turn, turns, pitch, C):  # type: ignore[no-untyped-def]
    """Column n of a row of dy times the taps of a kernel row, `width` <= vectors * LANES numbers, for each column.

    They are sums over r, k of a[r * a_row + n * step + k] packed[r, k], and are written to row
    (turn + n) % turns of `target` from n * C on: neighbours, which overlap, go to different rows.
    """
    count, several = columns.literal_value, vectors.literal_value

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        _, _, R, K, a, a_row, step, packed, width, target, turn, turns, pitch, C = arguments
        masks = [tail_mask(b, b.sub(width, constant(j * LANES))) for j in range(several)]
        sums = [[Accumulator(b) for _ in range(several)] for _ in range(count)]
        pixels = _pixels(b, a, step, count)
        with cgutils.for_range(b, R) as r, cgutils.for_range(b, K) as k:
            offset = b.add(b.mul(r.index, a_row), k.index)
            row = b.gep(packed, [b.mul(b.add(b.mul(r.index, K), k.index), constant(several * LANES))])
            weights = [load_vector(b, b.gep(row, [constant(j * LANES)])) for j in range(several)]
            for pixel, of_pixel in zip(pixels, sums, strict=True):
                element = _broadcast(b, pixel, offset)
                for weight, total in zip(weights, of_pixel, strict=True):
                    total.set(fma(b, element, weight, total.get()))
        for n, of_pixel in enumerate(sums):
            place = b.gep(target, [b.add(b.mul(turn, pitch), b.mul(C, constant(n)))])
            for j, mask in enumerate(masks):
                masked_store(b, of_pixel[j].get(), b.gep(place, [constant(j * LANES)]), mask)
            turn = b.add(turn, constant(1))
            turn = b.select(b.icmp_signed("==", turn, turns), constant(0), turn)
        return context.get_dummy_value()

    F = FloatPointer
    return types.void(columns, vectors, L, L, F, L, L, F, L, F, L, L, L, L), codegen


@intrinsic(prefer_literal=True)
def gather_rows(typingctx, rows, source, pitch, target, count):  # type: ignore[no-untyped-def]
    """target[i] = the sum of `rows` (a literal) rows of `source` that are `pitch` apart."""

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        _, source, pitch, target, count = arguments
        starts = [b.gep(source, [b.mul(pitch, constant(row))]) for row in range(rows.literal_value)]
        with cgutils.for_range_slice(b, constant(0), count, constant(LANES)) as (i, _):
            mask = tail_mask(b, b.sub(count, i))
            first, *others = (masked_load(b, b.gep(start, [i]), mask) for start in starts)
            masked_store(b, reduce(b.fadd, others, first), b.gep(target, [i]), mask)
        return context.get_dummy_value()

    return types.void(rows, FloatPointer, L, FloatPointer, L), codegen


class Planes(NamedTuple):
    """Kernel rows of input channels: each begins at ``a + places[plane]``, and row t of it ``shifts[t]`` from there."""

    a: Any
    places: Any
    C: Any
    shifts: Any


class Gradients(NamedTuple):
    """Rows of OW pixels of dy, one behind the other, K numbers apart, of which a vector of `channels` is used.

    Pixels from `later` on are asked for meanwhile.
    """

    dy: Any
    later: Any
    K: Any
    channels: Any
    rows: Any
    OW: Any


class Totals(NamedTuple):
    """Where the sums of a plane begin, how far apart those of its taps are, and whether there are such already."""

    total: Any
    places: Any
    tap: Any
    accumulate: Any


@intrinsic(prefer_literal=True)
def correlate_planes(typingctx, taps, planes, m, images, gradients, totals):  # type: ignore[no-untyped-def]
    """total[plane, s] = the sum over rows and columns of a[plane, row, column + s] dy[row, column].

    Planes from `m` on repeat plane m - 1 and are not stored.
    """
    span, height = taps.literal_value, planes.literal_value

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        _, _, m, *tuples = arguments
        of_images, of_gradients, of_totals = (cgutils.unpack_tuple(b, item) for item in tuples)
        a, places, C, shifts = of_images
        dy, later, dy_pixel, channels, rows, OW = of_gradients
        total, total_places, tap, accumulate = of_totals
        mask, last = tail_mask(b, channels), b.sub(m, constant(1))
        there = [b.icmp_signed("<", constant(i), m) for i in range(height)]
        index = [b.select(inside, constant(i), last) for i, inside in enumerate(there)]
        starts = [b.gep(a, [b.load(b.gep(places, [item]))]) for item in index]
        sums = [[Accumulator(b) for _ in range(span)] for _ in range(height)]

        sources = [cgutils.alloca_once_value(b, start) for start in starts]
        gradient_at, later_at = cgutils.alloca_once_value(b, dy), cgutils.alloca_once_value(b, later)

        def add(count: int) -> None:
            """Multiply `count` pixels of dy with the pixels of x that they meet, and go on behind them."""
            gradient, pixels = b.load(gradient_at), [opaque(b, b.load(source)) for source in sources]
            held = []
            for n in range(count):
                distance = b.mul(dy_pixel, constant(n))
                prefetch(b, b.gep(b.load(later_at), [distance]))
                held.append(masked_load(b, b.gep(gradient, [distance]), mask))
            b.store(b.gep(b.load(later_at), [b.mul(dy_pixel, constant(count))]), later_at)
            for j in range(count + span - 1):
                distance = b.mul(C, constant(j))
                for pixel, of_plane in zip(pixels, sums, strict=True):
                    element = splat(b, b.load(b.gep(pixel, [distance])))
                    for s in range(span):
                        if 0 <= j - s < count:
                            of_plane[s].set(fma(b, element, held[j - s], of_plane[s].get()))
            for source, pixel in zip(sources, pixels, strict=True):
                b.store(b.gep(pixel, [b.mul(C, constant(count))]), source)
            b.store(b.gep(gradient, [b.mul(dy_pixel, constant(count))]), gradient_at)

        with cgutils.for_range(b, rows) as row:
            shift = b.load(b.gep(shifts, [row.index]))
            for source, start in zip(sources, starts, strict=True):
                b.store(b.gep(start, [shift]), source)
            with cgutils.for_range(b, b.sdiv(OW, constant(AT_ONCE))):
                add(AT_ONCE)
            with cgutils.for_range(b, b.srem(OW, constant(AT_ONCE))):
                add(1)
        for i, of_plane in enumerate(sums):
            with b.if_then(there[i]):
                first = b.gep(total, [b.load(b.gep(total_places, [constant(i)]))])
                for s, value in enumerate(of_plane):
                    place = b.gep(first, [b.mul(tap, constant(s))])
                    with b.if_then(b.icmp_signed("!=", accumulate, constant(0))):
                        value.set(b.fadd(masked_load(b, place, mask), value.get()))
                    masked_store(b, value.get(), place, mask)
        return context.get_dummy_value()

    return types.void(taps, planes, L, images, gradients, totals), codegen
