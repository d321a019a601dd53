/* Results that are too large for the caches are written around them, and what is read is asked for ahead. */
#ifndef NNFAST_STREAMING_H
#define NNFAST_STREAMING_H

#include "vector.h"

enum {
    LINE = 16,   /* float32 of a cache line */
    AHEAD = 2048 /* float32 between what is read and what is fetched: the hardware's prefetch ends with a page */
};

/* Write a vector, `around` the caches or not. */
INLINE void put(float *p, vec value, int around) {
    if (around) stream(p, value);
    else store(p, value);
}

/* Write a tile around the caches, to memory that is aligned. */
INLINE void stream_tile(const float *tile, float *target, int64_t count) {
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES) stream(target + i, load(tile + i));
    if (i < count) store_part(target + i, load_part(tile + i, count - i), count - i);
}

#endif
