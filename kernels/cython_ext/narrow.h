/* Register tiles of convolutions with few channels: one number of an image meets several taps while it is held.
 *
 * Vectors run along the output channels, or along what a kernel row of input channels adds to a data gradient. */
#ifndef NNFAST_NARROW_H
#define NNFAST_NARROW_H

#include "blocking.h"
#include "vector.h"

enum { NARROW = 16 }; /* as in `blocking.py` */

#if LANES == 16
enum { MOST_COLUMNS = 16, MANY = 12, SOME = 8, FEW = 4, PLANES_OF_3 = 9, PLANES_OF_5 = 5 };
#elif LANES == 8
enum { MOST_COLUMNS = 8, MANY = 3, SOME = 2, FEW = 1, PLANES_OF_3 = 3, PLANES_OF_5 = 2 };
#else
enum { MOST_COLUMNS = 8, MANY = 1, SOME = 1, FEW = 1, PLANES_OF_3 = 3, PLANES_OF_5 = 2 };
#endif

enum { AHEAD = 24 }; /* pixels of a gradient that are asked for before they are needed */

/* ---------------------------------------------------------------- forward */

/* What output pixels side by side see: R rows of C channels, `pitch` apart, and weights in rows of NARROW. */
typedef struct {
    const float *a;
    int64_t pitch, R, C;
    const float *w;
} seen_t;

/* Output pixels K numbers apart, of which a vector of `channels` is computed; `bias` may be NULL. They are written around
 * the caches if they `stream`: then vectors are whole and aligned. */
typedef struct {
    float *y;
    int64_t K, channels;
    const float *bias;
    int streams;
} pixels_t;

/* y[n] = bias + the sum over r, c, s of a[r * pitch + (n + s) * C + c] w[r, c, s], for n < m. So many `columns` are
 * computed and read for; what lies behind column m is not stored. */
INLINE void convolve_columns(const int columns, const int taps, int64_t m, const seen_t *seen, const pixels_t *out) {
    vec sum[MOST_COLUMNS];
    UNROLL for (int n = 0; n < columns; n++) sum[n] = (vec){0};
    const float *w = seen->w;
    for (int64_t r = 0; r < seen->R; r++) {
        for (int64_t c = 0; c < seen->C; c++) {
            const float *a = seen->a + r * seen->pitch + c;
            vec weights[5];
            UNROLL for (int s = 0; s < taps; s++) weights[s] = load_part(w + s * NARROW, out->channels);
            UNROLL for (int j = 0; j < columns + taps - 1; j++) {
                vec element = splat(a[j * seen->C]);
                UNROLL for (int s = 0; s < taps; s++)
                    if (j - s >= 0 && j - s < columns) sum[j - s] += element * weights[s];
            }
            w += taps * NARROW;
        }
    }
    const vec bias = out->bias ? load_part(out->bias, out->channels) : (vec){0};
    UNROLL for (int n = 0; n < columns; n++) {
        if (n >= m) break;
        if (out->streams) stream(out->y + n * out->K, sum[n] + bias);
        else store_part(out->y + n * out->K, sum[n] + bias, out->channels);
    }
}

/* A row of OW output pixels. */
INLINE void convolve_row(const int taps, int64_t OW, seen_t seen, pixels_t out) {
    for (int64_t left = OW; left > 0;) {
        int64_t columns = 8;
#if LANES == 16
        if (left > 24 || (left > 12 && left <= 16)) columns = 16;
        else if (left > 8) columns = 12;
        if (columns == 16) convolve_columns(16, taps, left, &seen, &out);
        else if (columns == 12) convolve_columns(12, taps, left, &seen, &out);
        else
#endif
        convolve_columns(8, taps, left, &seen, &out);
        seen.a += columns * seen.C;
        out.y += columns * out.K;
        left -= columns;
    }
}

static void convolve_row_3(int64_t OW, seen_t seen, pixels_t out) { convolve_row(3, OW, seen, out); }
static void convolve_row_5(int64_t OW, seen_t seen, pixels_t out) { convolve_row(5, OW, seen, out); }

/* ---------------------------------------------------------------- data gradient */

/* Rows of dy that a row of dx meets, each `above` elements after the one before, and weights in rows of PANEL; `width`
 * numbers of a kernel row are added to a pixel. Neighbours overlap, and go to different ones of `turns` rows. */
typedef struct {
    const float *a;
    int64_t above, R, K;
    const float *packed;
    int64_t width;
    float *target;
    int64_t turns, pitch, C;
} spread_t;

/* Column n of dy times the taps of a kernel row, for so many columns from `column` on. */
INLINE void spread_columns(const int columns, int64_t column, const spread_t *of) {
    vec sum[MANY][PANEL / LANES];
    const float *a = of->a + column * of->K, *packed = of->packed;
    UNROLL for (int n = 0; n < columns; n++)
        UNROLL for (int j = 0; j < PANEL / LANES; j++) sum[n][j] = (vec){0};
    for (int64_t r = 0; r < of->R; r++) {
        for (int64_t k = 0; k < of->K; k++) {
            vec weights[PANEL / LANES];
            UNROLL for (int j = 0; j < PANEL / LANES; j++) weights[j] = load(packed + j * LANES);
            UNROLL for (int n = 0; n < columns; n++) {
                vec element = splat(a[n * of->K + k]);
                UNROLL for (int j = 0; j < PANEL / LANES; j++) sum[n][j] += element * weights[j];
            }
            packed += PANEL;
        }
        a += of->above;
    }
    UNROLL for (int n = 0; n < columns; n++) {
        float *place = of->target + (column + n) % of->turns * of->pitch + (column + n) * of->C;
        UNROLL for (int j = 0; j < PANEL / LANES; j++) store_part(place + j * LANES, sum[n][j], of->width - j * LANES);
    }
}

/* A row of OW columns; some are computed twice where that is faster. */
static void spread_row(int64_t OW, spread_t of) {
    for (int64_t column = 0; column < OW;) {
        int64_t left = OW - column;
        int64_t columns = OW >= MANY && left > SOME ? MANY : OW >= SOME && left > FEW ? SOME : FEW;
        column = at_most(column, OW - columns);
        if (columns == MANY) spread_columns(MANY, column, &of);
        else if (columns == SOME) spread_columns(SOME, column, &of);
        else spread_columns(FEW, column, &of);
        column += columns;
    }
}

/* target[i] = the sum of `rows` rows of `source` that are `pitch` apart. */
static void gather_rows(int64_t rows, const float *source, int64_t pitch, float *target, int64_t count) {
    for (int64_t i = 0; i < count; i += LANES) {
        vec sum = load_part(source + i, count - i);
        for (int64_t row = 1; row < rows; row++) sum += load_part(source + row * pitch + i, count - i);
        store_part(target + i, sum, count - i);
    }
}

/* ---------------------------------------------------------------- weight gradient */

/* Kernel rows of input channels, planes: each begins at a + places[plane], and row t of it shifts[t] from there. They
 * meet `rows` rows of OW pixels of dy, one behind the other, of which a vector of `channels` is used. The sums of a
 * plane go to total + to[plane], those of its taps `tap` apart, and are added to what is there if `add`. */
typedef struct {
    const float *a;
    const int64_t *places;
    int64_t C;
    const int64_t *shifts;
    const float *dy;
    int64_t K, channels, rows, OW;
    float *total;
    const int64_t *to;
    int64_t tap;
    int add;
} correlation_t;

/* Add the products of `count` pixels of dy with those of the planes that they meet. */
INLINE void meet(const int count, const int taps, const int planes, const float **at, const float *dy,
                 const correlation_t *of, vec sum[][5]) {
    vec held[2];
    UNROLL for (int n = 0; n < count; n++) {
        held[n] = load_part(dy + n * of->K, of->channels);
        fetch(dy + (AHEAD + n) * of->K); /* loads of a part do not set the processor's own prefetching off */
    }
    UNROLL for (int j = 0; j < count + taps - 1; j++) {
        UNROLL for (int i = 0; i < planes; i++) {
            vec element = splat(at[i][j * of->C]);
            UNROLL for (int s = 0; s < taps; s++)
                if (j - s >= 0 && j - s < count) sum[i][s] += element * held[j - s];
        }
    }
    UNROLL for (int i = 0; i < planes; i++) at[i] += count * of->C;
}

/* So many planes, of which the first m are there; the others repeat the last one and are not stored. */
INLINE void correlate_planes(const int taps, const int planes, int64_t m, const correlation_t *of) {
    vec sum[9][5];
    const float *dy = of->dy;
    UNROLL for (int i = 0; i < planes; i++)
        UNROLL for (int s = 0; s < taps; s++) sum[i][s] = (vec){0};
    for (int64_t row = 0; row < of->rows; row++) {
        const float *at[9];
        UNROLL for (int i = 0; i < planes; i++) at[i] = of->a + of->places[at_most(i, m - 1)] + of->shifts[row];
        int64_t column = 0;
        for (; column + 2 <= of->OW; column += 2, dy += 2 * of->K) meet(2, taps, planes, at, dy, of, sum);
        for (; column < of->OW; column++, dy += of->K) meet(1, taps, planes, at, dy, of, sum);
    }
    UNROLL for (int i = 0; i < planes; i++) {
        if (i >= m) break;
        UNROLL for (int s = 0; s < taps; s++) {
            float *place = of->total + of->to[i] + s * of->tap;
            store_part(place, of->add ? load_part(place, of->channels) + sum[i][s] : sum[i][s], of->channels);
        }
    }
}

static void correlate_planes_3(int64_t m, const correlation_t *of) { correlate_planes(3, PLANES_OF_3, m, of); }
static void correlate_planes_5(int64_t m, const correlation_t *of) { correlate_planes(5, PLANES_OF_5, m, of); }

#endif
