/* Matrix product of one task: C (+)= A B, blocked for registers and L1. A is read element by element through two
 * strides, so that it may be transposed; rows of B and C are contiguous. Nothing is packed. */
#ifndef NNFAST_GEMM_H
#define NNFAST_GEMM_H

#include "tiles.h"

enum {
    GEMM_DEPTH = 256, /* rows of B of which a panel stays in L1 while all rows of A pass */
    GEMM_ROWS = 224   /* rows of A whose places stand on the stack */
};

static void gemm(int64_t m, int64_t n, int64_t depth, const float *a, int64_t a_row, int64_t a_depth, const float *b,
                 int64_t b_row, float *c, int64_t c_row, int accumulate) {
    int64_t from[GEMM_ROWS], to[GEMM_ROWS];
    const int64_t start = 0;
    for (int64_t i = 0; i < at_most(m, GEMM_ROWS); i++) from[i] = i * a_row, to[i] = i * c_row;
    for (int64_t i = 0; i < m; i += GEMM_ROWS) {
        int64_t first = 0;
        do {
            int64_t count = at_most(depth - first, GEMM_DEPTH);
            windows_t windows = {a + i * a_row + first * a_depth, from, a_depth, 1, &start, count};
            rows_t rows = {c + i * c_row, to, c, accumulate || first > 0 ? ACCUMULATE : STORE};
            window_gemm(at_most(m - i, GEMM_ROWS), n, windows, b + first * b_row, PANEL, b_row, rows);
            first += count;
        } while (first < depth);
    }
}

#endif
