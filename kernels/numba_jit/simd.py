"""Vector code inside Numba: a thin operator layer over LLVM vector IR, for use in ``@intrinsic`` bodies.

A vector has `LANES` float32, as many as the host's registers hold; LLVM splits it where registers are narrower, so the
same source is right everywhere.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from .objects import has_fma, vector_lanes

LANES, HAS_FMA = vector_lanes(), has_fma()
f32, i1, i32, i64 = ir.FloatType(), ir.IntType(1), ir.IntType(32), ir.IntType(64)
VECTOR, MASK = ir.VectorType(f32, LANES), ir.VectorType(i1, LANES)
FloatPointer = types.CPointer(types.float32)
LINE = 16  # float32 of a cache line


def constant(number: int) -> ir.Constant:
    """An int64 constant."""
    return ir.Constant(i64, number)


def splat(b: Any, scalar: Any, element: ir.Type = f32) -> Any:
    """A vector with `scalar` in every lane."""
    undefined = ir.Constant(ir.VectorType(element, LANES), ir.Undefined)
    first = b.insert_element(undefined, scalar, ir.Constant(i32, 0))
    return b.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(i32, LANES), [0] * LANES))


def tail_mask(b: Any, count: Any) -> Any:
    """A mask of the lanes below `count`, an int64 that may be negative or larger than `LANES`."""
    lanes = ir.Constant(ir.VectorType(i64, LANES), list(range(LANES)))
    return b.icmp_signed("<", lanes, splat(b, count, i64))


def zero() -> ir.Constant:
    """A vector of zeros."""
    return ir.Constant(VECTOR, [0.0] * LANES)


def fma(b: Any, factor: Any, other: Any, addend: Any) -> Any:
    """factor * other + addend, rounded once where the processor can do so, else twice: libm's fma is far too slow."""
    name = f"llvm.{'fma' if HAS_FMA else 'fmuladd'}.v{LANES}f32"
    return b.call(cgutils.get_or_insert_function(b.module, ir.FunctionType(VECTOR, [VECTOR] * 3), name),
                  [factor, other, addend])  # fmt: skip


def load_vector(b: Any, pointer: Any) -> Any:
    """A whole vector from any place."""
    return b.load(b.bitcast(pointer, VECTOR.as_pointer()), align=4)


def store_vector(b: Any, value: Any, pointer: Any) -> None:
    """Write a whole vector to any place."""
    b.store(value, b.bitcast(pointer, VECTOR.as_pointer()), align=4)


def _masked(b: Any, action: str, kind: ir.VectorType, result: ir.Type, parameters: list[ir.Type]) -> Any:
    name = f"llvm.masked.{action}.v{LANES}{kind.element.intrinsic_name}.p0"
    return cgutils.get_or_insert_function(b.module, ir.FunctionType(result, parameters), name)


def masked_load(b: Any, pointer: Any, mask: Any, kind: ir.VectorType = VECTOR, align: int = 4) -> Any:
    """The lanes of `mask` from memory, zeros elsewhere; reads nothing outside. `align` is an element's size."""
    address = b.bitcast(pointer, kind.as_pointer())
    function = _masked(b, "load", kind, kind, [address.type, i32, MASK, kind])
    return b.call(function, [address, ir.Constant(i32, align), mask, ir.Constant(kind, [0] * LANES)])


def masked_store(b: Any, value: Any, pointer: Any, mask: Any, align: int = 4) -> None:
    """Write the lanes of `mask`; touches nothing outside the mask. `align` is an element's size."""
    kind = value.type
    address = b.bitcast(pointer, kind.as_pointer())
    function = _masked(b, "store", kind, ir.VoidType(), [kind, address.type, i32, MASK])
    b.call(function, [value, address, ir.Constant(i32, align), mask])


class Accumulator:
    """A vector variable of the code being built; LLVM keeps it in a register."""

    def __init__(self, b: Any) -> None:
        self.b, self.slot = b, cgutils.alloca_once(b, VECTOR)
        self.set(zero())

    def get(self) -> Any:
        return self.b.load(self.slot)

    def set(self, value: Any) -> None:
        self.b.store(value, self.slot)


def opaque(b: Any, pointer: Any) -> Any:
    """The same pointer; LLVM does not see that, and keeps no register for each address that follows from it."""
    return b.asm(ir.FunctionType(pointer.type, [pointer.type]), "", "=r,0", [pointer], False)


def streaming_store(b: Any, value: Any, pointer: Any, align: int = 4 * LANES) -> None:
    """Write a whole vector to a place aligned to its size around the caches, so that its line is not read first."""
    instruction = b.store(value, b.bitcast(pointer, value.type.as_pointer()), align=align)
    instruction.set_metadata("nontemporal", b.module.add_metadata([ir.Constant(i32, 1)]))


def prefetch(b: Any, pointer: Any, writing: bool = False, near: bool = True, once: bool = False) -> None:
    """Begin to bring the cache line of `pointer`, which may lie outside of any array, to the first or second cache.

    `writing` asks to own it; what is read only `once` need not be kept.
    """
    address = b.bitcast(pointer, ir.IntType(8).as_pointer())
    kind = ir.FunctionType(ir.VoidType(), [address.type, i32, i32, i32])
    function = cgutils.get_or_insert_function(b.module, kind, "llvm.prefetch.p0")
    locality = 0 if once else 3 if near else 2
    b.call(function, [address, ir.Constant(i32, int(writing)), ir.Constant(i32, locality), ir.Constant(i32, 1)])
