"""Linear layers: one task computes a TILE_ROWS x TILE_COLUMNS tile of the result with `gemm`."""

from __future__ import annotations

from ..ops import PACKED
from .compiler import inline, kernel
from .gemm import gemm
from .memory import at, at_most, copy, transpose


@inline
def _tile(task, columns, TILE_ROWS, TILE_COLUMNS):  # type: ignore[no-untyped-def]
    """First row and first column of a tile of a matrix with `columns` columns."""
    across = (columns + TILE_COLUMNS - 1) // TILE_COLUMNS
    return task // across * TILE_ROWS, task % across * TILE_COLUMNS


@kernel
def linear_forward_pack(w, packed, I, O, begin, end):  # type: ignore[no-untyped-def]
    """packed[i, o] = w[o, i]; a task transposes PACKED outputs."""
    first, last = begin * PACKED, at_most(end * PACKED, O)
    transpose(at(w, first * I), I, at(packed, first), O, last - first, I)


@kernel
def linear_forward(x, b, packed, y, M, I, O, B, TILE_ROWS, TILE_COLUMNS, begin, end):  # type: ignore[no-untyped-def]
    """y = bias, then y += x @ packed on the tile."""
    for task in range(begin, end):
        row, column = _tile(task, O, TILE_ROWS, TILE_COLUMNS)
        rows, columns = at_most(TILE_ROWS, M - row), at_most(TILE_COLUMNS, O - column)
        if B > 0:
            for i in range(row, row + rows):
                copy(at(b, column), at(y, i * O + column), columns)
        gemm(rows, columns, I, at(x, row * I), I, 1, at(packed, column), O,
             at(y, row * O + column), O, 1 if B > 0 else 0)  # fmt: skip


@kernel
def linear_backward_data(dy, w, dx, M, I, O, TILE_ROWS, TILE_COLUMNS, begin, end):  # type: ignore[no-untyped-def]
    """dx = dy @ w on the tile."""
    for task in range(begin, end):
        row, column = _tile(task, I, TILE_ROWS, TILE_COLUMNS)
        gemm(at_most(TILE_ROWS, M - row), at_most(TILE_COLUMNS, I - column), O, at(dy, row * O), O, 1,
             at(w, column), I, at(dx, row * I + column), I, 0)  # fmt: skip


@kernel
def linear_backward_weight(x, dy, dw, M, I, O, TILE_ROWS, TILE_COLUMNS, begin, end):  # type: ignore[no-untyped-def]
    """dw = dy^T @ x on the tile; the sum over all M rows stays inside the task."""
    for task in range(begin, end):
        row, column = _tile(task, I, TILE_ROWS, TILE_COLUMNS)
        gemm(at_most(TILE_ROWS, O - row), at_most(TILE_COLUMNS, I - column), M, at(dy, row), 1, O,
             at(x, column), I, at(dw, row * I + column), I, 0)  # fmt: skip
