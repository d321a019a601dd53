"""Kernels that do nothing but reach a limit of the machine's memory: copy, add."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from llvmlite import ir
from nnfast.kernels import limits
from nnfast.kernels.blocking import BLOCK, blocks
from nnfast.kernels.numba_jit.compiler import compile_object, kernel
from nnfast.kernels.numba_jit.memory import at, at_most
from nnfast.kernels.numba_jit.objects import load
from nnfast.kernels.numba_jit.simd import LANES, VECTOR, FloatPointer, constant
from nnfast.kernels.operation import Operation, operation
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

COPIES = operation("limits.copy", "x: ...", "y: ...", tasks=lambda s: blocks(s.SIZE, BLOCK))
WHOLE_COPIES = operation("limits.copy_whole", "x: ...", "y: ...", tasks=lambda s: 16)
TRIADS = operation("limits.triad", "a: ...; b: ...", "y: ...", tasks=lambda s: blocks(s.SIZE, BLOCK))


@intrinsic
def _stream(typingctx, source, target, count):  # type: ignore[no-untyped-def]
    """Copy whole, aligned vectors past the caches."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, target = (builder.bitcast(pointer, VECTOR.as_pointer()) for pointer in arguments[:2])
        with cgutils.for_range(builder, builder.udiv(arguments[2], constant(LANES))) as loop:
            value = builder.load(builder.gep(source, [loop.index]), align=4)
            stored = builder.store(value, builder.gep(target, [loop.index]), align=4 * LANES)
            stored.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
        return context.get_dummy_value()

    return types.void(FloatPointer, FloatPointer, types.int64), codegen


@intrinsic
def _memcpy(typingctx, source, target, count):  # type: ignore[no-untyped-def]
    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, target, count = arguments
        cgutils.raw_memcpy(builder, target, source, count, 4)
        return context.get_dummy_value()

    return types.void(FloatPointer, FloatPointer, types.int64), codegen


@kernel
def copy_loop(x, y, SIZE, begin, end):  # type: ignore[no-untyped-def]
    """The plain loop, which reads y's cache lines before it writes them."""
    first = begin * BLOCK
    source, target = at(x, first), at(y, first)
    for i in range(at_most(end * BLOCK, SIZE) - first):
        target[i] = source[i]


@kernel
def copy_streaming(x, y, SIZE, begin, end):  # type: ignore[no-untyped-def]
    """The same with stores that go past the caches."""
    first = begin * BLOCK
    _stream(at(x, first), at(y, first), at_most(end * BLOCK, SIZE) - first)


@kernel
def copy_memcpy(x, y, SIZE, begin, end):  # type: ignore[no-untyped-def]
    """The C library's memcpy, a sixteenth of the array at a time."""
    for task in range(begin, end):
        first, last = task * SIZE // 16, (task + 1) * SIZE // 16
        _memcpy(at(x, first), at(y, first), last - first)


@kernel
def triad(a, b, y, SIZE, begin, end):  # type: ignore[no-untyped-def]
    """y = a + 3 b."""
    first = begin * BLOCK
    one, other, target = at(a, first), at(b, first), at(y, first)
    for i in range(at_most(end * BLOCK, SIZE) - first):
        target[i] = one[i] + np.float32(3) * other[i]


def bound(
    function: Callable[..., None], op: Operation, arrays: Mapping[str, np.ndarray], **attributes: Any
) -> Callable[[], None]:
    """A kernel of this file over `arrays`, compiled, as a function that runs it on the threads that are set."""
    return limits.bound(load(compile_object(function, op, "default")), op, arrays, **attributes)
