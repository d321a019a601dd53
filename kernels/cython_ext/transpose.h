/* Transposition, block by block in registers. */
#ifndef NNFAST_TRANSPOSE_H
#define NNFAST_TRANSPOSE_H

#include "vector.h"

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define TRANSPOSES_REGISTERS
#endif
#endif

#ifdef TRANSPOSES_REGISTERS

/* Two rows of blocks that are `distance` lanes wide exchange the blocks off the diagonal. */
#define EXCHANGE(distance, first, second)                                          \
    UNROLL for (int i = 0; i < LANES; i++) {                                       \
        if (i & distance) continue;                                                \
        const vec upper = v[i], lower = v[i + distance];                           \
        v[i] = __builtin_shufflevector(upper, lower, first);                       \
        v[i + distance] = __builtin_shufflevector(upper, lower, second);           \
    }
#define LIST(...) __VA_ARGS__

/* target[j, i] = source[i, j] for up to LANES rows and columns. */
INLINE void transpose_block(const float *source, int64_t source_row, float *target, int64_t target_row, int64_t rows,
                            int64_t columns) {
    vec v[LANES];
    UNROLL for (int i = 0; i < LANES; i++) {
        v[i] = i < rows ? load_part(source + i * source_row, columns) : (vec){0};
        fetch(source + i * source_row + 8 * LANES); /* no processor sees by itself that so many rows are read */
    }
#if LANES == 16
    EXCHANGE(1, LIST(0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30),
             LIST(1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31))
    EXCHANGE(2, LIST(0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29),
             LIST(2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31))
    EXCHANGE(4, LIST(0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27),
             LIST(4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31))
    EXCHANGE(8, LIST(0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23),
             LIST(8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31))
#elif LANES == 8
    EXCHANGE(1, LIST(0, 8, 2, 10, 4, 12, 6, 14),
             LIST(1, 9, 3, 11, 5, 13, 7, 15))
    EXCHANGE(2, LIST(0, 1, 8, 9, 4, 5, 12, 13),
             LIST(2, 3, 10, 11, 6, 7, 14, 15))
    EXCHANGE(4, LIST(0, 1, 2, 3, 8, 9, 10, 11),
             LIST(4, 5, 6, 7, 12, 13, 14, 15))
#else
    EXCHANGE(1, LIST(0, 4, 2, 6),
             LIST(1, 5, 3, 7))
    EXCHANGE(2, LIST(0, 1, 4, 5),
             LIST(2, 3, 6, 7))
#endif
    UNROLL for (int j = 0; j < LANES; j++)
        if (j < columns) store_part(target + j * target_row, v[j], rows);
}

#undef EXCHANGE
#undef LIST

#else /* an older compiler */

INLINE void transpose_block(const float *source, int64_t source_row, float *target, int64_t target_row, int64_t rows,
                            int64_t columns) {
    for (int64_t j = 0; j < at_most(columns, LANES); j++)
        for (int64_t i = 0; i < at_most(rows, LANES); i++) target[j * target_row + i] = source[i * source_row + j];
}

#endif

/* target[j, i] = source[i, j]; rows are so many elements apart. */
static inline void transpose(const float *source, int64_t source_row, float *target, int64_t target_row, int64_t rows,
                             int64_t columns) {
    for (int64_t i = 0; i < rows; i += LANES)
        for (int64_t j = 0; j < columns; j += LANES)
            transpose_block(source + i * source_row + j, source_row, target + j * target_row + i, target_row, rows - i,
                            columns - j);
}

#endif
