/* The loop of kernels that compute element by element.
 *
 * What an element becomes is an inline function, a constant argument of `map_elements`, whose plain loop the compiler
 * turns into vector code. A chunk of results that pass the caches by stands on the stack first. An element is read
 * before its place is written, so that a result may be an input's memory. */
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

typedef struct {
    const float *a, *b;    /* inputs; b may be absent */
    float p, q;            /* numbers that all elements share */
    const float *by[4];    /* numbers of each column, for chunks that are lines of a matrix */
} inputs_t;

typedef float (*element_t)(const inputs_t *in, int64_t i);

/* y[i] = f(in, i) for i below `count`, `around` the caches if y may be so written; see `streams`. */
INLINE void map_elements(const element_t f, const int inputs, const inputs_t in, float *y, int around, int64_t count) {
    int64_t i = 0;
    for (; i + LINE <= count; i += LINE) {
        float ALIGNED line[LINE];
        fetch(in.a + i + AHEAD);
        if (inputs > 1) fetch(in.b + i + AHEAD);
        INDEPENDENT for (int j = 0; j < LINE; j++) line[j] = f(&in, i + j);
        UNROLL for (int j = 0; j < LINE; j += LANES) put(y + i + j, load(line + j), around);
    }
    INDEPENDENT for (; i < count; i++) y[i] = f(&in, i);
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
