/* Vectors of as many float32 as the registers hold for which this file is compiled.
 *
 * GCC's and Clang's vector types have the operators of C; other compilers get vectors of one number. A part of a vector
 * touches no memory outside of it. */
#ifndef NNFAST_VECTOR_H
#define NNFAST_VECTOR_H

#include <stdint.h>
#include <string.h>

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 64")
#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif
typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));
typedef float loose __attribute__((vector_size(4 * LANES), aligned(4), may_alias)); /* anywhere in memory */
#else
#define INLINE static inline
#define UNROLL
#define LANES 1
typedef float vec;
typedef int32_t ints;
typedef float loose;
#endif

#if defined(__AVX2__)
#include <immintrin.h>
#endif

INLINE vec load(const float *p) { return *(const loose *)p; }
INLINE void store(float *p, vec value) { *(loose *)p = value; }
INLINE vec splat(float number) { return number - (vec){0}; } /* minus: 0 + -0 would lose the sign */
INLINE int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }

/* The first `count` lanes from memory, zeros in the others; all of them if there are so many. */
INLINE vec load_part(const float *p, int64_t count) {
#if LANES == 16
    __mmask16 first = count >= 16 ? 0xFFFF : count <= 0 ? 0 : _bzhi_u32(0xFFFF, (uint32_t)count);
    return (vec)_mm512_maskz_loadu_ps(first, p);
#elif LANES == 8
    int32_t some = (int32_t)(count > 8 ? 8 : count);
    __m256i first = _mm256_cmpgt_epi32(_mm256_set1_epi32(some), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    return (vec)_mm256_maskload_ps(p, first);
#else
    float numbers[LANES] = {0};
    for (int i = 0; i < LANES; i++)
        if (i < count) numbers[i] = p[i];
    return load(numbers);
#endif
}

/* Write the first `count` lanes; all of them if there are so many. */
INLINE void store_part(float *p, vec value, int64_t count) {
#if LANES == 16
    __mmask16 first = count >= 16 ? 0xFFFF : count <= 0 ? 0 : _bzhi_u32(0xFFFF, (uint32_t)count);
    _mm512_mask_storeu_ps(p, first, (__m512)value);
#elif LANES == 8
    int32_t some = (int32_t)(count > 8 ? 8 : count);
    __m256i first = _mm256_cmpgt_epi32(_mm256_set1_epi32(some), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    _mm256_maskstore_ps(p, first, (__m256)value);
#else
    float numbers[LANES];
    store(numbers, value);
    for (int i = 0; i < LANES; i++)
        if (i < count) p[i] = numbers[i];
#endif
}

/* Begin to bring a cache line nearer; the address may lie outside of any array. */
INLINE void fetch(const float *p) {
#if defined(__GNUC__)
    __builtin_prefetch(p, 0, 3);
#endif
}

/* The same pointer; the compiler does not see that, and keeps no register for each address that follows from it. */
INLINE const float *opaque(const float *p) {
#if defined(__GNUC__)
    __asm__("" : "+r"(p));
#endif
    return p;
}

#endif
