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
#define APART static __attribute__((noinline)) /* a function that has the registers for itself */
#define LIKELY(condition) __builtin_expect(!!(condition), 1)
#define ALIGNED __attribute__((aligned(64)))
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
#define APART static
#define LIKELY(condition) (condition)
#define ALIGNED
#define LANES 1
typedef float vec;
typedef int32_t ints;
typedef float loose;
#endif

#if defined(__SSE2__)
#include <immintrin.h>
#endif

INLINE vec load(const float *p) { return *(const loose *)p; }
INLINE void store(float *p, vec value) { *(loose *)p = value; }
INLINE vec splat(float number) { return number - (vec){0}; } /* minus: 0 + -0 would lose the sign */
INLINE int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }

/* Lanes of a where a comparison of vectors holds, of b elsewhere. */
INLINE vec where(ints holds, vec a, vec b) {
#if LANES == 1
    return holds ? a : b;
#else
    return (vec)((holds & (ints)a) | (~holds & (ints)b));
#endif
}

/* a where it is greater, else b; b too where one of them is NaN. */
INLINE vec greater(vec a, vec b) {
#if LANES == 16
    return (vec)_mm512_max_ps((__m512)a, (__m512)b);
#elif LANES == 8
    return (vec)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
    return (vec)_mm_max_ps((__m128)a, (__m128)b);
#else
    return where(a > b, a, b);
#endif
}

/* a where it is less, else b; b too where one of them is NaN. */
INLINE vec less(vec a, vec b) {
#if LANES == 16
    return (vec)_mm512_min_ps((__m512)a, (__m512)b);
#elif LANES == 8
    return (vec)_mm256_min_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
    return (vec)_mm_min_ps((__m128)a, (__m128)b);
#else
    return where(a < b, a, b);
#endif
}

/* The first lanes of a vector: a mask where there are masks, else their number. */
#if LANES == 16
typedef __mmask16 part_t;
#elif LANES == 8
typedef __m256i part_t;
#else
typedef int64_t part_t;
#endif

/* The first `count` lanes; all of them if there are so many. */
INLINE part_t part_of(int64_t count) {
#if LANES == 16
    return count >= 16 ? 0xFFFF : count <= 0 ? 0 : _bzhi_u32(0xFFFF, (uint32_t)count);
#elif LANES == 8
    int32_t some = (int32_t)(count > 8 ? 8 : count);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(some), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
#else
    return count;
#endif
}

/* The lanes of a part from memory, zeros in the others. */
INLINE vec load_lanes(const float *p, part_t part) {
#if LANES == 16
    return (vec)_mm512_maskz_loadu_ps(part, p);
#elif LANES == 8
    return (vec)_mm256_maskload_ps(p, part);
#else
    float numbers[LANES] = {0};
    for (int i = 0; i < LANES; i++)
        if (i < part) numbers[i] = p[i];
    return load(numbers);
#endif
}

/* Write the lanes of a part. */
INLINE void store_lanes(float *p, vec value, part_t part) {
#if LANES == 16
    _mm512_mask_storeu_ps(p, part, (__m512)value);
#elif LANES == 8
    _mm256_maskstore_ps(p, part, (__m256)value);
#else
    float numbers[LANES];
    store(numbers, value);
    for (int i = 0; i < LANES; i++)
        if (i < part) p[i] = numbers[i];
#endif
}

/* The first `count` lanes from memory, zeros in the others; all of them if there are so many. */
INLINE vec load_part(const float *p, int64_t count) { return load_lanes(p, part_of(count)); }

/* Write the first `count` lanes; all of them if there are so many. */
INLINE void store_part(float *p, vec value, int64_t count) { store_lanes(p, value, part_of(count)); }

/* Begin to bring a cache line nearer; the address may lie outside of any array. */
INLINE void fetch(const float *p) {
#if defined(__GNUC__)
    __builtin_prefetch(p, 0, 3);
#endif
}

/* The same for a line that will be written. */
INLINE void fetch_to_write(const float *p) {
#if defined(__GNUC__)
    __builtin_prefetch(p, 1, 3);
#endif
}

/* Write a whole vector around the caches, to a place that is a multiple of its size: its line is not read before. */
INLINE void stream(float *p, vec value) {
#if LANES == 16
    _mm512_stream_ps(p, (__m512)value);
#elif LANES == 8
    _mm256_stream_ps(p, (__m256)value);
#elif defined(__SSE2__)
    _mm_stream_ps(p, (__m128)value);
#else
    store(p, value);
#endif
}

/* Whether to write `size` numbers around the caches: they would not stay, half of a usual third cache, and rows of a
 * multiple of `multiple` are whole, aligned lines. On x86 such stores are not ordered among others; the executor's atomic
 * counters, by which other threads learn of a task's end, wait for them. */
INLINE int streams(const void *p, int64_t size, int64_t multiple) {
    return size >= 1 << 22 && multiple % 16 == 0 && (uintptr_t)p % 64 == 0;
}

/* The larger ones of `value` and `low`, and the smaller ones of `value` and `high`. NaN stays NaN. */
INLINE vec clamp(vec value, vec low, vec high) { return less(high, greater(low, value)); }

/* `value` where a > low and not a >= high, else 0: a high NaN is no limit. */
INLINE vec where_between(vec a, vec low, vec high, vec value) {
#if LANES == 16
    __mmask16 above = _mm512_cmp_ps_mask((__m512)a, (__m512)low, _CMP_GT_OQ);
    __mmask16 between = _mm512_mask_cmp_ps_mask(above, (__m512)a, (__m512)high, _CMP_NGE_UQ);
    return (vec)_mm512_maskz_mov_ps(between, (__m512)value);
#elif LANES == 1
    return a > low && !(a >= high) ? value : 0.0f;
#else
    return (vec)((ints)value & (a > low) & ~(a >= high));
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
