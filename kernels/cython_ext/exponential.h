/* Exponential, logarithm, sigmoid and tanh of one float32, free of branches and calls, so that a loop over them becomes
 * vector code with any instruction set. Normal results are within 2 units in the last place.
 *
 * Polynomials: S. L. Moshier, Cephes mathematical library, single precision (expf.c, logf.c, tanhf.c).
 * Bits are moved by memcpy, the one cast that C defines; compilers make it a register move. */
#ifndef NNFAST_EXPONENTIAL_H
#define NNFAST_EXPONENTIAL_H

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline float float_of_bits(int32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline int32_t bits_of_float(float value) {
    int32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* e**r - 1 for x = n ln 2 + r with the smallest |r|; n is left in the low bits of `shifted`, added to what stands in
 * those of `round`. */
static inline float split_exponent(float x, float round, float *shifted) {
    *shifted = x * 1.44269504088896341f + round;
    float n = *shifted - round;
    float r = x - n * 0.693359375f; /* ln 2 in two parts, the first short enough that the product is exact */
    r = r + n * 2.12194440e-4f;
    float z = r * r; /* the polynomial in pairs: one step after the other, it would mostly wait */
    float p = (1.9875691500e-4f * r + 1.3981999507e-3f) * z + (8.3334519073e-3f * r + 4.1665795894e-2f);
    p = p * z + (1.6666665459e-1f * r + 5.0000001201e-1f);
    return p * z + r;
}

#define ROUND 12582912.0f      /* 1.5 * 2**23: what is added to it is rounded to an integer in its low bits */
#define EXP_LOW -87.33654f     /* e**x is a normal number from here */
#define EXP_HIGH 88.72283f     /* to here */

/* e**x: inf above 88.72, 0 where the result is no normal number, as workers flush these, NaN for NaN. */
static inline float exp_float(float x) {
    float shifted, one_less = split_exponent(x, ROUND, &shifted);
    /* Unsigned, for with NaN the bits are anything and a signed sum would overflow. */
    uint32_t bits = (uint32_t)bits_of_float(one_less + 1.0f) + ((uint32_t)bits_of_float(shifted) << 23);
    float y = x <= EXP_HIGH ? float_of_bits((int32_t)bits) : x * (float)INFINITY; /* that is NaN for NaN */
    return x < EXP_LOW ? 0.0f : y;
}

/* e**x of x up to 88, or NaN, in fewer steps: of a logarithm of a probability, for example. */
static inline float exp_bounded(float x) {
    float shifted, one_less = split_exponent(x, ROUND + 127.0f, &shifted);
    float power = float_of_bits((int32_t)((uint32_t)bits_of_float(shifted) << 23));
    float y = (one_less + 1.0f) * power;
    return x < EXP_LOW ? 0.0f : y;
}

/* ln x: -inf for 0, NaN below 0 and for NaN. x = 2**n m with m in [sqrt(1/2), sqrt(2)); ln m is a polynomial in m - 1.
 * Only integers see x until it is normal: in workers, which flush denormals, x < 1.2e-38 would compare equal to 0. */
static inline float log_float(float x) {
    int32_t bits = bits_of_float(x);
    int32_t small = bits < 0x00800000; /* denormal, zero or negative; a denormal's bits count units of 2**-149 */
    int32_t normal = small ? bits_of_float((float)bits) : bits;
    int32_t above = normal - 0x3F3504F3; /* sqrt(1/2) */
    float n = (float)((above >> 23) - (small ? 149 : 0));
    float m = float_of_bits((above & 0x007FFFFF) + 0x3F3504F3);
    float f = m - 1.0f;
    float p = 7.0376836292e-2f;
    p = p * f - 1.1514610310e-1f;
    p = p * f + 1.1676998740e-1f;
    p = p * f - 1.2420140846e-1f;
    p = p * f + 1.4249322787e-1f;
    p = p * f - 1.6668057665e-1f;
    p = p * f + 2.0000714765e-1f;
    p = p * f - 2.4999993993e-1f;
    p = p * f + 3.3333331174e-1f;
    float z = f * f;
    float y = p * f * z - n * 2.12194440e-4f - 0.5f * z;
    y = (f + y) + n * 0.693359375f;
    y = x < (float)INFINITY ? y : x; /* infinity and NaN */
    float beyond = (bits & 0x7FFFFFFF) == 0 ? -(float)INFINITY : (float)NAN;
    return bits <= 0 ? beyond : y;
}

/* 1 / (1 + e**-x) */
static inline float sigmoid_float(float x) { return 1.0f / (1.0f + exp_float(-x)); }

/* tanh x: an odd polynomial below 0.625, where 1 - 2 / (e**2x + 1) would cancel. */
static inline float tanh_float(float x) {
    int32_t bits = bits_of_float(x);
    int32_t sign = bits & (int32_t)0x80000000u;
    float a = float_of_bits(bits & 0x7FFFFFFF);
    float z = a * a;
    float p = -5.70498872745e-3f;
    p = p * z + 2.06390887954e-2f;
    p = p * z - 5.37397155531e-2f;
    p = p * z + 1.33314422036e-1f;
    p = p * z - 3.33332819422e-1f;
    float near = p * z * a + a;
    float far = 1.0f - 2.0f / (exp_bounded(2.0f * (a > 10.0f ? 10.0f : a)) + 1.0f); /* 1 from 9.02 on */
    return float_of_bits(bits_of_float(a < 0.625f ? near : far) | sign);
}

#endif
