/* Sums and maxima along rows of float32. Rounding makes the order of a sum part of its result, so a compiler may not
 * make a plain loop parallel: terms are added in the lanes of vectors, runs of RUN terms at a time, and runs in
 * double. */
#ifndef NNFAST_ROWS_H
#define NNFAST_ROWS_H

#include <math.h>

#include "elements.h"
#include "exponential.h"

enum { RUN = 512 };

#if defined(__SSE2__)
INLINE __m128 joined(const int maxima, __m128 a, __m128 b) { return maxima ? _mm_max_ps(a, b) : _mm_add_ps(a, b); }
#endif

/* The sum of the lanes, or the largest of them. */
INLINE float join_lanes(const int maxima, vec value) {
#if defined(__SSE2__)
#if LANES == 16
    const __m256 left = _mm512_castps512_ps256((__m512)value), right = _mm512_extractf32x8_ps((__m512)value, 1);
    const __m256 half = maxima ? _mm256_max_ps(left, right) : _mm256_add_ps(left, right);
#elif LANES == 8
    const __m256 half = (__m256)value;
#endif
#if LANES > 4
    __m128 four = joined(maxima, _mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
#else
    __m128 four = (__m128)value;
#endif
    four = joined(maxima, four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(joined(maxima, four, _mm_shuffle_ps(four, four, 1)));
#else
    float lane[LANES];
    store(lane, value);
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int j = 0; j < width; j++) {
            const float other = lane[j + width];
            lane[j] = !maxima ? lane[j] + other : other > lane[j] ? other : lane[j];
        }
    return lane[0];
#endif
}

/* The sum of a, or of the products of a and b, of at most RUN elements. */
INLINE float sum_run(const int products, const float *a, const float *b, int64_t count) {
    vec sums[4] = {{0}, {0}, {0}, {0}};
    int64_t i = 0;
    for (; i + GROUP <= count; i += GROUP)
        UNROLL for (int j = 0; j < 4; j++) {
            const vec value = load(a + i + j * LANES);
            sums[j] += products ? value * load(b + i + j * LANES) : value;
        }
    for (; i < count; i += LANES) {
        const vec value = load_part(a + i, count - i);
        sums[0] += products ? value * load_part(b + i, count - i) : value;
    }
    return join_lanes(0, (sums[0] + sums[1]) + (sums[2] + sums[3]));
}

static inline double sum_row(const float *a, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i += RUN) sum += sum_run(0, a + i, a + i, at_most(count - i, RUN));
    return sum;
}

static inline double sum_products(const float *a, const float *b, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i += RUN) sum += sum_run(1, a + i, b + i, at_most(count - i, RUN));
    return sum;
}

/* The largest element; a NaN may be passed over. -inf if there is none. */
static inline float largest(const float *x, int64_t count) {
    const vec lowest = splat(-(float)INFINITY);
    vec best[4] = {lowest, lowest, lowest, lowest};
    int64_t i = 0;
    for (; i + GROUP <= count; i += GROUP)
        UNROLL for (int j = 0; j < 4; j++) best[j] = greater(load(x + i + j * LANES), best[j]);
    for (; i + LANES <= count; i += LANES) best[0] = greater(load(x + i), best[0]);
    if (i < count && count >= LANES) best[1] = greater(load(x + count - LANES), best[1]); /* some of them twice */
    float most = join_lanes(1, greater(greater(best[0], best[1]), greater(best[2], best[3])));
    if (count < LANES)
        for (; i < count; i++) most = x[i] > most ? x[i] : most;
    return most;
}

static inline float exponential(const inputs_t *of, int64_t i) { return exp_bounded(of->a[i] - of->p); }

/* The sum of e**(x - top) for x up to `top`; the terms go to `target` unless it is NULL. */
INLINE double sum_exponentials(const float *x, float top, float *target, int64_t count) {
    float ALIGNED line[LINE], ALIGNED last[LINE];
    inputs_t in = {.a = x, .p = top};
    double sum = 0;
    for (int64_t i = 0; i < count;) {
        vec sums[LINE / LANES] = {{0}};
        const int64_t stop = i + at_most(count - i, RUN);
        for (; i + LINE <= stop; i += LINE) {
            fetch(x + i + AHEAD);
            compute_line(exponential, &in, i, line);
            UNROLL for (int j = 0; j < LINE / LANES; j++) {
                sums[j] += load(line + j * LANES);
                if (target) store(target + i + j * LANES, load(line + j * LANES));
            }
        }
        if (i < stop) {
            UNROLL for (int j = 0; j < LINE; j += LANES) store(last + j, load_part(x + i + j, stop - i - j));
            in.a = last;
            compute_line(exponential, &in, 0, line);
            UNROLL for (int j = 0; j < LINE / LANES; j++) {
                const vec part = load_part(line + j * LANES, stop - i - j * LANES);
                sums[j] += part;
                if (target) store_part(target + i + j * LANES, part, stop - i - j * LANES);
            }
            i = stop;
        }
        for (int j = 0; j < LINE / LANES; j++) sum += join_lanes(0, sums[j]);
    }
    return sum;
}

/* The sum of weight * (log-sum-exp - x), no weight counting as 1. The log-sum-exp comes in two parts, for their sum
 * would be rounded: by 3e-5 if logits are near 1000. */
INLINE double sum_distances(const float *x, const float *weight, float top, float log_sum, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count;) {
        vec sums[2] = {{0}, {0}};
        const int64_t stop = i + at_most(count - i, RUN);
        for (; i + 2 * LANES <= stop; i += 2 * LANES)
            UNROLL for (int j = 0; j < 2; j++) {
                const vec value = (top - load(x + i + j * LANES)) + log_sum;
                sums[j] += weight ? value * load(weight + i + j * LANES) : value;
            }
        for (; i < stop; i += LANES) {
            float ALIGNED last[LANES];
            store(last, (top - load_part(x + i, stop - i)) + log_sum);
            const vec value = load_part(last, stop - i);
            sums[0] += weight ? value * load_part(weight + i, stop - i) : value;
        }
        i = stop;
        sum += join_lanes(0, sums[0] + sums[1]);
    }
    return sum;
}

#endif
