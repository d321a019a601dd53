/* The linear transforms of Winograd's algorithm F(4x4, 3x3) and the products of its planes; see kernels/winograd.py.
 *
 * A lane is a channel. Each transform is applied to the columns of a tile, then to the rows of the result; the sums of
 * its even and of its odd rows are shared between the points p and -p. */
#ifndef NNFAST_WINOGRAD_H
#define NNFAST_WINOGRAD_H

#include "blocking.h"
#include "sources.h"

enum { TILE_OUT = 4, TILE_IN = 6, PLANES = 36 };

/* The points are 0, P, -P, Q, -Q and infinity. */
#define P (5.0f / 8.0f)
#define Q (3.0f / 2.0f)
#define PP (P * P)
#define QQ (Q * Q)
#define SCALE_0 (1.0f / (PP * QQ))
#define SCALE_P (1.0f / (2.0f * PP * (PP - QQ)))
#define SCALE_Q (1.0f / (2.0f * QQ * (QQ - PP)))

/* ---------------------------------------------------------------- six, four or three numbers in a row or column */

INLINE void transform_6_inputs(const vec *d, vec *t, int64_t step) {
    const vec even_p = d[4] - QQ * d[2], odd_p = P * d[3] - P * QQ * d[1];
    const vec even_q = d[4] - PP * d[2], odd_q = Q * d[3] - Q * PP * d[1];
    t[0 * step] = d[4] - (PP + QQ) * d[2] + PP * QQ * d[0];
    t[1 * step] = even_p + odd_p;
    t[2 * step] = even_p - odd_p;
    t[3 * step] = even_q + odd_q;
    t[4 * step] = even_q - odd_q;
    t[5 * step] = d[5] - (PP + QQ) * d[3] + PP * QQ * d[1];
}

INLINE void transform_4_gradients(const vec *g, vec *t, int64_t step) {
    const vec even_p = g[0] + PP * g[2], odd_p = P * g[1] + P * PP * g[3];
    const vec even_q = g[0] + QQ * g[2], odd_q = Q * g[1] + Q * QQ * g[3];
    t[0 * step] = g[0];
    t[1 * step] = even_p + odd_p;
    t[2 * step] = even_p - odd_p;
    t[3 * step] = even_q + odd_q;
    t[4 * step] = even_q - odd_q;
    t[5 * step] = g[3];
}

INLINE void transform_3_weights(const vec *g, vec *t, int64_t step) {
    const vec even_p = SCALE_P * g[0] + SCALE_P * PP * g[2], odd_p = SCALE_P * P * g[1];
    const vec even_q = SCALE_Q * g[0] + SCALE_Q * QQ * g[2], odd_q = SCALE_Q * Q * g[1];
    t[0 * step] = SCALE_0 * g[0];
    t[1 * step] = even_p + odd_p;
    t[2 * step] = even_p - odd_p;
    t[3 * step] = even_q + odd_q;
    t[4 * step] = even_q - odd_q;
    t[5 * step] = g[2];
}

INLINE void transform_6_products(const vec *m, vec *t, int64_t step) {
    const vec even_p = m[1] + m[2], odd_p = m[1] - m[2], even_q = m[3] + m[4], odd_q = m[3] - m[4];
    t[0 * step] = m[0] + (even_p + even_q);
    t[1 * step] = P * odd_p + Q * odd_q;
    t[2 * step] = PP * even_p + QQ * even_q;
    t[3 * step] = m[5] + P * PP * odd_p + Q * QQ * odd_q;
}

INLINE void transform_6_weight_gradients(const vec *u, vec *t, int64_t step) {
    const vec even_p = u[1] + u[2], odd_p = u[1] - u[2], even_q = u[3] + u[4], odd_q = u[3] - u[4];
    t[0 * step] = SCALE_0 * u[0] + SCALE_P * even_p + SCALE_Q * even_q;
    t[1 * step] = SCALE_P * P * odd_p + SCALE_Q * Q * odd_q;
    t[2 * step] = u[5] + SCALE_P * PP * even_p + SCALE_Q * QQ * even_q;
}

#undef P
#undef Q
#undef PP
#undef QQ
#undef SCALE_0
#undef SCALE_P
#undef SCALE_Q

/* ---------------------------------------------------------------- tiles of images to planes */

/* An image of `high` x `wide` pixels. Its first tile begins `top` rows and `left` columns outside of it. */
typedef struct {
    source_t source;
    int64_t high, wide, channels, top, left;
} image_t;

INLINE vec load_pixel(const source_t *source, const float *x, int64_t place, int64_t c, int64_t count) {
    vec value = load_part(x, count);
    if (source->z) {
        vec z = load_part(source->z + place, count), factor = load_part(source->factor + c, count);
        value = load_part(source->slope + c, count) * value + (factor * z + load_part(source->offset + c, count));
    } else if (source->scale) {
        value = value * load_part(source->scale + c, count) + load_part(source->shift + c, count);
    }
    return activate(value, source->activation);
}

/* One vector of size x size pixels as planes, which are `plane` elements apart. */
INLINE void transform_vector(const int size, const int inside, const int changed, const image_t *image, int64_t place,
                             int64_t row, int64_t column, int64_t c, int64_t count, int64_t ahead, float *planes,
                             int64_t plane) {
    const int64_t down = image->wide * image->channels;
    vec half[TILE_IN][TILE_IN];
    UNROLL for (int j = 0; j < size; j++) {
        vec d[TILE_IN], t[TILE_IN];
        UNROLL for (int i = 0; i < size; i++) {
            const int64_t from = place + i * down + j * image->channels;
            const float *x = image->source.x + from;
            if (i + size > TILE_IN || j + size > TILE_IN || size == TILE_OUT) fetch(x + ahead);
            if (!inside && ((uint64_t)(row + i) >= (uint64_t)image->high ||
                            (uint64_t)(column + j) >= (uint64_t)image->wide))
                d[i] = (vec){0};
            else if (changed) d[i] = load_pixel(&image->source, x, from, c, count);
            else d[i] = inside ? load(x) : load_part(x, count);
        }
        if (size == TILE_IN) transform_6_inputs(d, t, 1);
        else transform_4_gradients(d, t, 1);
        UNROLL for (int i = 0; i < TILE_IN; i++) half[i][j] = t[i];
    }
    UNROLL for (int i = 0; i < TILE_IN; i++) {
        vec t[TILE_IN];
        if (size == TILE_IN) transform_6_inputs(half[i], t, 1);
        else transform_4_gradients(half[i], t, 1);
        UNROLL for (int j = 0; j < TILE_IN; j++) store(planes + (i * TILE_IN + j) * plane, t[j]);
    }
}

/* `count` channels, from c on, of size x size pixels (6: inputs, 4: gradients) from (row, column) of image n on. Whole
 * vectors of planes are written: zeros behind the last channel. Pixels `ahead` are fetched into the cache. */
INLINE void transform_pixels(const int size, const image_t *image, int64_t n, int64_t row, int64_t column, int64_t c,
                             int64_t count, int64_t ahead, float *planes, int64_t plane) {
    const int whole = row >= 0 && column >= 0 && row + size <= image->high && column + size <= image->wide;
    const int changed = changes(&image->source);
    const int64_t place = ((n * image->high + row) * image->wide + column) * image->channels + c;
    for (int64_t i = 0; i < count; i += LANES) {
        if (changed)
            transform_vector(size, 0, 1, image, place + i, row, column, c + i, count - i, ahead, planes + i, plane);
        else if (whole && count - i >= LANES)
            transform_vector(size, 1, 0, image, place + i, row, column, c + i, count - i, ahead, planes + i, plane);
        else
            transform_vector(size, 0, 0, image, place + i, row, column, c + i, count - i, ahead, planes + i, plane);
    }
}

static void transform_inputs(const image_t *image, int64_t n, int64_t row, int64_t column, int64_t c, int64_t count,
                             int64_t ahead, float *planes, int64_t plane) {
    transform_pixels(TILE_IN, image, n, row, column, c, count, ahead, planes, plane);
}

static void transform_gradients(const image_t *image, int64_t n, int64_t row, int64_t column, int64_t c, int64_t count,
                                int64_t ahead, float *planes, int64_t plane) {
    transform_pixels(TILE_OUT, image, n, row, column, c, count, ahead, planes, plane);
}

/* ---------------------------------------------------------------- planes to tiles of images */

/* An image that is written: `bias` has a number for each channel, or is NULL. `finish.sums` are not used: sums are added
 * to the two rows of PANEL floats of `totals`, if there are any. */
typedef struct {
    float *y;
    int64_t high, wide, channels;
    const float *bias;
    finish_t finish;
    float *totals;
} result_t;

INLINE void store_vector(const int finishing, const int whole, const result_t *out, int64_t place, int64_t row,
                         int64_t column, int64_t c, int64_t count, int64_t ahead, const float *planes, int64_t plane,
                         float *totals) {
    const finish_t *finish = &out->finish;
    const int64_t down = out->wide * out->channels;
    vec half[TILE_OUT][TILE_IN];
    UNROLL for (int j = 0; j < TILE_IN; j++) {
        vec m[TILE_IN], t[TILE_OUT];
        UNROLL for (int i = 0; i < TILE_IN; i++) m[i] = load(planes + (i * TILE_IN + j) * plane);
        transform_6_products(m, t, 1);
        UNROLL for (int i = 0; i < TILE_OUT; i++) half[i][j] = t[i];
    }
    const vec bias = out->bias ? load_part(out->bias + c, count) : (vec){0};
    vec centre = {0}, scale = {0}, shift = {0}, sum = {0}, products = {0};
    if (finishing) {
        if (totals) centre = load_part(finish->centre + c, count);
        scale = finish->scale ? load_part(finish->scale + c, count) : splat(1.0f);
        if (finish->scale) shift = load_part(finish->shift + c, count);
    }
    UNROLL for (int i = 0; i < TILE_OUT; i++) {
        vec t[TILE_OUT];
        transform_6_products(half[i], t, 1);
        if (!whole && row + i >= out->high) break;
        UNROLL for (int j = 0; j < TILE_OUT; j++) {
            if (whole || column + j < out->wide) {
                const int64_t to = place + i * down + j * out->channels;
                fetch_to_write(out->y + to + ahead); /* a store waits for its line */
                if (finishing && finish->x) fetch(finish->x + to + ahead);
                vec value = t[j] + bias;
                if (finishing && finish->x) {
                    vec x = load_part(finish->x + to, count);
                    value = passing(value, x * scale + shift, finish->activation);
                    sum += value;
                    products += value * (x - centre);
                } else if (finishing) {
                    vec deviation = value - centre;
                    sum += deviation;
                    products += deviation * deviation;
                }
                if (whole) store(out->y + to, value);
                else store_part(out->y + to, value, count);
            }
        }
    }
    if (finishing && totals) {
        store(totals, load(totals) + sum); /* those of a tile first: a shorter chain of additions rounds less */
        store(totals + PANEL, load(totals + PANEL) + products);
    }
}

/* The 4x4 pixels from (row, column) of image n on, those inside of it: `count` channels from c on. Pixels that are
 * `ahead` are fetched into the cache. */
static void store_tile(const result_t *out, int64_t n, int64_t row, int64_t column, int64_t c, int64_t count,
                       int64_t ahead, const float *planes, int64_t plane) {
    const int inside = row + TILE_OUT <= out->high && column + TILE_OUT <= out->wide;
    const int64_t place = ((n * out->high + row) * out->wide + column) * out->channels + c;
    for (int64_t i = 0; i < count; i += LANES) {
        float *totals = out->totals ? out->totals + i : NULL;
        const int whole = inside && count - i >= LANES;
        if (totals || out->finish.activation) {
            if (whole)
                store_vector(1, 1, out, place + i, row, column, c + i, count - i, ahead, planes + i, plane, totals);
            else
                store_vector(1, 0, out, place + i, row, column, c + i, count - i, ahead, planes + i, plane, totals);
        } else if (whole) {
            store_vector(0, 1, out, place + i, row, column, c + i, count - i, ahead, planes + i, plane, NULL);
        } else {
            store_vector(0, 0, out, place + i, row, column, c + i, count - i, ahead, planes + i, plane, NULL);
        }
    }
}

/* ---------------------------------------------------------------- weights */

/* One vector of planes of a kernel whose taps are `tap` elements apart; zeros behind the last of `count` lanes. */
INLINE void transform_weights(const float *taps, int64_t tap, int64_t count, float *planes, int64_t plane) {
    vec half[TILE_IN][3];
    UNROLL for (int j = 0; j < 3; j++) {
        vec g[3], t[TILE_IN];
        UNROLL for (int i = 0; i < 3; i++) g[i] = load_part(taps + (i * 3 + j) * tap, count);
        transform_3_weights(g, t, 1);
        UNROLL for (int i = 0; i < TILE_IN; i++) half[i][j] = t[i];
    }
    UNROLL for (int i = 0; i < TILE_IN; i++) {
        vec t[TILE_IN];
        transform_3_weights(half[i], t, 1);
        UNROLL for (int j = 0; j < TILE_IN; j++) store(planes + (i * TILE_IN + j) * plane, t[j]);
    }
}

/* The first `count` lanes of 3x3 taps, `tap` elements apart, of one vector of planes. */
INLINE void transform_weight_gradients(const float *planes, int64_t plane, int64_t count, float *taps, int64_t tap) {
    vec half[3][TILE_IN];
    UNROLL for (int j = 0; j < TILE_IN; j++) {
        vec u[TILE_IN], t[3];
        UNROLL for (int i = 0; i < TILE_IN; i++) u[i] = load(planes + (i * TILE_IN + j) * plane);
        transform_6_weight_gradients(u, t, 1);
        UNROLL for (int i = 0; i < 3; i++) half[i][j] = t[i];
    }
    UNROLL for (int i = 0; i < 3; i++) {
        vec t[3];
        transform_6_weight_gradients(half[i], t, 1);
        UNROLL for (int j = 0; j < 3; j++) store_part(taps + (i * 3 + j) * tap, t[j], count);
    }
}

/* ---------------------------------------------------------------- products of planes */

/* c[rows, vectors] = (c if add) + a[rows, depth] b[depth, vectors], where rows of b and of c are a panel apart. With
 * `asks` each step brings as many numbers of the following rows nearer as it reads: all, if rows stand side by side. */
INLINE void multiply_plane_tile(const int rows, const int vectors, const int asks, int64_t depth, const float *a,
                                int64_t a_row, int64_t a_depth, const float *b, float *c, int add) {
    vec sum[24][2];
    UNROLL for (int i = 0; i < rows; i++) {
        UNROLL for (int j = 0; j < vectors; j++) sum[i][j] = (vec){0};
    }
    for (int64_t d = 0; d < depth; d++) {
        vec of_b[2];
        UNROLL for (int j = 0; j < vectors; j++) of_b[j] = load(b + d * PANEL + j * LANES);
        if (asks) fetch(a + rows * a_row + d * rows);
        UNROLL for (int i = 0; i < rows; i++) {
            vec of_a = splat(a[i * a_row + d * a_depth]);
            UNROLL for (int j = 0; j < vectors; j++) sum[i][j] += of_a * of_b[j];
        }
    }
    UNROLL for (int i = 0; i < rows; i++) {
        UNROLL for (int j = 0; j < vectors; j++) {
            float *place = c + i * PANEL + j * LANES;
            store(place, add ? load(place) + sum[i][j] : sum[i][j]);
        }
    }
}

/* c[rows, columns] = (c if add) + a b, as above. The number of rows is a multiple of 4; whole vectors are written. */
INLINE void multiply_planes(const int asks, int64_t rows, int64_t columns, int64_t depth, const float *a, int64_t a_row,
                            int64_t a_depth, const float *b, float *c, int add) {
    for (int64_t j = 0; j < columns; j += 2 * LANES) {
        const int two = columns - j > LANES;
        for (int64_t i = 0; i < rows;) {
            const float *of_a = a + i * a_row;
            float *place = c + i * PANEL + j;
            int64_t height = 4;
#if LANES == 16
            const int64_t left = rows - i;
            if (!two && left >= 24) height = 24;
            else if (left >= 12 && left != 16) height = 12;
            else if (left >= 8) height = 8;
            if (height == 24) multiply_plane_tile(24, 1, asks, depth, of_a, a_row, a_depth, b + j, place, add);
            else if (height == 12 && two) multiply_plane_tile(12, 2, asks, depth, of_a, a_row, a_depth, b + j, place, add);
            else if (height == 12) multiply_plane_tile(12, 1, asks, depth, of_a, a_row, a_depth, b + j, place, add);
            else if (height == 8 && two) multiply_plane_tile(8, 2, asks, depth, of_a, a_row, a_depth, b + j, place, add);
            else if (height == 8) multiply_plane_tile(8, 1, asks, depth, of_a, a_row, a_depth, b + j, place, add);
            else
#endif
            if (two) multiply_plane_tile(4, 2, asks, depth, of_a, a_row, a_depth, b + j, place, add);
            else multiply_plane_tile(4, 1, asks, depth, of_a, a_row, a_depth, b + j, place, add);
            i += height;
        }
    }
}

/* Tiles times weights, so many rows of weights at a time as stay in the first cache. */
static void multiply_tiles(int64_t tiles, int64_t columns, int64_t depth, const float *inputs, int64_t row,
                           const float *weights, float *products) {
    int64_t first = 0;
    do {
        multiply_planes(0, tiles, columns, at_most(depth - first, 256), inputs + first, row, 1, weights + first * PANEL,
                        products, first > 0);
        first += 256;
    } while (first < depth);
}

/* The same of one run of channels, which is added to those before if `add`. */
static void multiply_run(int64_t tiles, int64_t columns, int64_t depth, const float *inputs, int64_t row,
                         const float *weights, float *products, int add) {
    multiply_planes(1, tiles, columns, depth, inputs, row, 1, weights, products, add);
}

/* products (+)= gradients^T inputs, the sum over tiles. */
static void multiply_gradients(int64_t rows, int64_t columns, int64_t tiles, const float *gradients, int64_t row,
                               const float *inputs, float *products, int add) {
    multiply_planes(0, rows, columns, tiles, gradients, 1, row, inputs, products, add);
}

#endif
