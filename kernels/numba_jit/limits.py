"""A kernel that does nothing but reach a limit of the processor: multiply and add."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..limits import SUMS
from .compiler import kernel
from .memory import at
from .simd import Accumulator, FloatPointer, constant, fma, splat


@intrinsic
def _multiply_add(typingctx, x, y, rounds):  # type: ignore[no-untyped-def]
    """`SUMS` vectors become s * x[0] + x[1], so many times."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x, y, rounds = arguments
        factor, addend = (splat(builder, builder.load(builder.gep(x, [constant(i)]))) for i in (0, 1))
        sums = [Accumulator(builder) for _ in range(SUMS)]
        for i, item in enumerate(sums):
            item.set(splat(builder, builder.load(builder.gep(x, [constant(i)]))))
        with cgutils.for_range(builder, rounds):
            for item in sums:
                item.set(fma(builder, item.get(), factor, addend))
        for i, item in enumerate(sums):
            first = builder.extract_element(item.get(), ir.Constant(ir.IntType(32), 0))
            builder.store(first, builder.gep(y, [constant(i)]))
        return context.get_dummy_value()

    return types.void(FloatPointer, FloatPointer, types.int64), codegen


@kernel
def multiply_add(x, y, rounds, begin, end):  # type: ignore[no-untyped-def]
    """As many multiply-adds as the processor can do: no memory is touched meanwhile."""
    for task in range(begin, end):
        _multiply_add(at(x, task * SUMS), at(y, task * SUMS), rounds)
