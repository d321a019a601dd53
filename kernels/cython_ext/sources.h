/* What convolutions do to pixels that they read, and to pixels that they have written; see kernels/fused.py.
 *
 * A pointer that is NULL says that there is no such thing; plain convolutions have none of them. */
#ifndef NNFAST_SOURCES_H
#define NNFAST_SOURCES_H

#include <stddef.h>

#include "fusion.h"
#include "vector.h"

enum { SUMMED = 128 }; /* pixels that are added in float32 before their sum is added in double */

/* An image that is read: activation(x * scale + shift), or slope * x + factor * z + offset. */
typedef struct {
    const float *x;
    const float *scale, *shift;
    int64_t activation;
    const float *z, *slope, *factor, *offset;
} source_t;

/* Pixels as they are. */
INLINE source_t unchanged(const float *x) { return (source_t){.x = x}; }

/* An image as its activation; x * scale + shift before, if it is `scaled`. */
INLINE source_t activated(const float *x, const float *scale, const float *shift, int scaled, int64_t activation) {
    source_t source = {.x = x, .activation = activation};
    if (scaled) source.scale = scale, source.shift = shift;
    return source;
}

/* A gradient as slope * dy + factor * z + offset, if it is `changed`. */
INLINE source_t composed(const float *dy, const float *z, const float *slope, const float *factor, const float *offset,
                         int changed) {
    source_t source = {.x = dy};
    if (changed) source.z = z, source.slope = slope, source.factor = factor, source.offset = offset;
    return source;
}

/* What becomes of an image that was written, y: it is masked by the derivative of the activation at x * scale + shift,
 * and sums of y and y * (x - centre) are added to the two rows of `sums`; of y - centre and its square without an x. */
typedef struct {
    const float *x;
    const float *scale, *shift;
    int64_t activation;
    const float *centre;
    double *sums;
} finish_t;

/* Only the sums, if there are any. */
INLINE finish_t summed(const float *centre, double *sums) { return (finish_t){.centre = centre, .sums = sums}; }

INLINE finish_t finished(const float *x, const float *scale, const float *shift, int scaled, int64_t activation,
                         const float *centre, double *sums) {
    finish_t finish = {.x = x, .activation = activation, .centre = centre, .sums = sums};
    if (scaled) finish.scale = scale, finish.shift = shift;
    return finish;
}

INLINE int changes(const source_t *source) { return source->scale || source->activation || source->z; }
INLINE int finishes(const finish_t *finish) { return finish->sums || finish->activation; }

/* NaN stays. */
INLINE vec activate(vec value, int64_t activation) {
    if (activation) value = greater((vec){0}, value);
    if (activation == RELU6) value = less(splat(6.0f), value);
    return value;
}

INLINE vec passing(vec gradient, vec before, int64_t activation) {
    if (activation) gradient = where(before > (vec){0}, gradient, (vec){0});
    if (activation == RELU6) gradient = where(before < splat(6.0f), gradient, (vec){0});
    return gradient;
}

/* Pixels of a source from element `start` on, as they are to be read, into memory of their own. */
static inline void load_pixels(const source_t *source, int64_t start, float *restrict target, int64_t pixels,
                               int64_t channels) {
    const float *x = source->x + start;
    if (!changes(source)) {
        memcpy(target, x, pixels * channels * sizeof(float));
        return;
    }
    for (int64_t c = 0; c < channels; c += LANES) {
        int64_t count = channels - c;
        if (source->z) {
            const vec slope = load_part(source->slope + c, count), factor = load_part(source->factor + c, count);
            const vec offset = load_part(source->offset + c, count);
            for (int64_t i = c; i < pixels * channels; i += channels) {
                vec z = load_part(source->z + start + i, count);
                store_part(target + i, slope * load_part(x + i, count) + (factor * z + offset), count);
            }
        } else {
            const vec one = splat(1.0f);
            const vec scale = source->scale ? load_part(source->scale + c, count) : one;
            const vec shift = source->scale ? load_part(source->shift + c, count) : (vec){0};
            for (int64_t i = c; i < pixels * channels; i += channels) {
                vec value = load_part(x + i, count);
                if (source->scale) value = value * scale + shift;
                store_part(target + i, activate(value, source->activation), count);
            }
        }
    }
}

INLINE void add_to_doubles(double *sums, vec value, int64_t count) {
    float numbers[LANES];
    store(numbers, value);
    for (int64_t i = 0; i < at_most(count, LANES); i++) sums[i] += numbers[i];
}

/* Finish a run of pixels of y, an image like x of which `start` elements stand before them. */
static inline void finish_pixels(const finish_t *finish, float *y, int64_t start, int64_t pixels, int64_t channels) {
    if (!finishes(finish)) return;
    for (int64_t first = 0; first < pixels; first += SUMMED) {
        const int64_t stop = at_most(pixels, first + SUMMED) * channels;
        for (int64_t c = 0; c < channels; c += LANES) {
            const int64_t count = channels - c;
            const vec centre = finish->sums ? load_part(finish->centre + c, count) : (vec){0};
            const vec scale = finish->scale ? load_part(finish->scale + c, count) : splat(1.0f);
            const vec shift = finish->scale ? load_part(finish->shift + c, count) : (vec){0};
            vec sum = {0}, products = {0};
            for (int64_t i = first * channels + c; i < stop; i += channels) {
                vec value = load_part(y + i, count), u, v;
                if (finish->x) {
                    vec x = load_part(finish->x + start + i, count);
                    u = passing(value, finish->scale ? x * scale + shift : x, finish->activation);
                    v = x - centre;
                    if (finish->activation) store_part(y + i, u, count);
                } else {
                    u = v = value - centre;
                }
                sum += u;
                products += u * v;
            }
            if (finish->sums) {
                add_to_doubles(finish->sums + c, sum, count);
                add_to_doubles(finish->sums + channels + c, products, count);
            }
        }
    }
}

#endif
