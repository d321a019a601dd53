/* Matrix product of one task: C (+)= A B, blocked for registers and L2; for x86-64 in three versions of one source.
 *
 * A is read element by element through two strides, so that it may be transposed; rows of B and C are contiguous.
 * Nothing is packed but the last columns of B where they do not fill a vector.
 */
#ifndef NNFAST_GEMM_H
#define NNFAST_GEMM_H

#include <stdint.h>

typedef void (*gemm_t)(int64_t m, int64_t n, int64_t depth, const float *a, int64_t a_row, int64_t a_depth,
                       const float *b, int64_t b_row, float *c, int64_t c_row, int accumulate);

#define GEMM_DEPTH 256 /* rows of B that stay in L1 while all rows of A pass */

#define GEMM_JOIN_(name, suffix) name##suffix
#define GEMM_JOIN(name, suffix) GEMM_JOIN_(name, suffix)

#if defined(__GNUC__) && defined(__x86_64__)

#define GEMM_SUFFIX _avx512
#define GEMM_TARGET __attribute__((target("avx512f,fma")))
#define GEMM_LANES 16
#define GEMM_ROWS 14
#include "gemm_body.h"

#define GEMM_SUFFIX _avx2
#define GEMM_TARGET __attribute__((target("avx2,fma")))
#define GEMM_LANES 8
#define GEMM_ROWS 6
#include "gemm_body.h"

#endif

#define GEMM_SUFFIX _baseline
#define GEMM_TARGET
#define GEMM_LANES 4
#define GEMM_ROWS 6
#include "gemm_body.h"

/* The version for this processor. */
static gemm_t gemm_for_host(void) {
#if defined(__GNUC__) && defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) return gemm_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return gemm_avx2;
#endif
    return gemm_baseline;
}

#endif
