/* Matrix products whose sums stay in registers: C (+)= A B, where rows of A and C are scattered.
 *
 * Accumulators, the vectors of B and one number of A fill the registers: 32 with AVX-512 and on arm64, else 16. Heights
 * are constants of inlined functions, so that the accumulators are registers. */
#ifndef NNFAST_TILES_H
#define NNFAST_TILES_H

#include "blocking.h"
#include "vector.h"

#if LANES == 16
#define TALLEST 14
#elif defined(__aarch64__)
#define TALLEST 12
#else
#define TALLEST 6
#endif

enum { DEEP = 2048 }; /* rows of a panel that are multiplied at a time, about: 256 KB */

enum { STORE, ACCUMULATE, ADD_BIAS }; /* what happens to a result */

/* A: row i has `runs` runs of `length` elements that are `step` apart; run t begins at a + places[i] + shifts[t]. */
typedef struct {
    const float *a;
    const int64_t *places;
    int64_t step, runs;
    const int64_t *shifts;
    int64_t length;
} windows_t;

/* C: row i begins at c + places[i]; `bias` has a number for each column. Results are written around the caches if it
 * `streams`: then vectors of C are whole and aligned. */
typedef struct {
    float *c;
    const int64_t *places;
    const float *bias;
    int mode, streams;
} rows_t;

/* Numbers that will be needed next, brought nearer meanwhile, `each` of them a tile: no processor sees by itself which
 * block of an image comes next. */
typedef struct {
    const float *from;
    int64_t count, each;
} later_t;

/* `rows` rows of C from the first one of `windows` and `out` on, and `columns` columns, at most `vectors` vectors of
 * them; only if `partial` they may be fewer. What stands `ahead` of a row of B is brought nearer. */
INLINE void multiply_tile(const int rows, const int vectors, const int partial, int64_t columns,
                          const windows_t *windows, const float *b, int64_t b_row, int64_t ahead, const rows_t *out) {
    vec sum[TALLEST][2];
    const float *at[TALLEST];
    UNROLL for (int i = 0; i < rows; i++) {
        at[i] = windows->a + windows->places[i];
        UNROLL for (int j = 0; j < vectors; j++) sum[i][j] = (vec){0};
    }
    const int64_t length = windows->length, step = windows->step;
    for (int64_t run = 0; run < windows->runs; run++) {
        int64_t offset = windows->shifts[run];
        for (int64_t d = 0; d < length; d++) {
            vec of_b[2];
            UNROLL for (int j = 0; j < vectors; j++) {
                of_b[j] = partial ? load_part(b + j * LANES, columns - j * LANES) : load(b + j * LANES);
                fetch(b + ahead + j * LANES);
            }
            UNROLL for (int i = 0; i < rows; i++) {
                vec of_a = splat(at[i][offset]);
                UNROLL for (int j = 0; j < vectors; j++) sum[i][j] += of_a * of_b[j];
            }
            b += b_row;
            offset += step;
        }
    }
    /* What is there is added last: a chain of additions is never longer than a product, which keeps errors small. */
    if (out->mode == ADD_BIAS) {
        UNROLL for (int j = 0; j < vectors; j++) {
            vec bias = load_part(out->bias + j * LANES, columns - j * LANES);
            UNROLL for (int i = 0; i < rows; i++) sum[i][j] += bias;
        }
    }
    if (out->streams && !partial) {
        UNROLL for (int i = 0; i < rows; i++) {
            UNROLL for (int j = 0; j < vectors; j++) stream(out->c + out->places[i] + j * LANES, sum[i][j]);
        }
        return;
    }
    UNROLL for (int i = 0; i < rows; i++) {
        float *c = out->c + out->places[i];
        UNROLL for (int j = 0; j < vectors; j++) {
            float *place = c + j * LANES;
            if (partial) {
                vec before = out->mode == ACCUMULATE ? load_part(place, columns - j * LANES) : (vec){0};
                store_part(place, sum[i][j] + before, columns - j * LANES);
            } else {
                store(place, out->mode == ACCUMULATE ? load(place) + sum[i][j] : sum[i][j]);
            }
        }
    }
}

/* How many rows a tile takes of those that are left: the smaller tiles are nearly as fast, a part of one is not. */
INLINE int64_t tile_rows(int64_t left) {
    if (TALLEST > 9 && left < 2 * TALLEST) {
        if (left % 8 == 0) return 8;
        if (left % 9 == 0) return 9; /* the taps of a 3x3 kernel */
    }
    if (left >= TALLEST) return TALLEST;
    return TALLEST > 8 && left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

/* All m rows of at most two vectors of columns. */
INLINE void multiply_rows(const int vectors, const int partial, int64_t m, int64_t columns, windows_t windows,
                          const float *b, int64_t b_row, int64_t ahead, rows_t out, later_t *later) {
    for (int64_t i = 0; i < m;) {
        int64_t rows = tile_rows(m - i), asked = at_most(later->count, later->each);
        for (int64_t number = 0; number < asked; number += 16) fetch(later->from + number);
        later->from += asked;
        later->count -= asked;
        switch (rows) {
        case TALLEST: multiply_tile(TALLEST, vectors, partial, columns, &windows, b, b_row, ahead, &out); break;
#if TALLEST > 9
        case 9: multiply_tile(9, vectors, partial, columns, &windows, b, b_row, ahead, &out); break;
        case 8: multiply_tile(8, vectors, partial, columns, &windows, b, b_row, ahead, &out); break;
#endif
        case 4: multiply_tile(4, vectors, partial, columns, &windows, b, b_row, ahead, &out); break;
        case 2: multiply_tile(2, vectors, partial, columns, &windows, b, b_row, ahead, &out); break;
        default: multiply_tile(1, vectors, partial, columns, &windows, b, b_row, ahead, &out);
        }
        i += rows;
        windows.places += rows;
        out.places += rows;
    }
}

/* C[m, n] (+)= A B. B comes in panels of PANEL columns, each `panel` elements behind the one before; its rows are
 * `b_row` apart, and of a packed B whole; `ahead` is for those that come from memory. So many runs are multiplied at a time as leave a panel in the second cache. */
static void window_gemm(int64_t m, int64_t n, windows_t windows, const float *b, int64_t panel, int64_t b_row,
                        int64_t ahead, rows_t out, later_t *later) {
    const int64_t tiles = (m / TALLEST + 1) * ((n + 2 * LANES - 1) / (2 * LANES));
    const int64_t runs = windows.runs, several = windows.length > 0 ? DEEP / windows.length + 1 : 1;
    float *c = out.c;
    const float *bias = out.bias;
    int64_t first = 0;
    out.streams = out.streams && several >= runs;
    later->each = (later->count / tiles / 16 + 1) * 16;
    do {
        windows.runs = at_most(several, runs - first);
        for (int64_t j = 0; j < n; j += PANEL) {
            int64_t stop = at_most(n - j, PANEL);
            for (int64_t k = 0; k < stop;) {
                int64_t columns = at_most(stop - k, 2 * LANES);
                const float *of_b = b + j / PANEL * panel + k;
                out.c = c + j + k;
                out.bias = bias + j + k;
                if (columns == 2 * LANES) multiply_rows(2, 0, m, columns, windows, of_b, b_row, ahead, out, later);
                else if (columns > LANES) multiply_rows(2, 1, m, columns, windows, of_b, b_row, ahead, out, later);
                else if (columns == LANES) multiply_rows(1, 0, m, columns, windows, of_b, b_row, ahead, out, later);
                else multiply_rows(1, 1, m, columns, windows, of_b, b_row, ahead, out, later);
                k += columns;
            }
        }
        windows.shifts += several;
        b += several * windows.length * b_row;
        out.mode = ACCUMULATE;
        first += several;
    } while (first < runs);
}

#endif
