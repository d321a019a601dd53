/* One version of gemm, for the GEMM_SUFFIX, GEMM_TARGET, GEMM_LANES and GEMM_ROWS that gemm.h defines around it. */

#define VEC GEMM_JOIN(gemm_vec, GEMM_SUFFIX)
#define TILE GEMM_JOIN(gemm_tile, GEMM_SUFFIX)
#define PANEL GEMM_JOIN(gemm_panel, GEMM_SUFFIX)

#if defined(__GNUC__)
typedef float VEC __attribute__((vector_size(4 * GEMM_LANES), aligned(4)));
#define GEMM_STEP GEMM_LANES
#define GEMM_INLINE GEMM_TARGET static inline __attribute__((always_inline))
#define GEMM_UNROLL _Pragma("GCC unroll 16")
#else
typedef float VEC;
#define GEMM_STEP 1
#define GEMM_INLINE static inline
#define GEMM_UNROLL
#endif

/* C[rows, vectors] (+)= A[rows, depth] B[depth, vectors]; rows and vectors are constants, so that the sums are registers. */
GEMM_INLINE void TILE(const int rows, const int vectors, int64_t depth, const float *a, int64_t a_row, int64_t a_depth,
                      const float *b, int64_t b_row, float *c, int64_t c_row, int accumulate) {
    VEC sum[GEMM_ROWS][2];
    GEMM_UNROLL
    for (int i = 0; i < rows; i++) {
        GEMM_UNROLL
        for (int j = 0; j < vectors; j++) sum[i][j] = (VEC){0};
    }
    for (int64_t p = 0; p < depth; p++) {
        VEC b_row_vectors[2];
        GEMM_UNROLL
        for (int j = 0; j < vectors; j++) b_row_vectors[j] = *(const VEC *)(b + p * b_row + j * GEMM_STEP);
        GEMM_UNROLL
        for (int i = 0; i < rows; i++) {
            float factor = a[i * a_row + p * a_depth];
            GEMM_UNROLL
            for (int j = 0; j < vectors; j++) sum[i][j] += factor * b_row_vectors[j];
        }
    }
    /* C is added last: a chain of additions is never longer than a depth block, which keeps rounding errors small. */
    GEMM_UNROLL
    for (int i = 0; i < rows; i++) {
        GEMM_UNROLL
        for (int j = 0; j < vectors; j++) {
            VEC *target = (VEC *)(c + i * c_row + j * GEMM_STEP);
            *target = accumulate ? *target + sum[i][j] : sum[i][j];
        }
    }
}

/* All rows of A against one panel of B that is one or two vectors wide, in the tallest tiles that fit. */
GEMM_INLINE void PANEL(const int vectors, int64_t m, int64_t depth, const float *a, int64_t a_row, int64_t a_depth,
                       const float *b, int64_t b_row, float *c, int64_t c_row, int accumulate) {
    int64_t i = 0;
    for (; i + GEMM_ROWS <= m; i += GEMM_ROWS)
        TILE(GEMM_ROWS, vectors, depth, a + i * a_row, a_row, a_depth, b, b_row, c + i * c_row, c_row, accumulate);
    for (; i + 4 <= m; i += 4)
        TILE(4, vectors, depth, a + i * a_row, a_row, a_depth, b, b_row, c + i * c_row, c_row, accumulate);
    for (; i < m; i++)
        TILE(1, vectors, depth, a + i * a_row, a_row, a_depth, b, b_row, c + i * c_row, c_row, accumulate);
}

GEMM_TARGET static void GEMM_JOIN(gemm, GEMM_SUFFIX)(int64_t m, int64_t n, int64_t depth, const float *a, int64_t a_row,
                                                     int64_t a_depth, const float *b, int64_t b_row, float *c,
                                                     int64_t c_row, int accumulate) {
    float b_tail[GEMM_DEPTH][GEMM_STEP], c_tail[GEMM_ROWS][GEMM_STEP]; /* zero-padded last columns */
    int64_t first = 0;
    do {
        int64_t count = depth - first < GEMM_DEPTH ? depth - first : GEMM_DEPTH;
        const float *a_block = a + first * a_depth, *b_block = b + first * b_row;
        int add = accumulate || first > 0;
        int64_t j = 0;
        for (; j + 2 * GEMM_STEP <= n; j += 2 * GEMM_STEP)
            PANEL(2, m, count, a_block, a_row, a_depth, b_block + j, b_row, c + j, c_row, add);
        for (; j + GEMM_STEP <= n; j += GEMM_STEP)
            PANEL(1, m, count, a_block, a_row, a_depth, b_block + j, b_row, c + j, c_row, add);
        int64_t left = n - j;
        if (left > 0) {
            for (int64_t p = 0; p < count; p++)
                for (int64_t q = 0; q < GEMM_STEP; q++) b_tail[p][q] = q < left ? b_block[p * b_row + j + q] : 0.0f;
            for (int64_t i = 0; i < m; i += GEMM_ROWS) {
                int64_t rows = m - i < GEMM_ROWS ? m - i : GEMM_ROWS;
                for (int64_t r = 0; r < rows; r++)
                    for (int64_t q = 0; q < GEMM_STEP; q++)
                        c_tail[r][q] = add && q < left ? c[(i + r) * c_row + j + q] : 0.0f;
                PANEL(1, rows, count, a_block + i * a_row, a_row, a_depth, b_tail[0], GEMM_STEP, c_tail[0], GEMM_STEP, add);
                for (int64_t r = 0; r < rows; r++)
                    for (int64_t q = 0; q < left; q++) c[(i + r) * c_row + j + q] = c_tail[r][q];
            }
        }
        first += count;
    } while (first < depth);
}

#undef VEC
#undef TILE
#undef PANEL
#undef GEMM_STEP
#undef GEMM_INLINE
#undef GEMM_UNROLL
#undef GEMM_SUFFIX
#undef GEMM_TARGET
#undef GEMM_LANES
#undef GEMM_ROWS
