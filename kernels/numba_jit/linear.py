"""Linear layers: one task computes a TILE_ROWS x TILE_COLUMNS tile of the result with `gemm`."""

from __future__ import annotations

from .compiler import inline, kernel
from .gemm import gemm
from .simd import pointer


@inline
def _tile(task, columns, TILE_ROWS, TILE_COLUMNS):  # type: ignore[no-untyped-def]
    """First row and first column of a tile of a matrix with `columns` columns."""
    across = (columns + TILE_COLUMNS - 1) // TILE_COLUMNS
    return task // across * TILE_ROWS, task % across * TILE_COLUMNS


@inline
def _least(first, second):  # type: ignore[no-untyped-def]
    return first if first < second else second


@kernel
def linear_forward_pack(w, packed, I, O, TILE_COLUMNS, begin, end):  # type: ignore[no-untyped-def]
    """packed[i, o] = w[o, i]; a task transposes TILE_COLUMNS outputs."""
    for i in range(I):
        for o in range(begin * TILE_COLUMNS, _least(end * TILE_COLUMNS, O)):
            packed[i, o] = w[o, i]


@kernel
def linear_forward(x, b, packed, y, M, I, O, B, TILE_ROWS, TILE_COLUMNS, begin, end):  # type: ignore[no-untyped-def]
    """y = bias, then y += x @ packed on the tile."""
    for task in range(begin, end):
        row, column = _tile(task, O, TILE_ROWS, TILE_COLUMNS)
        rows, columns = _least(TILE_ROWS, M - row), _least(TILE_COLUMNS, O - column)
        if B > 0:
            for i in range(row, row + rows):
                for o in range(column, column + columns):
                    y[i, o] = b[o]
        gemm(rows, columns, I, pointer(x, row * I), I, 1, pointer(packed, column), O,
             pointer(y, row * O + column), O, 1 if B > 0 else 0)  # fmt: skip


@kernel
def linear_backward_data(dy, w, dx, M, I, O, TILE_ROWS, TILE_COLUMNS, begin, end):  # type: ignore[no-untyped-def]
    """dx = dy @ w on the tile."""
    for task in range(begin, end):
        row, column = _tile(task, I, TILE_ROWS, TILE_COLUMNS)
        gemm(_least(TILE_ROWS, M - row), _least(TILE_COLUMNS, I - column), O, pointer(dy, row * O), O, 1,
             pointer(w, column), I, pointer(dx, row * I + column), I, 0)  # fmt: skip


@kernel
def linear_backward_weight(x, dy, dw, M, I, O, TILE_ROWS, TILE_COLUMNS, begin, end):  # type: ignore[no-untyped-def]
    """dw = dy^T @ x on the tile; the sum over all M rows stays inside the task."""
    for task in range(begin, end):
        row, column = _tile(task, I, TILE_ROWS, TILE_COLUMNS)
        gemm(_least(TILE_ROWS, O - row), _least(TILE_COLUMNS, I - column), M, pointer(dy, row), 1, O,
             pointer(x, column), I, pointer(dw, row * I + column), I, 0)  # fmt: skip
