"""Memory as hot loops need it: raw pointers and stack tiles.

LLVM does not vectorise arrays indexed from a variable start, whose negative indices Numba wraps around. `at` gives
pointers, which take any index as it is. `floats` and `doubles` give memory on the stack: LLVM knows that no array
overlaps it, so loops that read arrays and write a tile need no run-time check, and an operation may work in place.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .compiler import inline

STREAMED = 1 << 22  # elements: 16 MB, half of a usual third cache
TILE = 1024  # elements of an elementwise kernel's tile: 4 KB of L1


@intrinsic
def at(typingctx, memory, offset):  # type: ignore[no-untyped-def]
    """Pointer to the element at the flat `offset` of a C-contiguous array or of another pointer."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        start = values[0]
        if isinstance(memory, types.Array):
            start = context.make_array(memory)(context, builder, start).data
        return builder.gep(start, [values[1]])

    return types.CPointer(memory.dtype)(memory, types.int64), codegen


@intrinsic
def streams(typingctx, memory, size, multiple):  # type: ignore[no-untyped-def]
    """Whether to write `size` elements around the caches: they would not stay, and rows are whole, aligned vectors.

    `multiple` is what the rows' length and places are a multiple of. On x86 such stores are not ordered among others;
    the executor's atomic counters, by which other threads learn of a task's end, wait for them.
    """

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        start, size, multiple = values
        if isinstance(memory, types.Array):
            start = context.make_array(memory)(context, builder, start).data
        bits = builder.and_(builder.ptrtoint(start, ir.IntType(64)), ir.Constant(ir.IntType(64), 63))
        odd = builder.and_(multiple, ir.Constant(ir.IntType(64), 15))
        fits = builder.icmp_signed("==", builder.or_(bits, odd), ir.Constant(ir.IntType(64), 0))
        large = builder.icmp_signed(">=", size, ir.Constant(ir.IntType(64), STREAMED))
        return builder.zext(builder.and_(fits, large), ir.IntType(64))

    return types.int64(memory, types.int64, types.int64), codegen


def _stack(element: types.Type, count: types.IntegerLiteral) -> tuple[Any, Any]:
    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = ir.ArrayType(context.get_data_type(element), count.literal_value)
        with builder.goto_entry_block():  # not cgutils.alloca_once, which would clear the memory
            memory = builder.alloca(kind)
        memory.align = 64
        return builder.bitcast(memory, kind.element.as_pointer())

    return types.CPointer(element)(count), codegen


@intrinsic(prefer_literal=True)
def floats(typingctx, count):  # type: ignore[no-untyped-def]
    """Pointer to `count` (a constant) float32 numbers on the stack, not initialised."""
    return _stack(types.float32, count)


@intrinsic(prefer_literal=True)
def doubles(typingctx, count):  # type: ignore[no-untyped-def]
    """Pointer to `count` (a constant) float64 numbers on the stack, not initialised."""
    return _stack(types.float64, count)


@intrinsic
def number(typingctx, value):  # type: ignore[no-untyped-def]
    """An integer whose type does not tell its value: a function is compiled anew for each literal that it is given."""
    return types.int64(types.int64), lambda context, builder, signature, values: values[0]


@inline
def at_most(count, limit):  # type: ignore[no-untyped-def]
    """The smaller of two integers (the builtin `min` compiles slowly)."""
    return count if count < limit else limit


@inline
def copy(source, target, count):  # type: ignore[no-untyped-def]
    """Copy `count` elements between two pointers."""
    for i in range(count):
        target[i] = source[i]


@inline
def fill(target, value, count):  # type: ignore[no-untyped-def]
    """Set `count` elements behind a pointer to `value`."""
    for i in range(count):
        target[i] = value
