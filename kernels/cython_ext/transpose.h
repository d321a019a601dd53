/* Packing of weights. */
#ifndef NNFAST_TRANSPOSE_H
#define NNFAST_TRANSPOSE_H

#include <stdint.h>

/* target[j, i] = source[i, j]; rows are so many elements apart. Eight rows at a time: rows a power of two apart share
 * few places of the first cache. */
static inline void transpose(const float *restrict source, int64_t source_row, float *restrict target,
                             int64_t target_row, int64_t rows, int64_t columns) {
    for (int64_t first = 0; first < rows; first += 8) {
        int64_t count = rows - first < 8 ? rows - first : 8;
        const float *start = source + first * source_row;
        for (int64_t j = 0; j < columns; j++)
            for (int64_t i = 0; i < count; i++) target[j * target_row + first + i] = start[i * source_row + j];
    }
}

#endif
