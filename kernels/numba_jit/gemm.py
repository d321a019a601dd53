"""Matrix product of one task: C (+)= A B, blocked for registers and L2.

A is read element by element through two strides, so that it may be transposed; rows of B and C are contiguous. Nothing
is packed here: callers lay B out so that a row of it is what a row of C needs.
"""

from __future__ import annotations

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .compiler import inline
from .exponential import ZERO
from .memory import at, at_most, fill
from .simd import LANES, Accumulator, FloatPointer, constant, fma, masked_load, masked_store, splat, tail_mask

# Accumulators + two vectors of B + one of A fill the register file: 32 registers with AVX-512, 16 without.
TILE_ROWS = 14 if LANES == 16 else 6
DEPTH_BLOCK = 256  # rows of B that stay in L1 while all rows of A pass: 256 x 32 floats are 32 KB


@intrinsic(prefer_literal=True)
def gemm_tile(typingctx, rows, vectors, columns, depth, a, a_row, a_depth, b, b_row, c, c_row, accumulate):  # type: ignore[no-untyped-def]
    """C[rows, columns] = (C if accumulate) + A[rows, depth] B[depth, columns], columns <= vectors * LANES.

    `rows` and `vectors` are literals: a tile of rows x vectors accumulators stays in registers.
    """
    tile_rows, tile_vectors = rows.literal_value, vectors.literal_value

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        _, _, columns, depth, a, a_row, a_depth, b, b_row, c, c_row, accumulate = arguments
        masks = [tail_mask(builder, builder.sub(columns, constant(j * LANES))) for j in range(tile_vectors)]
        sums = [[Accumulator(builder) for _ in range(tile_vectors)] for _ in range(tile_rows)]

        def c_at(i: int, j: int):  # type: ignore[no-untyped-def]
            return builder.gep(c, [builder.add(builder.mul(c_row, constant(i)), constant(j * LANES))])

        a_rows = [builder.gep(a, [builder.mul(a_row, constant(i))]) for i in range(tile_rows)]
        with cgutils.for_range(builder, depth) as loop:
            b_at = builder.gep(b, [builder.mul(loop.index, b_row)])
            b_vectors = [masked_load(builder, builder.gep(b_at, [constant(j * LANES)]), masks[j])
                         for j in range(tile_vectors)]  # fmt: skip
            offset = builder.mul(loop.index, a_depth)
            for i in range(tile_rows):
                a_splat = splat(builder, builder.load(builder.gep(a_rows[i], [offset])))
                for j in range(tile_vectors):
                    sums[i][j].set(fma(builder, a_splat, b_vectors[j], sums[i][j].get()))
        # C is added last: a chain of additions is never longer than a depth block, which keeps rounding errors small.
        with builder.if_then(builder.icmp_signed("!=", accumulate, constant(0))):
            for i in range(tile_rows):
                for j in range(tile_vectors):
                    before = masked_load(builder, c_at(i, j), masks[j])
                    sums[i][j].set(builder.fadd(before, sums[i][j].get()))
        for i in range(tile_rows):
            for j in range(tile_vectors):
                masked_store(builder, sums[i][j].get(), c_at(i, j), masks[j])
        return context.get_dummy_value()

    L = types.int64
    return types.void(rows, vectors, L, L, FloatPointer, L, L, FloatPointer, L, FloatPointer, L, L), codegen


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
