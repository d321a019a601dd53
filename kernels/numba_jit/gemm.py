"""Matrix product of one task: C (+)= A B, blocked for registers and L2.

A is read element by element through two strides, so that it may be transposed; rows of B and C are contiguous. Nothing
is packed here: callers lay B out so that a row of it is what a row of C needs.
"""

from __future__ import annotations

from .compiler import inline
from .exponential import ZERO
from .memory import at, at_most, fill
from .simd import LANES
from .tiles import TILE_ROWS, gemm_tile

DEPTH_BLOCK = 256  # rows of B that stay in L1 while all rows of A pass: 256 x 32 floats are 32 KB


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
