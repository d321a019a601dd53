/* x**e of float32, free of branches and calls: 2**(e log2 |x|) in double, rounded once, then the sign.
 *
 * Within 0.503 units in the last place. What follows from the exponent alone stands outside of loops. */
#ifndef NNFAST_POWER_H
#define NNFAST_POWER_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "exponential.h"

typedef struct {
    double number;
    int32_t sign;  /* the sign's bit where the power of a negative number is negative */
    int32_t whole; /* whether a negative number has a power */
} exponent_t;

/* Whether `power_float` knows the exponent: it is finite and not 0. */
static inline int is_ordinary(float exponent) { return exponent != 0.0f && exponent - exponent == 0.0f; }

static inline exponent_t exponent_of(float exponent) {
    exponent_t of = {.number = exponent, .whole = truncf(exponent) == exponent};
    of.sign = of.whole && fmodf(exponent, 2.0f) != 0.0f ? (int32_t)0x80000000u : 0;
    return of;
}

/* log2 x of x >= 0, with all that a product needs of 0, infinity and NaN. x = 2**n m with m in [sqrt(1/2), sqrt(2)),
 * and log2 m is a series in (m - 1) / (m + 1). A denormal number's bits count units of 2**-149. */
static inline double log2_double(float x) {
    int32_t bits = bits_of_float(x);
    int32_t small = bits < 0x00800000;
    int32_t above = (small ? bits_of_float((float)bits) : bits) - 0x3F3504F3; /* sqrt(1/2) */
    double n = (double)((above >> 23) - (small ? 149 : 0));
    double m = (double)float_of_bits((above & 0x007FFFFF) + 0x3F3504F3);
    double s = (m - 1.0) / (m + 1.0), z = s * s;
    double p = 1.0 / 13.0;
    p = p * z + 1.0 / 11.0;
    p = p * z + 1.0 / 9.0;
    p = p * z + 1.0 / 7.0;
    p = p * z + 1.0 / 5.0;
    p = p * z + 1.0 / 3.0;
    p = p * z + 1.0;
    double log = p * s * 2.8853900817779268147 + n; /* 2 / ln 2 */
    log = bits == 0 ? -(double)INFINITY : log;
    return bits >= 0x7F800000 ? (double)x : log;
}

/* 2**x: 0 and infinity where float32 ends. */
static inline float exp2_float(double x) {
    const double round = 6755399441055744.0; /* 1.5 * 2**52: see exp_float */
    x = x > 300.0 ? 300.0 : x;
    x = x < -300.0 ? -300.0 : x;
    double shifted = x + round;
    double r = (x - (shifted - round)) * 0.69314718055994530942;
    double p = 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    uint64_t number, whole;
    memcpy(&number, &p, sizeof number);
    memcpy(&whole, &shifted, sizeof whole);
    number += whole << 52; /* n more in the exponent */
    memcpy(&p, &number, sizeof p);
    return (float)p;
}

static inline float power_float(float x, exponent_t e) {
    int32_t bits = bits_of_float(x), size = bits & 0x7FFFFFFF;
    int32_t power = bits_of_float(exp2_float(e.number * log2_double(float_of_bits(size)))) | (bits & e.sign);
    int32_t none = (bits < 0) & (size != 0) & (size < 0x7F800000) & !e.whole;
    return size > 0x7F800000 ? x : float_of_bits(none ? 0x7FC00000 : power);
}

#endif
