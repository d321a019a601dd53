/* Philox4x32-10 (Salmon, Moraes, Dror and Shaw 2011), several counters side by side in a vector. */
#ifndef NNFAST_PHILOX_H
#define NNFAST_PHILOX_H

#include "vector.h"

#if LANES > 1
enum { SIDE = LANES / 2 }; /* counters in a vector: their words stand in 64 bits, whose upper halves mean nothing */
typedef uint64_t words __attribute__((vector_size(4 * LANES)));
typedef uint64_t loose_words __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
#else
enum { SIDE = 1 };
typedef uint64_t words;
typedef uint64_t loose_words;
#endif
enum { CHAINS = 4, COUNTERS = CHAINS * SIDE, DRAWN = 4 * COUNTERS }; /* fewer chains would wait for their products */

/* Counters stand in an order from which `interleave`, which knows pieces of 128 bits, makes the order of memory. */
#if LANES == 16
static const words ORDER = {0, 4, 1, 5, 2, 6, 3, 7};
#elif LANES == 8
static const words ORDER = {0, 2, 1, 3};
#elif LANES == 4
static const words ORDER = {0, 1};
#else
static const words ORDER = 0;
#endif

/* The products of the lower halves. */
INLINE words products(words a, uint32_t factor) {
    const words b = factor - (words){0};
#if LANES == 16
    return (words)_mm512_mul_epu32((__m512i)a, (__m512i)b);
#elif LANES == 8
    return (words)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
    return (words)_mm_mul_epu32((__m128i)a, (__m128i)b);
#else
    return (a & 0xFFFFFFFF) * b;
#endif
}

/* Write a[0], b[0], a[1], b[1], ... in the order of memory. */
INLINE void interleave(words a, words b, float *target) {
#if LANES == 16
    *(loose_words *)target = (words)_mm512_unpacklo_epi64((__m512i)a, (__m512i)b);
    *(loose_words *)(target + LANES) = (words)_mm512_unpackhi_epi64((__m512i)a, (__m512i)b);
#elif LANES == 8
    *(loose_words *)target = (words)_mm256_unpacklo_epi64((__m256i)a, (__m256i)b);
    *(loose_words *)(target + LANES) = (words)_mm256_unpackhi_epi64((__m256i)a, (__m256i)b);
#else
    uint64_t left[SIDE], right[SIDE];
    memcpy(left, &a, sizeof left);
    memcpy(right, &b, sizeof right);
    for (int i = 0; i < SIDE; i++) {
        memcpy(target + 4 * i, left + i, sizeof *left);
        memcpy(target + 4 * i + 2, right + i, sizeof *right);
    }
#endif
}

/* The words of blocks [first, first + COUNTERS), as the bits of float32: word k of block j is drawn[4 * j + k].
 * `seed` is the key and the stream, which is the upper half of the counter. The blocks' numbers have the same upper
 * halves. */
INLINE void draw(const uint64_t *seed, uint64_t first, float *drawn) {
    words c0[CHAINS], c1[CHAINS], c2[CHAINS], c3[CHAINS];
    UNROLL for (int i = 0; i < CHAINS; i++) {
        c0[i] = ORDER + (first + (uint64_t)(i * SIDE));
        c1[i] = (first >> 32) - (words){0};
        c2[i] = seed[1] - (words){0};
        c3[i] = (seed[1] >> 32) - (words){0};
    }
    uint32_t key0 = (uint32_t)seed[0], key1 = (uint32_t)(seed[0] >> 32);
    for (int round = 0; round < 10; round++) {
        UNROLL for (int i = 0; i < CHAINS; i++) {
            const words p0 = products(c0[i], 0xD2511F53), p1 = products(c2[i], 0xCD9E8D57);
            c0[i] = (p1 >> 32) ^ c1[i] ^ key0;
            c1[i] = p1;
            c2[i] = (p0 >> 32) ^ c3[i] ^ key1;
            c3[i] = p0;
        }
        key0 += 0x9E3779B9;
        key1 += 0xBB67AE85;
    }
    UNROLL for (int i = 0; i < CHAINS; i++)
        interleave((c0[i] & 0xFFFFFFFF) | (c1[i] << 32), (c2[i] & 0xFFFFFFFF) | (c3[i] << 32),
                   drawn + 4 * SIDE * i);
}

#endif
