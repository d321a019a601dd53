/* The loop of kernels that compute element by element.
 *
 * What an element becomes is an inline function, a constant argument of `map_elements`. The compiler turns its plain
 * loop over a cache line into vector code, and the line of results into registers, which are stored or pass the caches
 * by. A line is read before its place is written, so that a result may be an input's memory. */
#ifndef NNFAST_ELEMENTS_H
#define NNFAST_ELEMENTS_H

#include "streaming.h"

/* A loop that becomes vector code as it stands: its steps are independent of one another, and not unrolled before. */
#if defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define INDEPENDENT _Pragma("GCC ivdep") _Pragma("GCC unroll 1")
#else
#define INDEPENDENT
#endif

enum { GROUP = 4 * LANES }; /* elements of so many vectors that they hide each other's latency */

typedef struct {
    const float *a, *b, *c; /* inputs, of which only the first must be there */
    float p, q, r;          /* numbers that all elements share */
    const float *by[4];     /* numbers that belong to places, up to a multiple of LINE; see columns.h */
} inputs_t;

typedef float (*element_t)(const inputs_t *in, int64_t i);

/* The results of a line whose first element is i. */
INLINE void compute_line(const element_t f, const inputs_t *in, int64_t i, float *line) {
    INDEPENDENT for (int j = 0; j < LINE; j++) line[j] = f(in, i + j);
}

/* y[i] = f(in, i) for i below `count`, where `inputs` are there; `around` the caches if y may be so written, see
 * `streams`. Behind the end, f is computed of zeros. */
INLINE void map_elements(const element_t f, const int inputs, const inputs_t in, float *y, int around, int64_t count) {
    float ALIGNED line[LINE], ALIGNED last[3][LINE];
    int64_t i = 0;
    for (; i + LINE <= count; i += LINE) {
        fetch(in.a + i + AHEAD);
        if (inputs > 1) fetch(in.b + i + AHEAD);
        if (inputs > 2) fetch(in.c + i + AHEAD);
        compute_line(f, &in, i, line);
        UNROLL for (int j = 0; j < LINE; j += LANES) put(y + i + j, load(line + j), around);
    }
    if (i == count) return;
    inputs_t part = {.a = last[0], .b = last[1], .c = last[2], .p = in.p, .q = in.q, .r = in.r};
    for (int k = 0; k < 4; k++) part.by[k] = in.by[k] + i;
    UNROLL for (int j = 0; j < LINE; j += LANES) {
        store(last[0] + j, load_part(in.a + i + j, count - i - j));
        if (inputs > 1) store(last[1] + j, load_part(in.b + i + j, count - i - j));
        if (inputs > 2) store(last[2] + j, load_part(in.c + i + j, count - i - j));
    }
    compute_line(f, &part, 0, line);
    UNROLL for (int j = 0; j < LINE; j += LANES) store_part(y + i + j, load(line + j), count - i - j);
}

/* Elements [first, last) of an array of `size`. */
INLINE void map_one(const element_t f, const float *a, float p, float q, float *y, int64_t size, int64_t first,
                    int64_t last) {
    const inputs_t in = {.a = a + first, .p = p, .q = q};
    map_elements(f, 1, in, y + first, streams(y, size, LINE), last - first);
}

INLINE void map_two(const element_t f, const float *a, const float *b, float p, float q, float *y, int64_t size,
                    int64_t first, int64_t last) {
    const inputs_t in = {.a = a + first, .b = b + first, .p = p, .q = q};
    map_elements(f, 2, in, y + first, streams(y, size, LINE), last - first);
}

#endif
