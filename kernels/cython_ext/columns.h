/* Rows of a matrix whose columns have numbers of their own: what becomes of an element, and sums by column.
 *
 * Up to WIDTH columns are handled at a time. Rows of few columns are read side by side as one wide row, so that vectors
 * are filled; the columns that mean the same are folded in the end. */
#ifndef NNFAST_COLUMNS_H
#define NNFAST_COLUMNS_H

#include "elements.h"

enum {
    WIDTH = 256,
    CHUNK = 4096, /* elements that are added up group by group: 16 KB, so that they stay in the first cache */
    SUMMED = 64,  /* rows that are added up in float32 */
};

/* How many rows are read as one: one where only part of a row's columns is handled. */
INLINE int64_t side_by_side(int64_t columns, int64_t stride, int64_t width) {
    return columns == stride && 2 * columns <= width ? width / columns : 1;
}

/* ---------------------------------------------------------------- elements */

typedef float numbers_t[4][WIDTH + LINE]; /* those of the columns, at the beginning of each array */

/* y = f(in) for `columns` columns of `rows` rows, where the first `count` arrays of `numbers` become those of `in`.
 * Rows of the inputs are `stride` elements apart, those of y `y_stride`. */
INLINE void map_rows(const element_t f, const int inputs, const int count, inputs_t in, int64_t stride,
                     numbers_t numbers, float *y, int64_t y_stride, int around, int64_t rows, int64_t columns) {
    const int64_t wide = side_by_side(columns, stride, WIDTH), width = wide * columns;
    UNROLL for (int k = 0; k < count; k++) {
        for (int64_t i = columns; i < width; i += columns) memcpy(numbers[k] + i, numbers[k], columns * sizeof(float));
        memset(numbers[k] + width, 0, LINE * sizeof(float));
        in.by[k] = numbers[k];
    }
    for (int64_t row = 0; row < rows; row += wide) {
        map_elements(f, inputs, in, y, around, at_most(rows - row, wide) * columns);
        in.a += wide * stride;
        if (inputs > 1) in.b += wide * stride;
        if (inputs > 2) in.c += wide * stride;
        y += wide * y_stride;
    }
}

/* ---------------------------------------------------------------- sums */

enum { SUMS, SQUARES, PRODUCTS }; /* of a; of a - centre, and of its square; of a, and of a * (b - centre) */

typedef struct {
    int64_t columns, wide;
    float ALIGNED centre[WIDTH];
    double ALIGNED sums[WIDTH]; /* of wide rows */
    double ALIGNED seconds[WIDTH];
} column_sums_t;

/* No sums yet; the centre is 0 if it is NULL. `stride` is that of every array that will be added up. */
INLINE void begin_sums(column_sums_t *of, int64_t columns, int64_t stride, const float *centre) {
    of->columns = columns;
    of->wide = side_by_side(columns, stride, GROUP);
    const int64_t width = of->wide * columns, size = (width + GROUP - 1) / GROUP * GROUP;
    memset(of->centre, 0, size * sizeof(float));
    for (int64_t i = 0; centre && i < width; i += columns) memcpy(of->centre + i, centre, columns * sizeof(float));
    memset(of->sums, 0, size * sizeof(double));
    memset(of->seconds, 0, size * sizeof(double));
}

INLINE void add_to_doubles(double *sums, vec value) {
    float lane[LANES];
    store(lane, value);
    for (int i = 0; i < LANES; i++) sums[i] += lane[i];
}

/* Add a line of a group; if it is `partial`, of `count` columns. */
INLINE void add_line(const int kind, const int partial, const float *a, const float *b, int64_t count,
                     const float *centre, vec *sums, vec *seconds) {
    UNROLL for (int j = 0; j < 4; j++) {
        const int64_t left = count - j * LANES;
        vec value = partial ? load_part(a + j * LANES, left) : load(a + j * LANES);
        if (kind != SUMS) {
            const vec middle = partial ? load_part(centre + j * LANES, left) : load(centre + j * LANES);
            if (kind == SQUARES) value -= middle;
            const vec other = kind == SQUARES ? value
                              : (partial ? load_part(b + j * LANES, left) : load(b + j * LANES)) - middle;
            seconds[j] += value * other;
        }
        sums[j] += value;
    }
}

/* Add the columns of a group, of which there are `count`, over `rows` wide rows; `rest` of them in one more. */
INLINE void add_group(const int kind, const int partial, const float *a, int64_t a_step, const float *b,
                      int64_t b_step, int64_t rows, int64_t count, int64_t rest, int64_t ahead, const float *centre,
                      double *all_sums, double *all_seconds) {
    vec sums[4] = {{0}, {0}, {0}, {0}}, seconds[4] = {{0}, {0}, {0}, {0}};
    for (int64_t row = 0; row < rows; row++) {
        for (int k = 0; k < GROUP; k += LINE) fetch(a + ahead + k);
        for (int k = 0; kind == PRODUCTS && k < GROUP; k += LINE) fetch(b + ahead + k);
        add_line(kind, partial, a, b, count, centre, sums, seconds);
        a += a_step;
        b += b_step;
    }
    if (rest > 0) add_line(kind, 1, a, b, rest, centre, sums, seconds);
    UNROLL for (int j = 0; j < 4; j++) {
        add_to_doubles(all_sums + j * LANES, sums[j]);
        if (kind != SUMS) add_to_doubles(all_seconds + j * LANES, seconds[j]);
    }
}

/* Add rows, of a and for PRODUCTS of b, whose strides are given. */
INLINE void add_rows(const int kind, column_sums_t *of, const float *a, int64_t a_stride, const float *b,
                     int64_t b_stride, int64_t rows) {
    const int64_t width = of->wide * of->columns, last = width - width % GROUP;
    const int64_t step = at_most(CHUNK / width, SUMMED) * of->wide;
    for (int64_t row = 0; row < rows; row += step) {
        const int64_t here = at_most(rows - row, step), whole = here / of->wide;
        const int64_t rest = here % of->wide * of->columns;
        for (int64_t j = 0; j < last; j += GROUP)
            add_group(kind, 0, a + j, of->wide * a_stride, b + j, of->wide * b_stride, whole, GROUP, rest - j,
                      step * a_stride, of->centre + j, of->sums + j, of->seconds + j);
        if (last < width)
            add_group(kind, 1, a + last, of->wide * a_stride, b + last, of->wide * b_stride, whole, width - last,
                      rest - last, step * a_stride, of->centre + last, of->sums + last, of->seconds + last);
        a += step * a_stride;
        b += step * b_stride;
    }
}

/* Write the sums of every column; `seconds` may be NULL. */
INLINE void end_sums(const column_sums_t *of, double *sums, double *seconds) {
    for (int64_t j = 0; j < of->columns; j++) {
        double first = 0, second = 0;
        for (int64_t i = j; i < of->wide * of->columns; i += of->columns) {
            first += of->sums[i];
            second += of->seconds[i];
        }
        sums[j] = first;
        if (seconds) seconds[j] = second;
    }
}

#endif
