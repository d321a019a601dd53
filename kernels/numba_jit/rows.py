"""Loops along rows of float32. Sums and maxima run in the lanes of one to four vectors, which are joined in order."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .compiler import inline
from .exponential import INFINITY, ZERO, exp_bounded
from .memory import at
from .simd import LANES, FloatPointer, constant, f32, load_vector, splat, zero
from .vector import AHEAD, full, halves, load, load_part, partial_load, prefetch, put, store, store_part, total, where
from .vector import largest as largest_of


@inline
def _reduce(part, join, first, second, start, count):  # type: ignore[no-untyped-def]
    """A vector whose lanes join ``part(a, b)`` of the elements of two rows; `start` joined with anything is that."""
    lanes, whole = full(start), count - count % LANES
    if whole > 0:
        more, third, fourth, fours = lanes, lanes, lanes, count - count % (4 * LANES)
        for i in range(0, fours, 4 * LANES):
            a, b = at(first, i), at(second, i)
            lanes = join(lanes, part(load(a), load(b)))
            more = join(more, part(load(at(a, LANES)), load(at(b, LANES))))
            third = join(third, part(load(at(a, 2 * LANES)), load(at(b, 2 * LANES))))
            fourth = join(fourth, part(load(at(a, 3 * LANES)), load(at(b, 3 * LANES))))
        lanes = join(join(lanes, more), join(third, fourth))
        for i in range(fours, whole, LANES):
            lanes = join(lanes, part(load(at(first, i)), load(at(second, i))))
    if whole < count:
        rest = count - whole
        last = part(load_part(at(first, whole), rest, start), load_part(at(second, whole), rest, start))
        lanes = join(lanes, last)
    return lanes


@inline
def _first(a, b):  # type: ignore[no-untyped-def]
    return a


@inline
def _times(a, b):  # type: ignore[no-untyped-def]
    return a * b


@inline
def _plus(a, b):  # type: ignore[no-untyped-def]
    return a + b


@inline
def _larger(a, b):  # type: ignore[no-untyped-def]
    return where(b > a, b, a)


@inline
def maximum(row, count):  # type: ignore[no-untyped-def]
    """The largest number of a row of at least one; a NaN may be passed over."""
    return largest_of(_reduce(_first, _larger, row, row, -INFINITY, count))


@inline
def sum_of(row, count):  # type: ignore[no-untyped-def]
    """The sum of a row."""
    return total(_reduce(_first, _plus, row, row, ZERO, count))


@inline
def dot(left, right, count):  # type: ignore[no-untyped-def]
    """The sum of the products of two rows."""
    return total(_reduce(_times, _plus, left, right, ZERO, count))


@inline
def exponential_sum(row, top, target, kept, count):  # type: ignore[no-untyped-def]
    """The sum of exp(row - top); if `kept`, a literal, is not 0, these go to `target`."""
    lanes = full(ZERO)
    whole = count - count % LANES
    for i in range(0, whole, LANES):
        prefetch(at(row, i + AHEAD))
        value = exp_bounded(load(at(row, i)) - top)
        if kept:
            store(at(target, i), value)
        lanes = lanes + value
    if whole < count:
        value = exp_bounded(load_part(at(row, whole), count - whole, -INFINITY) - top)
        if kept:
            store_part(at(target, whole), value, count - whole)
        lanes = lanes + value
    return total(lanes)


@inline
def map_row(function, source, target, parameters, count, around, ahead):  # type: ignore[no-untyped-def]
    """target = function(source, *parameters) along a row; `around` the caches if that is not 0, see `put`.

    `ahead`, a literal, is how far ahead to fetch `source`; 0: not at all.
    """
    whole = count - count % LANES
    for i in range(0, whole, LANES):
        if ahead:
            prefetch(at(source, i + ahead))
        put(at(target, i), function(load(at(source, i)), *parameters), around)
    if whole < count:
        value = function(load_part(at(source, whole), count - whole, ZERO), *parameters)
        store_part(at(target, whole), value, count - whole)


@inline
def map_rows(function, first, second, target, parameters, count, around):  # type: ignore[no-untyped-def]
    """target = function(first, second, *parameters) along a row; `around` the caches if that is not 0, see `put`."""
    whole = count - count % LANES
    for i in range(0, whole, LANES):
        prefetch(at(second, i + AHEAD))
        put(at(target, i), function(load(at(first, i)), load(at(second, i)), *parameters), around)
    if whole < count:
        a, b = load_part(at(first, whole), count - whole, ZERO), load_part(at(second, whole), count - whole, ZERO)
        store_part(at(target, whole), function(a, b, *parameters), count - whole)


_DOUBLES = ir.VectorType(ir.DoubleType(), LANES)


@intrinsic
def sum_below(typingctx, top, row, weighted, weight, count):  # type: ignore[no-untyped-def]
    """The sum of w[c] * (top - row[c]) in double, `LANES` sums side by side; w[c] is 1 unless `weighted`."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        b = builder
        top, row, weighted, weight, count = values
        sums = cgutils.alloca_once_value(b, ir.Constant(_DOUBLES, [0.0] * LANES))
        wide_top, narrow_top = splat(b, top, ir.DoubleType()), splat(b, b.fptrunc(top, f32))

        def add(x: Any, w: Any | None = None) -> None:
            term = b.fsub(wide_top, b.fpext(x, _DOUBLES))
            term = term if w is None else b.fmul(b.fpext(w, _DOUBLES), term)
            b.store(b.fadd(b.load(sums), term), sums)

        def add_all(*arrays: Any) -> None:
            rest = b.srem(count, constant(LANES))
            whole = b.sub(count, rest)
            with cgutils.for_range_slice(b, constant(0), whole, constant(LANES)) as (c, _):
                add(*(load_vector(b, b.gep(array, [c])) for array in arrays))
            ends = zip(arrays, (narrow_top, zero()), strict=False)  # what is put behind a row adds 0
            add(*(partial_load(b, b.gep(array, [whole]), rest, beyond) for array, beyond in ends))

        with b.if_else(b.icmp_signed("!=", weighted, constant(0))) as (with_weights, without):
            with with_weights:
                add_all(row, weight)
            with without:
                add_all(row)
        return halves(b, b.load(sums), b.fadd)

    return types.float64(types.float64, FloatPointer, types.int64, FloatPointer, types.int64), codegen
