"""Transposition in registers, block by block of LANES x LANES, and sums of rows."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .compiler import inline
from .memory import at, at_most
from .simd import LANES, FloatPointer, constant, i1, i32, masked_load, masked_store, prefetch, splat, tail_mask

L = types.int64
AHEAD = 8 * LANES  # elements of each row: no processor sees by itself that so many rows are read side by side
ROWS_AHEAD = 16  # the same where every row is a line of its own
WRITTEN_AHEAD = 2 * LANES  # rows of the target: what is written is read first


def transpose_registers(b: Any, rows: list[Any]) -> list[Any]:
    """The columns of LANES vectors: blocks off the diagonal change places, of half the size in every step."""
    step = LANES // 2
    while step:
        changed = list(rows)
        for i in range(LANES):
            if i & step == 0:
                upper, lower = rows[i], rows[i + step]
                first = [lane if lane & step == 0 else LANES + lane - step for lane in range(LANES)]
                second = [lane + step if lane & step == 0 else LANES + lane for lane in range(LANES)]
                pick = ir.VectorType(i32, LANES)
                changed[i] = b.shuffle_vector(upper, lower, ir.Constant(pick, first))
                changed[i + step] = b.shuffle_vector(upper, lower, ir.Constant(pick, second))
        rows, step = changed, step // 2
    return rows


def _row(b: Any, memory: Any, row: Any, i: int, rows: Any) -> tuple[Any, Any]:
    """Whether row i is one of `rows`, for all lanes, and its place; else that of row 0.

    An access that is masked out altogether takes hundreds of cycles if there is no memory at its place.
    """
    there = b.icmp_signed("<", constant(i), rows)
    return splat(b, there, i1), b.select(there, b.gep(memory, [b.mul(row, constant(i))]), memory)


@intrinsic
def _transpose_block(typingctx, source, source_row, target, target_row, rows, columns):  # type: ignore[no-untyped-def]
    """target[j, i] = source[i, j] for up to LANES rows and columns."""

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        source, source_row, target, target_row, rows, columns = arguments
        in_row, in_column = tail_mask(b, columns), tail_mask(b, rows)
        vectors = []
        for i in range(LANES):
            there, place = _row(b, source, source_row, i, rows)
            prefetch(b, b.gep(place, [constant(AHEAD)]))
            vectors.append(masked_load(b, place, b.and_(in_row, there)))
        for j, vector in enumerate(transpose_registers(b, vectors)):
            there, place = _row(b, target, target_row, j, columns)
            prefetch(b, b.gep(place, [b.mul(target_row, constant(WRITTEN_AHEAD))]), writing=True)
            masked_store(b, vector, place, b.and_(in_column, there))
        return context.get_dummy_value()

    return types.void(FloatPointer, L, FloatPointer, L, L, L), codegen


@inline
def transpose(source, source_row, target, target_row, rows, columns):  # type: ignore[no-untyped-def]
    """target[j, i] = source[i, j] between two pointers whose rows are so many elements apart."""
    for i in range(0, rows, LANES):
        for j in range(0, columns, LANES):
            _transpose_block(at(source, i * source_row + j), source_row, at(target, j * target_row + i), target_row,
                             at_most(rows - i, LANES), at_most(columns - j, LANES))  # fmt: skip


@intrinsic
def copy_rows(typingctx, source, source_row, target, target_row, rows, columns):  # type: ignore[no-untyped-def]
    """target[i, j] = source[i, j] for rows of few columns that may stand far apart."""

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        source, source_row, target, target_row, rows, columns = arguments
        with cgutils.for_range_slice(b, constant(0), columns, constant(LANES)) as (j, _):
            mask = tail_mask(b, b.sub(columns, j))
            with cgutils.for_range(b, rows) as row:
                place = b.gep(source, [b.add(b.mul(row.index, source_row), j)])
                prefetch(b, b.gep(place, [b.mul(source_row, constant(ROWS_AHEAD))]))
                to_place = b.gep(target, [b.add(b.mul(row.index, target_row), j)])
                masked_store(b, masked_load(b, place, mask), to_place, mask)
        return context.get_dummy_value()

    return types.void(FloatPointer, L, FloatPointer, L, L, L), codegen


@intrinsic
def add_rows(typingctx, source, target, row, rows, columns):  # type: ignore[no-untyped-def]
    """target[i, j] += source[i, j] for rows of few columns, `row` elements apart in both."""

    def codegen(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        source, target, row, rows, columns = arguments
        with cgutils.for_range_slice(b, constant(0), columns, constant(LANES)) as (j, _):
            mask = tail_mask(b, b.sub(columns, j))
            with cgutils.for_range(b, rows) as loop:
                place = b.add(b.mul(loop.index, row), j)
                total = masked_load(b, b.gep(target, [place]), mask)
                total = b.fadd(total, masked_load(b, b.gep(source, [place]), mask))
                masked_store(b, total, b.gep(target, [place]), mask)
        return context.get_dummy_value()

    return types.void(FloatPointer, FloatPointer, L, L, L), codegen
