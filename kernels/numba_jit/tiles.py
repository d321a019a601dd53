"""Register tiles: matrix products whose sums stay in registers.

Accumulators, the vectors of B and one of A fill the register file: 32 registers with AVX-512, 16 without.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .finishing import Finish
from .simd import (
    LANES,
    Accumulator,
    FloatPointer,
    constant,
    fma,
    masked_load,
    masked_store,
    prefetch,
    splat,
    streaming_store,
    tail_mask,
)

TILE_ROWS = 14 if LANES == 16 else 6
TAP_ROWS = 12 if LANES == 16 else 6  # the same for a weight gradient, whose taps have a multiple of it
WINDOW_ROWS = 8 if LANES == 16 else 2  # of the smaller tile
FEW_ROWS = 32 if LANES == 16 else 2  # up to here whole smaller tiles waste less than larger ones
NARROW_ROWS = 16 if LANES == 16 else 8  # of a tile of one vector
STORE, ACCUMULATE, ADD_BIAS = 0, 1, 2  # what happens to a result, see `window_gemm.Store`
AHEAD = 24  # rows of B that are asked for before they are needed: about the time that memory takes
SOON = 8  # the same for A, where a step is a stride
EVEN = -1  # a `gap` of `window_tile`
ASK_B, ASK_A, ASK_LATER, ASK_TWO = 1, 2, 4, 8  # flags of `asks`, see `window_tile`
ASK_B_LATER, ASK_ALL, ASK_TWO_LATER, ASK_ALL_TWO = 5, 7, 12, 15


def _sums(builder: Any, rows: int, vectors: int) -> list[list[Accumulator]]:
    return [[Accumulator(builder) for _ in range(vectors)] for _ in range(rows)]


def _multiply(builder: Any, sums: Any, a_rows: list[Any], offset: Any, b_at: Any, masks: list[Any]) -> None:
    """Add the outer product of a column of A, `offset` elements behind the start of its rows, and a row of B.

    A row of A is a pointer, or a pointer and how far the row is from there: several rows share a pointer.
    """
    b_vectors = [masked_load(builder, builder.gep(b_at, [constant(j * LANES)]), mask) for j, mask in enumerate(masks)]
    for i, a_row in enumerate(a_rows):
        start, *distance = a_row if isinstance(a_row, tuple) else (a_row,)
        element = builder.gep(start, [offset])
        for further in distance:
            element = builder.gep(element, [further])
        a_splat = splat(builder, builder.load(element))
        for j, b_vector in enumerate(b_vectors):
            sums[i][j].set(fma(builder, a_splat, b_vector, sums[i][j].get()))


def _column_masks(builder: Any, columns: Any, vectors: int) -> list[Any]:
    return [tail_mask(builder, builder.sub(columns, constant(j * LANES))) for j in range(vectors)]


def _add_row(builder: Any, sums: list[Accumulator], c_row: Any, masks: list[Any]) -> None:
    for j, mask in enumerate(masks):
        before = masked_load(builder, builder.gep(c_row, [constant(j * LANES)]), mask)
        sums[j].set(builder.fadd(before, sums[j].get()))


def _store_row(builder: Any, sums: list[Accumulator], c_row: Any, masks: list[Any]) -> None:
    for j, mask in enumerate(masks):
        masked_store(builder, sums[j].get(), builder.gep(c_row, [constant(j * LANES)]), mask)


def _stream_row(builder: Any, sums: list[Accumulator], c_row: Any, masks: list[Any]) -> None:
    for j in range(len(masks)):
        streaming_store(builder, sums[j].get(), builder.gep(c_row, [constant(j * LANES)]))


def _stream_vector(builder: Any, value: Any, place: Any, mask: Any) -> None:
    streaming_store(builder, value, place)


@intrinsic(prefer_literal=True)
def gemm_tile(typingctx, rows, vectors, columns, depth, a, a_row, a_depth, b, b_row, c, c_row, accumulate):  # type: ignore[no-untyped-def]
    """C[rows, columns] = (C if accumulate) + A[rows, depth] B[depth, columns], columns <= vectors * LANES.

    `rows` and `vectors` are literals: a tile of rows x vectors accumulators stays in registers.
    """
    tile_rows, tile_vectors = rows.literal_value, vectors.literal_value

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        _, _, columns, depth, a, a_row, a_depth, b, b_row, c, c_row, accumulate = arguments
        masks = _column_masks(builder, columns, tile_vectors)
        sums = _sums(builder, tile_rows, tile_vectors)
        a_rows = [builder.gep(a, [builder.mul(a_row, constant(i))]) for i in range(tile_rows)]
        c_rows = [builder.gep(c, [builder.mul(c_row, constant(i))]) for i in range(tile_rows)]
        with cgutils.for_range(builder, depth) as loop:
            b_at = builder.gep(b, [builder.mul(loop.index, b_row)])
            _multiply(builder, sums, a_rows, builder.mul(loop.index, a_depth), b_at, masks)
        # C is added last: a chain of additions is never longer than a depth block, which keeps rounding errors small.
        with builder.if_then(builder.icmp_signed("!=", accumulate, constant(0))):
            for row, c_at in zip(sums, c_rows, strict=True):
                _add_row(builder, row, c_at, masks)
        for row, c_at in zip(sums, c_rows, strict=True):
            _store_row(builder, row, c_at, masks)
        return context.get_dummy_value()

    L = types.int64
    return types.void(rows, vectors, L, L, FloatPointer, L, L, FloatPointer, L, FloatPointer, L, L), codegen


@intrinsic(prefer_literal=True)
def window_tile(typingctx, rows, vectors, span, gap, asks, m, columns, windows, store, tile, epilogue):  # type: ignore[no-untyped-def]
    """C[i, columns] = sum over runs t and d < length of A[places[i] + shifts[t] + d * step] B[t * length + d, columns].

    Row i of C stands at ``c + c_places[i]``. A tile computes as many rows as its literal says; those from `m` on repeat
    row m - 1 and its stores. A `gap` above 0 says that the places of every `span` rows are so far apart: then few
    addresses need registers, and rows from `m` on are not stored. EVEN says that all are equally far and there. `asks`
    says what every step brings closer: the row of B that comes AHEAD steps later, numbers of A that come SOON, one
    cache line more of what is needed later, or two. An `epilogue`, see `finishing.py`, changes results before they are
    stored.
    """
    tile_rows, tile_vectors = rows.literal_value, vectors.literal_value

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        _, _, _, _, _, m, columns, *tuples = arguments
        if tile_vectors == 2 and gap.literal_value and (gap.literal_value > 0) != bool(asks.literal_value & ASK_B):
            return context.get_dummy_value()  # `window_gemm` never comes here, which LLVM would find out slowly
        of_windows, of_store, of_tile, finishing = (cgutils.unpack_tuple(builder, item) for item in tuples)
        mode, streams, finishes = of_store
        a, _, step, runs, shifts, length = of_windows
        places, b, b_row, c, c_places, bias, start, column, next_line, next_step, other = of_tile
        masks = _column_masks(builder, columns, tile_vectors)
        sums = _sums(builder, tile_rows, tile_vectors)
        asked = asks.literal_value
        if tile_rows == NARROW_ROWS and tile_vectors == 1 and not asked & ASK_TWO:
            asked = 0  # every product needs a load, which leaves none to spare unless memory is the limit
        last = builder.sub(m, constant(1))
        there = [builder.icmp_signed("<", constant(i), m) for i in range(tile_rows)]
        whole, repeats = gap.literal_value == EVEN, gap.literal_value == 0
        index = [constant(i) if whole else builder.select(inside, constant(i), last) for i, inside in enumerate(there)]
        if whole:
            first = builder.load(places)
            apart = builder.sub(builder.load(builder.gep(places, [constant(1)])), first)
            steps = [builder.mul(apart, constant(i)) for i in range(4)]
            starts = [builder.gep(a, [builder.add(first, builder.mul(apart, constant(i)))])
                      for i in range(0, tile_rows, 4)]  # fmt: skip
            a_rows: list[Any] = [(starts[i // 4], steps[i % 4]) for i in range(tile_rows)]
        elif gap.literal_value:
            starts = [builder.gep(a, [builder.load(builder.gep(places, [constant(i)]))])
                      for i in range(0, tile_rows, span.literal_value)]  # fmt: skip
            far = [divmod(i, span.literal_value) for i in range(tile_rows)]
            a_rows = [builder.gep(starts[i], [constant(j * gap.literal_value)]) for i, j in far]
        else:
            a_rows = [builder.gep(a, [builder.load(builder.gep(places, [item]))]) for item in index]
        to_places = [builder.load(builder.gep(c_places, [item])) for item in index]
        c_rows = [builder.gep(c, [place]) for place in to_places]
        finish = Finish(builder, finishing, start, column, masks)
        for place in to_places:
            finish.expect(place)
        with builder.if_then(builder.icmp_signed("==", streams, constant(0))):
            for c_row in c_rows:
                for j in range(tile_vectors):
                    prefetch(builder, builder.gep(c_row, [constant(j * LANES)]), writing=True)
        b_at, line = cgutils.alloca_once_value(builder, b), cgutils.alloca_once_value(builder, next_line)
        depth = builder.mul(runs, length)
        with cgutils.for_range(builder, runs) as run:
            shift = builder.load(builder.gep(shifts, [run.index]))
            first, lines = builder.load(b_at), builder.load(line)
            with cgutils.for_range(builder, length) as loop:
                offset = builder.add(shift, builder.mul(loop.index, step))
                b_row_at = builder.gep(first, [builder.mul(loop.index, b_row)])
                if asked & ASK_B:  # behind the last row comes the first one again, for the next tile
                    row = builder.add(builder.add(builder.mul(run.index, length), loop.index), constant(AHEAD))
                    row = builder.select(builder.icmp_signed("<", row, depth), row, builder.sub(row, depth))
                    later_row = builder.gep(b, [builder.mul(row, b_row)])
                    for j in range(tile_vectors):
                        prefetch(builder, builder.gep(later_row, [constant(j * LANES)]))
                if asked & ASK_A:
                    soon = builder.add(offset, builder.mul(step, constant(SOON)))
                    for start, *_ in (a_rows[0], a_rows[-1]) if isinstance(a_rows[0], tuple) else [(a_rows[0],)]:
                        prefetch(builder, builder.gep(start, [soon]))
                if asked & ASK_LATER:
                    later_line = builder.gep(lines, [builder.mul(loop.index, next_step)])
                    prefetch(builder, later_line, near=False)
                    if asked & ASK_TWO:
                        prefetch(builder, builder.gep(later_line, [other]), near=False)
                _multiply(builder, sums, a_rows, offset, b_row_at, masks)
            builder.store(builder.gep(first, [builder.mul(length, b_row)]), b_at)
            builder.store(builder.gep(lines, [builder.mul(length, next_step)]), line)
        with builder.if_then(builder.icmp_signed("!=", mode, constant(STORE))):
            accumulates = builder.icmp_signed("==", mode, constant(ACCUMULATE))
            for row, c_row in zip(sums, c_rows, strict=True):
                _add_row(builder, row, builder.select(accumulates, c_row, bias), masks)

        def store_all(write_row: Any) -> None:
            for row, c_row, inside in zip(sums, c_rows, there, strict=True):
                with nullcontext() if whole or repeats else builder.if_then(inside):
                    write_row(builder, row, c_row, masks)

        def finish_all(write_vector: Any) -> None:
            def store(i: int, j: int, value: Any) -> None:
                with nullcontext() if whole or repeats else builder.if_then(there[i]):
                    write_vector(builder, value, builder.gep(c_rows[i], [constant(j * LANES)]), masks[j])

            finish.write(sums, to_places, [None if whole else inside for inside in there], store)

        def write(all_rows: Callable[[Any], None], around_caches: Any, through_caches: Any) -> None:
            with builder.if_else(builder.icmp_signed("!=", streams, constant(0))) as (streaming, ordinary):
                with streaming:
                    all_rows(around_caches)
                with ordinary:
                    all_rows(through_caches)

        if finishing:
            with builder.if_else(builder.icmp_signed("!=", finishes, constant(0))) as (finishing_too, only_storing):
                with finishing_too:
                    write(finish_all, _stream_vector, masked_store)
                with only_storing:
                    write(store_all, _stream_row, _store_row)
        else:
            write(store_all, _stream_row, _store_row)
        return context.get_dummy_value()

    L = types.int64
    return types.void(rows, vectors, span, gap, asks, L, L, windows, store, tile, epilogue), codegen
