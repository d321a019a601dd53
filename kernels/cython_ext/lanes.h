/* Sum and maximum of contiguous float32. Rounding makes the order of a sum part of its result, so a compiler may not
 * make a plain loop parallel; sixteen independent partial results it keeps in vector registers. */
#ifndef NNFAST_LANES_H
#define NNFAST_LANES_H

#include <math.h>
#include <stdint.h>

enum { LANES = 16 };

/* The sum, in float32: for at most a few hundred elements. */
static inline float sum_floats(const float *x, int64_t count) {
    float lane[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (int j = 0; j < LANES; j++) lane[j] += x[i + j];
    for (int j = 0; i + j < count; j++) lane[j] += x[i + j];
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int j = 0; j < width; j++) lane[j] += lane[j + width];
    return lane[0];
}

/* The largest element that is not NaN, -inf if there is none. */
static inline float max_floats(const float *x, int64_t count) {
    const float lowest = -INFINITY;
    float lane[LANES], largest = lowest;
    int64_t i = 0;
    for (int j = 0; j < LANES; j++) lane[j] = lowest;
    for (; i + LANES <= count; i += LANES)
        for (int j = 0; j < LANES; j++) lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
    for (; i < count; i++) largest = x[i] > largest ? x[i] : largest;
    for (int j = 0; j < LANES; j++) largest = lane[j] > largest ? lane[j] : largest;
    return largest;
}

#endif
