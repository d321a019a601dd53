"""Vector code of the gradients of depthwise convolution, with the terms and arguments of `depthwise_rows.py`."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import intrinsic

from .depthwise_rows import Ahead, L, Lanes, Values, Window, loop, rotate, unpack
from .depthwise_vectors import inside
from .simd import Accumulator, constant, fma, zero

# ---------------------------------------------------------------- dx where the stride is not 1


@intrinsic(prefer_literal=True)
def spread(typingctx, taps, channel, image, window, stretch, padding, packed, target, rows, load, store):  # type: ignore[no-untyped-def]
    """target = the sums over the windows of `image` (dy) that see each pixel, in the rows [rows[0], rows[1]).

    With literal `taps` the stride is 2, and `stretch` is (pair of padded rows, first pair of padded columns, pairs);
    without, it is (row, first column, columns).
    """

    def codegen(context, b, signature, arguments):  # type: ignore[no-untyped-def]
        values = unpack(b, signature, arguments, 1)
        channel, image, window, stretch, padding, packed, target, rows, load, store = values
        lanes = Lanes(b, channel, packed[1])
        out = lanes.sink(target, store)
        if taps.literal_value:
            _spread(lanes, taps.literal_value, image, stretch, padding, packed, target, rows, load, out)
        else:
            _each_gradient(lanes, image, window, stretch, padding, packed, target, load, out)
        out.finish()
        return context.get_dummy_value()

    return types.void(taps, L, image, window, stretch, padding, packed, target, rows, load, store), codegen


def _spread(
    lanes: Lanes, taps: int, image: Values, stretch: Values, padding: Values, packed: Values, target: Values,
    rows: Values, load: Values, out: Any,
) -> None:  # fmt: skip
    """Step t meets column t of dy and completes two columns of two rows of dx; each of the four meets other taps."""
    b, met = lanes.b, (taps + 1) // 2
    pair, first, columns = stretch
    seen, w = Window(lanes, image, load, b.sub(pair, constant(met - 1)), met, 1), lanes.weights(packed, taps)
    gradients = [[Accumulator(b) for _ in range(met)] for _ in range(met)]
    for row in gradients:
        for gradient in row:
            gradient.set(zero())
    top = b.sub(b.mul(pair, constant(2)), padding[0])
    pair_of_rows = [b.add(top, constant(i)) for i in range(2)]
    ahead = Ahead(lanes, target, out, b.add(top, constant(2)), 2)
    wanted = [b.and_(b.icmp_signed("<=", rows[0], row), b.icmp_signed("<", row, rows[1])) for row in pair_of_rows]
    starts = [b.mul(row, b.mul(target[3], target[4])) for row in pair_of_rows]
    with loop(b, b.sub(first, constant(met - 1)), b.add(first, columns)) as (t, _):
        for row in gradients:
            rotate(row)
            row[0].set(zero())
        with b.if_then(inside(b, t, seen.width)):
            seen.ahead.fetch(t)
            for p, row in enumerate(gradients):  # row p is p above the last one that the pair meets
                row[0].set(seen.load(met - 1 - p, t))
        left, complete = b.sub(b.mul(t, constant(2)), padding[1]), b.icmp_signed(">=", t, first)
        for j in range(2):
            column = b.add(left, constant(j))
            with b.if_then(b.and_(complete, inside(b, column, target[3]))):
                ahead.fetch(column)
                for i in range(2):
                    with b.if_then(wanted[i]):
                        total = zero()
                        for p, r in enumerate(range(i, taps, 2)):
                            for q, s in enumerate(range(j, taps, 2)):
                                total = fma(b, gradients[p][q].get(), w[r][s], total)
                        out.store(b.add(starts[i], b.mul(column, target[4])), total)


def _each_gradient(
    lanes: Lanes, image: Values, window: Values, stretch: Values, padding: Values, packed: Values, target: Values,
    load: Values, out: Any,
) -> None:  # fmt: skip
    """One pixel after the other, for windows of any size."""
    b = lanes.b
    _, _, height, width, channels = image
    kernel_height, kernel_width, stride_down, stride, dilation_down, dilation = window
    row, first, columns = stretch
    seen, total = lanes.source(image, load), Accumulator(b)

    def meets(distance: Any, step: Any, limit: Any) -> tuple[Any, Any]:
        index = b.sdiv(distance, step)
        return index, b.and_(b.icmp_signed("==", b.mul(index, step), distance), inside(b, index, limit))

    with loop(b, first, b.add(first, columns)) as (t, _):
        total.set(zero())
        with loop(b, constant(0), kernel_height) as (r, _):
            oh, met = meets(b.sub(b.add(row, padding[0]), b.mul(r, dilation_down)), stride_down, height)
            with b.if_then(met), loop(b, constant(0), kernel_width) as (s, _):
                ow, met = meets(b.sub(b.add(t, padding[1]), b.mul(s, dilation)), stride, width)
                with b.if_then(met):
                    vector = seen.load(b.mul(b.add(b.mul(oh, width), ow), channels), lanes.mask)
                    weight = lanes.weight(packed, b.add(b.mul(r, kernel_width), s))
                    total.set(fma(b, vector, weight, total.get()))
        out.store(b.mul(b.add(b.mul(row, target[3]), t), target[4]), total.get())


# ---------------------------------------------------------------- dw


@intrinsic(prefer_literal=True)
def correlate(typingctx, taps, stride, channel, image, window, stretch, gradient, row, partial, load, compose):  # type: ignore[no-untyped-def]
    """partial += the products of windows of `image` with the gradients of `rows_of_correlate` rows.

    `gradient` is an image, `row` the first of its rows, `partial` (TAPS x K sums, K).
    """

    def codegen(context, b, signature, arguments):  # type: ignore[no-untyped-def]
        channel, image, window, stretch, gradient, row, partial, load, compose = unpack(b, signature, arguments, 2)
        lanes = Lanes(b, channel, partial[1])
        if taps.literal_value:
            _correlate(lanes, taps.literal_value, stride.literal_value, image, stretch, gradient, row, partial, load,
                       compose)  # fmt: skip
        else:
            _each_tap(lanes, image, window, stretch, gradient, row, partial, load, compose)
        return context.get_dummy_value()

    return types.void(taps, stride, L, image, window, stretch, gradient, L, partial, load, compose), codegen


def rows_of_correlate(taps: int, stride: int) -> int:
    """Rows of gradients of a stretch: as many as leave registers for all sums."""
    return (4 if stride == 1 else 2) if taps == 3 else 1


def _correlate(
    lanes: Lanes, taps: int, stride: int, image: Values, stretch: Values, gradient: Values, row: Any, partial: Values,
    load: Values, compose: Values,
) -> None:  # fmt: skip
    """Step t meets column t of dy and `stride` new columns of x; they go with the last columns of dy."""
    b, pending, rows = lanes.b, -(-taps // stride), rows_of_correlate(taps, stride)
    first_row, first_column, first, columns = stretch
    height = stride * (rows - 1) + taps
    seen = Window(lanes, image, load, first_row, height, stride * rows)
    of = Window(lanes, gradient, compose, row, rows, rows)
    sums = [[Accumulator(b) for _ in range(taps)] for _ in range(taps)]
    gradients = [[Accumulator(b) for _ in range(pending)] for _ in range(rows)]
    for vectors in (*sums, *gradients):
        for vector in vectors:
            vector.set(zero())
    last, delay = b.add(first, columns), constant(pending - 1)
    there = [inside(b, b.add(row, constant(k)), gradient[2]) for k in range(rows)]
    inner = b.add(first, delay)
    with loop(b, first, b.add(last, delay)) as (t, _):
        for vectors in gradients:
            rotate(vectors)
        with b.if_then(b.icmp_signed("<", t, last)):
            for vectors, vector in zip(gradients, of.load_each(t), strict=True):
                vectors[0].set(vector)
        left = b.add(b.mul(t, constant(stride)), first_column)
        whole = b.and_(there[-1], b.and_(b.icmp_signed(">=", t, inner), b.icmp_signed("<", t, last)))
        valid = [inside(b, b.sub(b.sub(t, constant(q)), first), columns) for q in range(pending)]

        def meet(vectors: Values, j: int, k: int, q: int) -> None:
            s = j + q * stride
            if s < taps:
                for r in range(taps):
                    sums[r][s].set(fma(b, vectors[r + k * stride], gradients[k][q].get(), sums[r][s].get()))

        for j in range(stride):
            column = b.add(left, constant(j))
            with b.if_then(inside(b, column, seen.width)):
                vectors = list(seen.load_each(column))
                with b.if_else(whole) as (all_meet, some_meet):
                    with all_meet:
                        for k in range(rows):
                            for q in range(pending):
                                meet(vectors, j, k, q)
                    with some_meet:  # a zero instead of a gradient would make NaN of an infinite x that none sees
                        for q in range(pending):
                            with b.if_then(valid[q]):
                                meet(vectors, j, 0, q)
                                for k in range(1, rows):
                                    with b.if_then(there[k]):
                                        meet(vectors, j, k, q)
    for r in range(taps):
        for s in range(taps):
            lanes.add(sums[r][s].get(), partial, constant(r * taps + s))


def _each_tap(
    lanes: Lanes, image: Values, window: Values, stretch: Values, gradient: Values, row: Any, partial: Values,
    load: Values, compose: Values,
) -> None:  # fmt: skip
    """One tap after the other along the row, for windows of any size."""
    b = lanes.b
    _, _, height, width, channels = image
    kernel_height, kernel_width, _, stride, dilation_down, dilation = window
    first_row, first_column, first, columns = stretch
    seen, of, total = lanes.source(image, load), Window(lanes, gradient, compose, row, 1, 0), Accumulator(b)
    with loop(b, constant(0), kernel_height) as (r, _):
        from_row = b.add(first_row, b.mul(r, dilation_down))
        with b.if_then(inside(b, from_row, height)), loop(b, constant(0), kernel_width) as (s, _):
            left = b.add(first_column, b.mul(s, dilation))
            total.set(zero())
            with loop(b, first, b.add(first, columns)) as (t, _):
                column = b.add(left, b.mul(t, stride))
                with b.if_then(inside(b, column, width)):
                    vector = seen.load(b.mul(b.add(b.mul(from_row, width), column), channels), lanes.mask)
                    total.set(fma(b, vector, of.load(0, t), total.get()))
            lanes.add(total.get(), partial, b.add(b.mul(r, kernel_width), s))
