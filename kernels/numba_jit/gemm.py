"""Matrix product of one task: C (+)= A B, blocked for registers and L2.

A is read element by element through two strides, so that it may be transposed; rows of B and C are contiguous. Nothing
is packed here: callers lay B out so that a row of it is what a row of C needs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..blocking import PANEL
from .compiler import inline
from .exponential import ZERO
from .memory import at, at_most, fill
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

# Accumulators + two vectors of B + one of A fill the register file: 32 registers with AVX-512, 16 without.
TILE_ROWS = 14 if LANES == 16 else 6
WINDOW_ROWS = 6 if LANES == 16 else 2  # of the smaller tile
NARROW_ROWS = 16 if LANES == 16 else 8  # of a tile of one vector
STORE, ACCUMULATE, ADD_BIAS = 0, 1, 2  # modes of `window_gemm`
AHEAD = 24  # rows of B that are asked for before they are needed: about the time that memory takes
SOON = 8  # the same for A, where a step is a stride
EVEN = -1  # a `gap` of `_window_tile`
ASK_B, ASK_A, ASK_LATER = 1, 2, 4  # flags of `asks`, see `_window_tile`
ASK_B_LATER, ASK_ALL = 5, 7
LINE = 16  # floats of a cache line
DEPTH_BLOCK = 256  # rows of B that stay in L1 while all rows of A pass: 256 x 32 floats are 32 KB


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
def _window_tile(  # type: ignore[no-untyped-def]
    typingctx, rows, vectors, span, gap, asks, m, columns, windows, places, b, b_row, result, c, c_places, bias, next_line, next_step
):  # fmt: skip
    """C[i, columns] = sum over runs t and d < length of A[places[i] + shifts[t] + d * step] B[t * length + d, columns].

    Row i of C stands at ``c + c_places[i]``. A tile computes as many rows as its literal says; those from `m` on repeat
    row m - 1 and are not stored. A `gap` above 0 says that the places of every `span` rows are so far apart, EVEN that
    all are equally far: then few addresses need registers. `asks` says what every step brings closer: the row of B
    that comes AHEAD steps later, numbers of A that come SOON, one cache line more of what is needed later.
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
def _window_tile(  # type: ignore[no-untyped-def]
    typingctx, rows, vectors, span, gap, asks, m, columns, windows, places, b, b_row, result, c, c_places, bias, next_line, next_step
):  # fmt: skip
    """C[i, columns] = sum over runs t and d < length of A[places[i] + shifts[t] + d * step] B[t * length + d, columns].

    Row i of C stands at ``c + c_places[i]``. A tile computes as many rows as its literal says; those from `m` on repeat
    row m - 1 and are not stored. A `gap` above 0 says that the places of every `span` rows are so far apart, EVEN that
    all are equally far: then few addresses need registers. With `asks` 1 every step asks for the row of B that comes AHEAD steps
    later, with 2 also for one more cache line, `next_step` floats after the one before, with 3 also for A.
    """
    tile_rows, tile_vectors = rows.literal_value, vectors.literal_value

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        _, _, _, _, _, m, columns, windows, places, b, b_row, result, c, c_places, bias, next_line, next_step = arguments
        a, _, step, runs, shifts, length = cgutils.unpack_tuple(builder, windows)
        mode, streams = cgutils.unpack_tuple(builder, result)
        masks = _column_masks(builder, columns, tile_vectors)
        sums = _sums(builder, tile_rows, tile_vectors)
        last = builder.sub(m, constant(1))
        there = [builder.icmp_signed("<", constant(i), m) for i in range(tile_rows)]
        index = [builder.select(inside, constant(i), last) for i, inside in enumerate(there)]
        if gap.literal_value == EVEN:
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
        c_rows = [builder.gep(c, [builder.load(builder.gep(c_places, [item]))]) for item in index]
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
                if asks.literal_value & ASK_B:  # behind the last row comes the first one again, for the next tile
                    row = builder.add(builder.add(builder.mul(run.index, length), loop.index), constant(AHEAD))
                    row = builder.select(builder.icmp_signed("<", row, depth), row, builder.sub(row, depth))
                    later_row = builder.gep(b, [builder.mul(row, b_row)])
                    for j in range(tile_vectors):
                        prefetch(builder, builder.gep(later_row, [constant(j * LANES)]))
                if asks.literal_value & ASK_A:
                    soon = builder.add(offset, builder.mul(step, constant(SOON)))
                    for start, *_ in (a_rows[0], a_rows[-1]) if isinstance(a_rows[0], tuple) else [(a_rows[0],)]:
                        prefetch(builder, builder.gep(start, [soon]))
                if asks.literal_value & ASK_LATER:
                    prefetch(builder, builder.gep(lines, [builder.mul(loop.index, next_step)]), near=False)
                _multiply(builder, sums, a_rows, offset, b_row_at, masks)
            builder.store(builder.gep(first, [builder.mul(length, b_row)]), b_at)
            builder.store(builder.gep(lines, [builder.mul(length, next_step)]), line)
        with builder.if_then(builder.icmp_signed("!=", mode, constant(STORE))):
            accumulates = builder.icmp_signed("==", mode, constant(ACCUMULATE))
            for row, c_row in zip(sums, c_rows, strict=True):
                _add_row(builder, row, builder.select(accumulates, c_row, bias), masks)
        with builder.if_else(builder.icmp_signed("!=", streams, constant(0))) as (streaming, ordinary):
            for branch, write in ((streaming, _stream_row), (ordinary, _store_row)):
                with branch:
                    for row, c_row, inside in zip(sums, c_rows, there, strict=True):
                        with builder.if_then(inside):
                            write(builder, row, c_row, masks)
        return context.get_dummy_value()

    L, F, P = types.int64, FloatPointer, types.CPointer(types.int64)
    return types.void(rows, vectors, span, gap, asks, L, L, windows, P, F, L, result, F, P, F, F, L), codegen


@inline
def _rows(vectors_are_two, m, columns, depth, a, a_row, a_depth, b, b_row, c, c_row, accumulate):  # type: ignore[no-untyped-def]
    """All rows of A against one panel of B, in the tallest tiles that fit."""
    i = 0
    while i < m:
        left = m - i
        a_at, c_at = at(a, i * a_row), at(c, i * c_row)
        if left >= TILE_ROWS:
            if vectors_are_two:
                gemm_tile(TILE_ROWS, 2, columns, depth, a_at, a_row, a_depth, b, b_row, c_at, c_row, accumulate)
            else:
                gemm_tile(TILE_ROWS, 1, columns, depth, a_at, a_row, a_depth, b, b_row, c_at, c_row, accumulate)
            i += TILE_ROWS
        elif left >= 4:
            gemm_tile(4, 2, columns, depth, a_at, a_row, a_depth, b, b_row, c_at, c_row, accumulate)
            i += 4
        else:
            gemm_tile(1, 2, columns, depth, a_at, a_row, a_depth, b, b_row, c_at, c_row, accumulate)
            i += 1


@inline
def gemm(m, n, depth, a, a_row, a_depth, b, b_row, c, c_row, accumulate):  # type: ignore[no-untyped-def]
    """C[m, n] = (C if accumulate) + A[m, depth] B[depth, n] over float32 pointers.

    A's element (i, p) stands at ``a + i * a_row + p * a_depth``; B's rows are `b_row` and C's `c_row` apart.
    """
    if depth == 0 and accumulate == 0:
        for i in range(m):
            fill(at(c, i * c_row), ZERO, n)
    first = 0
    while first < depth:
        count = at_most(depth - first, DEPTH_BLOCK)
        a_at = at(a, first * a_depth)
        add = 1 if first > 0 else accumulate
        j = 0
        while j < n:
            columns = at_most(n - j, 2 * LANES)
            _rows(columns > LANES, m, columns, count, a_at, a_row, a_depth, at(b, first * b_row + j), b_row,
                  at(c, j), c_row, add)  # fmt: skip
            j += columns
        first += count


class Windows(NamedTuple):
    """Matrix A, whose rows are scattered over runs: run t of row i is at ``a + places[i] + shifts[t]``.

    A run has `length` elements that are `step` apart. All windows of an image share their shifts.
    """

    a: Any
    places: Any
    step: Any
    runs: Any
    shifts: Any
    length: Any


class Panels(NamedTuple):
    """Matrix B in panels of `PANEL` columns: panel j begins at ``b + j * panel``, its rows are `row` apart."""

    b: Any
    panel: Any
    row: Any


class Rows(NamedTuple):
    """Matrix C in panels: row i of panel j begins at ``c + j * panel + places[i]``."""

    c: Any
    places: Any
    panel: Any


class Store(NamedTuple):
    """What happens to a result: STORE it, ADD_BIAS, or ACCUMULATE it in C; `streams`: write it around the caches.

    Then all vectors of C must be whole and aligned.
    """

    mode: Any
    streams: Any


class Later(NamedTuple):
    """Two runs of cache lines that will be needed next, asked for meanwhile: where they begin, and how many."""

    first: Any
    first_lines: Any
    second: Any
    second_lines: Any


@inline
def _next_line(later, asked):  # type: ignore[no-untyped-def]
    """Where a tile goes on asking for lines after so many, and how far apart: 0 when all have been asked for."""
    if asked < later.first_lines:
        return at(later.first, asked * LINE), LINE
    if asked - later.first_lines < later.second_lines:
        return at(later.second, (asked - later.first_lines) * LINE), LINE
    return later.first, 0


@inline
def _gap(places, left, rows):  # type: ignore[no-untyped-def]
    """How far apart the places of a whole tile of `rows` are, 0 if not equally far; none are closer than the first two."""
    if left < rows:
        return 0
    first = places[1] - places[0]
    return first if places[rows - 1] - places[0] == (rows - 1) * first else 0


@inline
def _wide_rows(asks, m, columns, windows, b, b_row, store, c, c_places, bias, later, asked):  # type: ignore[no-untyped-def]
    """All rows of A against two vectors of a panel; returns how many lines have been asked for in all."""
    i = 0
    while i < m:
        left, p, q = m - i, at(windows.places, i), at(c_places, i)
        line, step = _next_line(later, asked)
        height = TILE_ROWS
        if _gap(p, left, TILE_ROWS) == 1:
            _window_tile(TILE_ROWS, 2, TILE_ROWS, 1, asks, left, columns, windows, p, b, b_row, store, c, q, bias, line,
                         step)  # fmt: skip
        elif left > WINDOW_ROWS:
            _window_tile(TILE_ROWS, 2, 1, 0, asks, left, columns, windows, p, b, b_row, store, c, q, bias, line, step)
        else:
            height = WINDOW_ROWS
            _window_tile(WINDOW_ROWS, 2, 1, 0, asks, left, columns, windows, p, b, b_row, store, c, q, bias, line, step)
        asked += windows.runs * windows.length
        i += height
    return asked


@inline
def _narrow_rows(asks, m, columns, windows, b, b_row, store, c, c_places, bias, later, asked):  # type: ignore[no-untyped-def]
    """The same for one vector: every product needs a load, which leaves none to spare for addresses."""
    i = 0
    while i < m:
        left, p, q = m - i, at(windows.places, i), at(c_places, i)
        line, step = _next_line(later, asked)
        gap, height = _gap(p, left, TILE_ROWS), TILE_ROWS
        if gap == 3 and _gap(p, left, NARROW_ROWS) == 3:
            height = NARROW_ROWS
            _window_tile(NARROW_ROWS, 1, NARROW_ROWS, 3, 0, left, columns, windows, p, b, b_row, store, c, q, bias, line,
                         step)  # fmt: skip
        elif gap == 1:
            _window_tile(TILE_ROWS, 1, TILE_ROWS, 1, asks, left, columns, windows, p, b, b_row, store, c, q, bias, line,
                         step)  # fmt: skip
        elif gap > 0:
            _window_tile(TILE_ROWS, 1, 1, EVEN, asks, left, columns, windows, p, b, b_row, store, c, q, bias, line, step)
        elif left > WINDOW_ROWS:
            _window_tile(TILE_ROWS, 1, 1, 0, asks, left, columns, windows, p, b, b_row, store, c, q, bias, line, step)
        else:
            height = WINDOW_ROWS
            _window_tile(WINDOW_ROWS, 1, 1, 0, asks, left, columns, windows, p, b, b_row, store, c, q, bias, line, step)
        asked += windows.runs * windows.length
        i += height
    return asked


@inline
def window_gemm(asks, m, n, windows, panels, rows, store, bias, later):  # type: ignore[no-untyped-def]
    """C[m, n] = A B for the matrices `windows`, `panels` and `rows`; `bias` points to n numbers, read with ADD_BIAS.

    `asks` is a literal, see `_window_tile`: B where it is not in the first cache, A where a step is a line and more.
    Places of A ascend, and consecutive ones are nowhere closer than the first two of a tile.
    """
    asked = 0
    for j in range(0, n, PANEL):
        k = 0
        while k < at_most(n - j, PANEL):
            columns = at_most(at_most(n - j, PANEL) - k, 2 * LANES)
            b_at, c_at = at(panels.b, j // PANEL * panels.panel + k), at(rows.c, j // PANEL * rows.panel + k)
            if columns > LANES:
                asked = _wide_rows(asks, m, columns, windows, b_at, panels.row, store, c_at, rows.places,
                                   at(bias, j + k), later, asked)  # fmt: skip
            else:
                asked = _narrow_rows(asks, m, columns, windows, b_at, panels.row, store, c_at, rows.places,
                                     at(bias, j + k), later, asked)  # fmt: skip
            k += columns


@inline
def _ascends(places, first, count):  # type: ignore[no-untyped-def]
    return places[first + count - 1] - places[first] == count - 1


@inline
def few_rows(m, n, windows):  # type: ignore[no-untyped-def]
    """Whether `few_rows_gemm` can multiply: nine rows in threes, or few columns and 27 rows in nines, side by side."""
    if LANES < 16 or n > 2 * LANES:
        return False
    p = windows.places
    if m == 9:
        return _ascends(p, 0, 3) and _ascends(p, 3, 3) and _ascends(p, 6, 3)
    return m == 27 and n <= LANES and _ascends(p, 0, 9) and _ascends(p, 9, 9) and _ascends(p, 18, 9)


@inline
def few_rows_gemm(m, n, windows, panels, rows, store, bias, later):  # type: ignore[no-untyped-def]
    """As `window_gemm`, in one tile: the taps of a 3x3 kernel over 1 or 3 channels."""
    line, step = _next_line(later, 0)
    if m == 9:
        _window_tile(9, 2, 3, 1, ASK_B_LATER, m, n, windows, windows.places, panels.b, panels.row, store, rows.c, rows.places, bias,
                     line, step)  # fmt: skip
    else:
        _window_tile(27, 1, 9, 1, ASK_B_LATER, m, n, windows, windows.places, panels.b, panels.row, store, rows.c, rows.places,
                     bias, line, step)  # fmt: skip
