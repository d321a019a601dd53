/* What a depthwise convolution loads and stores, one vector of channels at a time: memory as it stands, or on the way
 * what kernels/fused.py says, in registers. Which of them is a constant, and so is whether a vector is partial.
 * Pointers to what is absent are NULL. */
#ifndef NNFAST_DEPTHWISE_VECTORS_H
#define NNFAST_DEPTHWISE_VECTORS_H

#include <math.h>
#include <stddef.h>

#include "fusion.h"
#include "vector.h"

enum { PLAIN, FORWARD, BACKWARD }; /* no fusion, that of images and their results, or that of gradients */

/* Images to be read: activation(pixels * scale + shift), or gradients: scale * pixels + factor * z + shift. */
typedef struct {
    const float *pixels;
    int64_t rows, columns, channels;
    const float *scale, *shift, *z, *factor;
    int64_t activation;
} images_t;

/* Images to be written, `around` the caches if they are large. Two rows of sums: forward of y - centre and its square;
 * backward of dx, which is 0 where the activation does not pass x * scale + shift, and dx * (x - centre). */
typedef struct {
    float *pixels;
    int64_t rows, columns, channels;
    int64_t around;
    const float *x, *scale, *shift, *centre;
    double *sums;
    int64_t activation;
} results_t;

/* The n-th image of a batch. */
INLINE images_t image_of(images_t batch, int64_t n) {
    int64_t offset = n * batch.rows * batch.columns * batch.channels;
    batch.pixels += offset;
    if (batch.z != NULL) batch.z += offset;
    return batch;
}

INLINE results_t result_of(results_t batch, int64_t n) {
    int64_t offset = n * batch.rows * batch.columns * batch.channels;
    batch.pixels += offset;
    if (batch.x != NULL) batch.x += offset;
    return batch;
}

INLINE int inside(int64_t index, int64_t limit) { return (uint64_t)index < (uint64_t)limit; }

/* A vector of channels of which `count` are there. */
INLINE vec load_some(const int partial, const float *p, int64_t count) { return partial ? load_part(p, count) : load(p); }

INLINE vec load_or(const int partial, const float *p, int64_t channel, int64_t count, float otherwise) {
    return p == NULL ? splat(otherwise) : load_some(partial, p + channel, count);
}

/* The channels that images are read by. AVX-512 reads whole vectors with a mask, too: plain loads make processors fetch
 * what stands beside a pixel's line and beyond, which takes a third of the bandwidth from what is fetched here. */
INLINE part_t lanes_to_read(int64_t count) {
    part_t lanes = part_of(count);
#if LANES == 16
    __asm__("" : "+Yk"(lanes)); /* the compiler does not see that it has all lanes */
#endif
    return lanes;
}

INLINE vec load_vector(const int partial, const float *p, part_t lanes) {
    return partial || LANES == 16 ? load_lanes(p, lanes) : load(p);
}

/* ---------------------------------------------------------------- loads */

/* A vector of channels of an image; offsets count from its first pixel. */
typedef struct {
    const float *pixels, *z;
    part_t lanes;
    vec scale, shift, factor, low, high;
} reader_t;

INLINE reader_t reader(const int form, const int partial, const images_t *image, int64_t channel) {
    const int64_t count = image->channels - channel;
    reader_t from = {.pixels = image->pixels + channel, .z = NULL, .lanes = lanes_to_read(count)};
    if (form != PLAIN) {
        from.scale = load_or(partial, image->scale, channel, count, 1.0f);
        from.shift = load_or(partial, image->shift, channel, count, 0.0f);
    }
    if (form == FORWARD) {
        from.low = splat(image->activation ? 0.0f : -INFINITY);
        from.high = splat(image->activation == RELU6 ? 6.0f : INFINITY);
    }
    if (form == BACKWARD && image->z != NULL) {
        from.z = image->z + channel;
        from.factor = load_some(partial, image->factor + channel, count);
    }
    return from;
}

INLINE vec load_from(const int form, const int partial, const reader_t *from, int64_t offset) {
    vec value = load_vector(partial, from->pixels + offset, from->lanes);
    if (form == PLAIN) return value;
    value = value * from->scale + from->shift;
    if (form == FORWARD) return clamp(value, from->low, from->high);
    if (from->z != NULL) value += from->factor * load_vector(partial, from->z + offset, from->lanes);
    return value;
}

/* Rows that the next stretch reads, `rows` of them as they stand in memory, are fetched line by line while one is
 * passed: each vector of channels has its share. A pass takes one line out of each pixel, in an order that processors
 * do not foresee. The offset is that of the share. */
INLINE int64_t share_ahead(const images_t *image, int64_t first, int64_t rows, int64_t channel) {
    return first * image->columns * image->channels + channel * (rows * image->columns - 1);
}

INLINE void fetch_from(const int form, const reader_t *from, int64_t offset) {
    fetch(from->pixels + offset);
    if (form == BACKWARD && from->z != NULL) fetch(from->z + offset);
}

/* ---------------------------------------------------------------- stores */

typedef struct {
    float *pixels;
    const float *x;
    int64_t count, around, activation;
    part_t lanes;
    vec scale, shift, high, centre, first, second;
} writer_t;

INLINE writer_t writer(const int form, const int partial, const results_t *result, int64_t channel) {
    writer_t to = {.pixels = result->pixels + channel, .x = NULL, .count = result->channels - channel};
    to.lanes = lanes_to_read(to.count);
    to.around = LANES == 16 && !partial && result->around; /* parts of lines are not worth it: the rest comes later */
    if (form == PLAIN) return to;
    to.first = to.second = (vec){0};
    to.centre = load_or(partial, result->centre, channel, to.count, 0.0f);
    if (form == BACKWARD) {
        to.x = result->x == NULL ? NULL : result->x + channel;
        to.activation = result->activation;
        to.high = splat(result->activation == RELU6 ? 6.0f : NAN);
        to.scale = load_or(partial, result->scale, channel, to.count, 1.0f);
        to.shift = load_or(partial, result->shift, channel, to.count, 0.0f);
    }
    return to;
}

INLINE void store_to(const int form, const int partial, writer_t *to, int64_t offset, vec value) {
    vec deviation = {0};
    if (form == BACKWARD && to->x != NULL) {
        vec x = load_vector(partial, to->x + offset, to->lanes), before = x * to->scale + to->shift;
        if (to->activation) value = where_between(before, (vec){0}, to->high, value);
        deviation = x - to->centre;
    }
    if (partial) store_lanes(to->pixels + offset, value, to->lanes);
    else if (to->around) stream(to->pixels + offset, value);
    else store(to->pixels + offset, value);
    if (form == FORWARD) {
        deviation = value - to->centre;
        to->first += deviation;
        to->second += deviation * deviation;
    }
    if (form == BACKWARD) {
        to->first += value;
        to->second += value * deviation;
    }
}

INLINE void fetch_to(const int form, const writer_t *to, int64_t offset) {
    if (!to->around) fetch_to_write(to->pixels + offset);
    if (form == BACKWARD && to->x != NULL) fetch(to->x + offset);
}

INLINE void add_to_doubles(double *sums, vec value, int64_t count) {
    float numbers[LANES];
    store(numbers, value);
    for (int i = 0; i < LANES; i++)
        if (i < count) sums[i] += numbers[i];
}

/* At the end of a stretch: its sums, in float32, are added to those of the task. */
INLINE void finish(const int form, const writer_t *to, const results_t *result, int64_t channel) {
    if (form == PLAIN || result->sums == NULL) return;
    add_to_doubles(result->sums + channel, to->first, to->count);
    add_to_doubles(result->sums + result->channels + channel, to->second, to->count);
}

#endif
