"""Linear layers: matrix products of packed panels, a block of rows and columns of the result a task."""

from __future__ import annotations

from ..blocking import PACKED, PANEL
from .compiler import inline, kernel
from .exponential import ZERO
from .memory import at, at_most, copy, fill
from .tiles import ACCUMULATE, ADD_BIAS, STORE, TILE_ROWS
from .transpose import copy_rows, transpose
from .window_gemm import Later, Panels, Rows, Store, Windows, packed_gemm

BAND = 8  # rows that are copied side by side


@inline
def pack_columns(b, packed, depth, n, begin, end):  # type: ignore[no-untyped-def]
    """packed[panel, d, j] = b[d, panel * PANEL + j]; a task packs PACKED rows of all panels, a few rows at a time.

    Then memory is read line by line of its pages, however long rows are.
    """
    for first in range(begin * PACKED, at_most(end * PACKED, depth), BAND):
        pack_rows(at(b, first * n), packed, first, at_most(depth - first, BAND), depth, n)


@inline
def pack_rows(b, packed, first, rows, depth, n):  # type: ignore[no-untyped-def]
    """Copy `rows` rows from b on to the panels of `pack_columns`, where they are rows `first` and following."""
    for column in range(0, n, PANEL):
        copy_rows(at(b, column), n, at(packed, column * depth + first * PANEL), PANEL, rows,
                  at_most(n - column, PANEL))  # fmt: skip


@inline
def _stage(a, a_row, transposed, staged, pitch, rows, depth):  # type: ignore[no-untyped-def]
    """staged[i // TILE_ROWS, d, i % TILE_ROWS] = A[i, d]: a step of a tile finds its numbers side by side."""
    if transposed:
        for d in range(0, depth, BAND):
            for i in range(0, rows, TILE_ROWS):
                copy_rows(at(a, d * a_row + i), a_row, at(staged, i * pitch + d * TILE_ROWS), TILE_ROWS,
                          at_most(depth - d, BAND), at_most(rows - i, TILE_ROWS))  # fmt: skip
    else:
        for i in range(0, rows, TILE_ROWS):
            transpose(at(a, i * a_row), a_row, at(staged, i * pitch), TILE_ROWS, at_most(rows - i, TILE_ROWS), depth)


@inline
def multiply(  # type: ignore[no-untyped-def]
    a, a_row, transposed, b, b_panel, b_row, c, bias, B, staged, places, shifts, m, n, depth, ROWS, COLUMNS, DEPTH,
    begin, end,
):  # fmt: skip
    """C = A B + bias. Rows of the memory of A are `a_row` apart; they are A's columns if `transposed`."""
    across = (n + COLUMNS - 1) // COLUMNS
    a_places, c_places = at(places, 0), at(places, ROWS)
    at(shifts, 0)[0] = 0
    for i in range(ROWS):
        a_places[i] = i // TILE_ROWS * TILE_ROWS * DEPTH + i % TILE_ROWS
        c_places[i] = i * n
    for task in range(begin, end):
        row, column = task // across * ROWS, task % across * COLUMNS
        rows, columns = at_most(ROWS, m - row), at_most(COLUMNS, n - column)
        target = at(c, row * n + column)
        if depth == 0:
            for i in range(rows):
                if B > 0:
                    copy(at(bias, column), at(target, i * n), columns)
                else:
                    fill(at(target, i * n), ZERO, columns)
        for first in range(0, depth, DEPTH):
            count = at_most(DEPTH, depth - first)
            part = at(a, first * a_row + row) if transposed else at(a, row * a_row + first)
            _stage(part, a_row, transposed, at(staged, 0), DEPTH, rows, count)
            mode = ACCUMULATE if first > 0 else ADD_BIAS if B > 0 else STORE
            packed_gemm(
                rows, columns, Windows(at(staged, 0), a_places, TILE_ROWS, 1, at(shifts, 0), count),
                Panels(at(b, column // PANEL * b_panel + first * b_row), b_panel, b_row),
                Rows(target, c_places, PANEL, 0, 0),
                Store(mode, 0, 0), at(bias, column), Later(a, 0, a, 0, a, 0, 1))  # fmt: skip


@inline
def pack_transposed(b, packed, depth, n, begin, end):  # type: ignore[no-untyped-def]
    """packed[panel, d, j] = b[panel * PANEL + j, d]; a task packs PACKED columns."""
    for first in range(begin * PACKED, at_most(end * PACKED, n), PACKED):
        target = at(packed, first // PANEL * depth * PANEL + first % PANEL)
        transpose(at(b, first * depth), depth, target, PANEL, at_most(n - first, PACKED), depth)


@kernel
def panels_linear_forward_pack(w, packed, I, O, begin, end):  # type: ignore[no-untyped-def]
    """The weights, turned, in panels of outputs."""
    pack_transposed(at(w, 0), packed, I, O, begin, end)


@kernel
def panels_linear_forward(  # type: ignore[no-untyped-def]
    x, b, packed, staged, places, shifts, y, M, I, O, B, ROWS, COLUMNS, DEPTH, begin, end
):  # fmt: skip
    """y = x w^T + b."""
    multiply(at(x, 0), I, 0, at(packed, 0), I * PANEL, PANEL, at(y, 0), at(b, 0), B, staged, places, shifts, M, O, I,
              ROWS, COLUMNS, DEPTH, begin, end)  # fmt: skip


@kernel
def panels_linear_backward_data_pack(w, packed, I, O, begin, end):  # type: ignore[no-untyped-def]
    """The weights as they are, in panels of inputs."""
    pack_columns(at(w, 0), packed, O, I, begin, end)


@kernel
def panels_linear_backward_data(  # type: ignore[no-untyped-def]
    dy, w, packed, staged, places, shifts, dx, M, I, O, ROWS, COLUMNS, DEPTH, PACKS, begin, end
):  # fmt: skip
    """dx = dy w."""
    b, panel, row = at(packed, 0), O * PANEL, PANEL
    if PACKS == 0:
        b, panel, row = at(w, 0), PANEL, I
    multiply(at(dy, 0), O, 0, b, panel, row, at(dx, 0), at(dy, 0), 0, staged, places, shifts, M, I, O, ROWS, COLUMNS,
              DEPTH, begin, end)  # fmt: skip


@kernel
def panels_linear_backward_weight_pack(x, packed, M, I, begin, end):  # type: ignore[no-untyped-def]
    """The inputs as they are, in panels."""
    pack_columns(at(x, 0), packed, M, I, begin, end)


@kernel
def panels_linear_backward_weight(  # type: ignore[no-untyped-def]
    x, dy, packed, staged, places, shifts, dw, M, I, O, ROWS, COLUMNS, DEPTH, PACKS, begin, end
):  # fmt: skip
    """dw = dy^T x; the sum over all M rows stays inside the task."""
    b, panel, row = at(packed, 0), M * PANEL, PANEL
    if PACKS == 0:
        b, panel, row = at(x, 0), PANEL, I
    multiply(at(dy, 0), O, 1, b, panel, row, at(dw, 0), at(dy, 0), 0, staged, places, shifts, O, I, M, ROWS, COLUMNS,
              DEPTH, begin, end)  # fmt: skip
