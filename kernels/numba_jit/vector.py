"""Vectors of `LANES` float32 as values of Numba code: operators, selection, and loads and stores of parts.

What is written for float32 numbers with operators and `where` (see `exponential.py`) takes vectors as well. A float32
beside a vector stands in all of its lanes.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

from . import simd
from .simd import LANES, MASK, VECTOR, load_vector, masked_load, masked_store, splat, store_vector, streaming_store
from .simd import i32 as _i32

AHEAD = 2048  # float32 between what a stream reads and what it fetches: the hardware's own prefetch ends with a page


class _Lanes(types.Type):
    """The type of vectors, or of masks."""


class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, of_type: Any) -> None:
        super().__init__(manager, of_type, VECTOR if of_type is vector else MASK)


vector, mask = _Lanes(f"float32x{LANES}"), _Lanes(f"boolx{LANES}")
register_model(_Lanes)(_LanesModel)


def _wide(b: Any, kind: types.Type, value: Any) -> Any:
    return value if kind is vector else splat(b, value)


def _operator(symbol: Any, result: types.Type, build: Callable[[Any, Any, Any], Any]) -> None:
    """Define an operator of two vectors, or of a vector and a float32."""

    def lower(context, builder, signature, values):  # type: ignore[no-untyped-def]
        left, right = (_wide(builder, kind, value) for kind, value in zip(signature.args, values, strict=True))
        return build(builder, left, right)

    @type_callable(symbol)
    def kind_of(context):  # type: ignore[no-untyped-def]
        def typer(left, right):  # type: ignore[no-untyped-def]
            known = {left, right} <= {vector, types.float32} and vector in (left, right)
            return result if known else None

        return typer

    for kinds in ((vector, vector), (vector, types.float32), (types.float32, vector)):
        lower_builtin(symbol, *kinds)(lower)


_operator(operator.add, vector, lambda b, left, right: b.fadd(left, right))
_operator(operator.sub, vector, lambda b, left, right: b.fsub(left, right))
_operator(operator.mul, vector, lambda b, left, right: b.fmul(left, right))
_operator(operator.truediv, vector, lambda b, left, right: b.fdiv(left, right))
_operator(operator.gt, mask, lambda b, left, right: b.fcmp_ordered(">", left, right))
_operator(operator.ge, mask, lambda b, left, right: b.fcmp_ordered(">=", left, right))
_operator(operator.lt, mask, lambda b, left, right: b.fcmp_ordered("<", left, right))
_operator(operator.le, mask, lambda b, left, right: b.fcmp_ordered("<=", left, right))
_operator(operator.eq, mask, lambda b, left, right: b.fcmp_ordered("==", left, right))


@type_callable(operator.and_)
def _kind_of_and(context):  # type: ignore[no-untyped-def]
    return lambda left, right: mask if left is mask and right is mask else None


@lower_builtin(operator.and_, mask, mask)
def _and(context, builder, signature, values):  # type: ignore[no-untyped-def]
    return builder.and_(*values)


@type_callable(operator.neg)
def _kind_of_neg(context):  # type: ignore[no-untyped-def]
    return lambda value: vector if value is vector else None


@lower_builtin(operator.neg, vector)
def _neg(context, builder, signature, values):  # type: ignore[no-untyped-def]
    return builder.fneg(values[0])


@intrinsic
def where(typingctx, condition, yes, no):  # type: ignore[no-untyped-def]
    """``yes if condition else no``, lane by lane; of numbers too."""
    kind = vector if condition is mask else types.float32

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        if condition is mask:
            return builder.select(values[0], _wide(builder, yes, values[1]), _wide(builder, no, values[2]))
        return builder.select(values[0], values[1], values[2])

    return kind(condition, yes, no), codegen


@intrinsic
def full(typingctx, number):  # type: ignore[no-untyped-def]
    """A vector with a float32 in every lane."""
    return vector(types.float32), lambda context, builder, signature, values: splat(builder, values[0])


@intrinsic
def load(typingctx, pointer):  # type: ignore[no-untyped-def]
    """The vector at a pointer."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return load_vector(builder, values[0])

    return vector(pointer), codegen


@intrinsic
def store(typingctx, pointer, value):  # type: ignore[no-untyped-def]
    """Write a vector to a pointer."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        store_vector(builder, values[1], values[0])
        return context.get_dummy_value()

    return types.none(pointer, vector), codegen


@intrinsic
def put(typingctx, pointer, value, around):  # type: ignore[no-untyped-def]
    """Write a vector to a pointer; `around` the caches if that is not 0, see `memory.streams`."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        pointer, value, around = values
        with builder.if_else(builder.icmp_signed("!=", around, ir.Constant(around.type, 0))) as (streaming, ordinary):
            with streaming:
                streaming_store(builder, value, pointer)
            with ordinary:
                store_vector(builder, value, pointer)
        return context.get_dummy_value()

    return types.none(pointer, vector, types.int64), codegen


def _first(b: Any, count: Any) -> Any:
    """A mask of the lanes below `count`, an int64 that 32 bits hold; one comparison instead of `tail_mask`'s two."""
    lanes = ir.Constant(ir.VectorType(_i32, LANES), list(range(LANES)))
    return b.icmp_signed("<", lanes, splat(b, b.trunc(count, _i32), _i32))


def partial_load(b: Any, pointer: Any, count: Any, default: Any) -> Any:
    """What `load_part` builds."""
    lanes = _first(b, count)
    return b.select(lanes, masked_load(b, pointer, lanes), default)


def partial_store(b: Any, pointer: Any, value: Any, count: Any) -> None:
    """What `store_part` builds."""
    masked_store(b, value, pointer, _first(b, count))


@intrinsic
def load_part(typingctx, pointer, count, default):  # type: ignore[no-untyped-def]
    """The first `count` (any modest number) lanes from a pointer, the others from `default`, a vector or a number."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return partial_load(builder, values[0], values[1], _wide(builder, default, values[2]))

    return vector(pointer, types.int64, default), codegen


@intrinsic
def store_part(typingctx, pointer, value, count):  # type: ignore[no-untyped-def]
    """Write the first `count` (any modest number) lanes."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        partial_store(builder, *values)
        return context.get_dummy_value()

    return types.none(pointer, vector, types.int64), codegen


@intrinsic
def prefetch(typingctx, pointer):  # type: ignore[no-untyped-def]
    """Fetch the cache line at a pointer, which may lie outside any array: it is only a hint."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        simd.prefetch(builder, values[0])
        return context.get_dummy_value()

    return types.none(pointer), codegen


def halves(b: Any, value: Any, join: Callable[[Any, Any], Any]) -> Any:
    """Join the upper half of the lanes with the lower one until one is left."""
    count = value.type.count
    while count > 1:
        count //= 2
        low, high = (
            b.shuffle_vector(value, value, ir.Constant(ir.VectorType(_i32, count), list(range(at, at + count))))
            for at in (0, count)
        )
        value = join(low, high)
    return b.extract_element(value, ir.Constant(_i32, 0))


@intrinsic
def total(typingctx, value):  # type: ignore[no-untyped-def]
    """The sum of the lanes, in double."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        wide = builder.fpext(values[0], ir.VectorType(ir.DoubleType(), LANES))
        return halves(builder, wide, builder.fadd)

    return types.float64(vector), codegen


@intrinsic
def largest(typingctx, value):  # type: ignore[no-untyped-def]
    """The largest lane; a NaN may be passed over."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return halves(builder, values[0], lambda a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b))

    return types.float32(vector), codegen


def add_in_double(b: Any, pointer: Any, value: Any) -> None:
    """Add a vector to the doubles behind a pointer."""
    kind = ir.VectorType(ir.DoubleType(), LANES)
    address = b.bitcast(pointer, kind.as_pointer())
    b.store(b.fadd(b.load(address, align=8), b.fpext(value, kind)), address, align=8)
