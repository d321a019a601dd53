# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Arithmetic. Task i handles elements [i * BLOCK, (i + 1) * BLOCK); see elements.h for the loop.

`copy_strided` and `increment` say themselves how they split.
"""
from libc.math cimport powf, sqrtf
from libc.stdint cimport int64_t
from libc.string cimport memcpy

include "elements.pxi"

cdef int64_t BLOCK
from ...blocking import BLOCK

cdef extern from "exponential.h" nogil:
    float exp_float(float x) noexcept
    float log_float(float x) noexcept

cdef extern from "power.h" nogil:
    ctypedef struct exponent_t:
        pass
    exponent_t exponent_of(float exponent) noexcept
    float power_float(float x, exponent_t exponent) noexcept
    bint is_ordinary(float exponent) noexcept


cdef struct Add:
    const float *a
    const float *b
    float *y
    int64_t SIZE
    double alpha


cdef inline float sum_of(const inputs_t *of, int64_t i) noexcept nogil:
    return of.a[i] + of.p * of.b[i]


cdef void add(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One multiplication and one sum an element."""
    cdef const Add *block = <const Add *> args
    map_two(sum_of, block.a, block.b, <float> block.alpha, 0, block.y, block.SIZE, begin * BLOCK,
            min(end * BLOCK, block.SIZE))


cdef struct Mul:
    const float *a
    const float *b
    float *y
    int64_t SIZE


cdef inline float product(const inputs_t *of, int64_t i) noexcept nogil:
    return of.a[i] * of.b[i]


cdef void mul(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One multiplication an element."""
    cdef const Mul *block = <const Mul *> args
    map_two(product, block.a, block.b, 0, 0, block.y, block.SIZE, begin * BLOCK, min(end * BLOCK, block.SIZE))


cdef struct Div:
    const float *a
    const float *b
    float *y
    int64_t SIZE


cdef inline float quotient(const inputs_t *of, int64_t i) noexcept nogil:
    return of.a[i] / of.b[i]


cdef void div(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One division an element."""
    cdef const Div *block = <const Div *> args
    map_two(quotient, block.a, block.b, 0, 0, block.y, block.SIZE, begin * BLOCK, min(end * BLOCK, block.SIZE))


cdef struct Scale:
    const float *x
    float *y
    int64_t SIZE
    double alpha
    double beta


cdef inline float scaled(const inputs_t *of, int64_t i) noexcept nogil:
    return of.p * of.a[i] + of.q


cdef void scale(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One multiplication and one sum an element."""
    cdef const Scale *a = <const Scale *> args
    map_one(scaled, a.x, <float> a.alpha, <float> a.beta, a.y, a.SIZE, begin * BLOCK, min(end * BLOCK, a.SIZE))


cdef struct ScaleBy:
    const float *x
    const float *factor
    float *y
    int64_t SIZE


cdef inline float multiple(const inputs_t *of, int64_t i) noexcept nogil:
    return of.a[i] * of.p


cdef void scale_by(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One multiplication an element."""
    cdef const ScaleBy *a = <const ScaleBy *> args
    map_one(multiple, a.x, a.factor[0], 0, a.y, a.SIZE, begin * BLOCK, min(end * BLOCK, a.SIZE))


cdef struct Clamp:
    const float *x
    float *y
    int64_t SIZE
    double low
    double high


cdef inline float clamped(const inputs_t *of, int64_t i) noexcept nogil:
    cdef float value = of.p if of.a[i] < of.p else of.a[i]
    return of.q if value > of.q else value


cdef void clamp(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Two comparisons an element; NaN is neither below nor above."""
    cdef const Clamp *a = <const Clamp *> args
    map_one(clamped, a.x, <float> a.low, <float> a.high, a.y, a.SIZE, begin * BLOCK, min(end * BLOCK, a.SIZE))


cdef struct Power:
    const float *x
    float *y
    int64_t SIZE
    double exponent


cdef inline float square(const inputs_t *of, int64_t i) noexcept nogil:
    return of.a[i] * of.a[i]


cdef inline float cube(const inputs_t *of, int64_t i) noexcept nogil:
    return of.a[i] * of.a[i] * of.a[i]


cdef inline float root(const inputs_t *of, int64_t i) noexcept nogil:
    return sqrtf(of.a[i])


cdef inline float inverse_root(const inputs_t *of, int64_t i) noexcept nogil:
    return <float> 1 / sqrtf(of.a[i])


cdef inline float inverse(const inputs_t *of, int64_t i) noexcept nogil:
    return <float> 1 / of.a[i]


cdef inline float any_power(const inputs_t *of, int64_t i) noexcept nogil:
    return power_float(of.a[i], exponent_of(of.p))


cdef inline float rare_power(const inputs_t *of, int64_t i) noexcept nogil:
    return powf(of.a[i], of.p)


cdef void power(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Products, roots and quotients for the exponents that people write; see power.h for others."""
    cdef const Power *a = <const Power *> args
    cdef float exponent = <float> a.exponent
    cdef int64_t first = begin * BLOCK, last = min(end * BLOCK, a.SIZE)
    if exponent == 2:
        map_one(square, a.x, 0, 0, a.y, a.SIZE, first, last)
    elif exponent == 3:
        map_one(cube, a.x, 0, 0, a.y, a.SIZE, first, last)
    elif exponent == 0.5:
        map_one(root, a.x, 0, 0, a.y, a.SIZE, first, last)
    elif exponent == -0.5:
        map_one(inverse_root, a.x, 0, 0, a.y, a.SIZE, first, last)
    elif exponent == -1:
        map_one(inverse, a.x, 0, 0, a.y, a.SIZE, first, last)
    elif is_ordinary(exponent):
        map_one(any_power, a.x, exponent, 0, a.y, a.SIZE, first, last)
    else:
        map_one(rare_power, a.x, exponent, 0, a.y, a.SIZE, first, last)


cdef struct Exp:
    const float *x
    float *y
    int64_t SIZE


cdef inline float exponential(const inputs_t *of, int64_t i) noexcept nogil:
    return exp_float(of.a[i])


cdef void exp(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Polynomial; see exponential.h."""
    cdef const Exp *a = <const Exp *> args
    map_one(exponential, a.x, 0, 0, a.y, a.SIZE, begin * BLOCK, min(end * BLOCK, a.SIZE))


cdef struct Log:
    const float *x
    float *y
    int64_t SIZE


cdef inline float logarithm(const inputs_t *of, int64_t i) noexcept nogil:
    return log_float(of.a[i])


cdef void log(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Polynomial; see exponential.h."""
    cdef const Log *a = <const Log *> args
    map_one(logarithm, a.x, 0, 0, a.y, a.SIZE, begin * BLOCK, min(end * BLOCK, a.SIZE))


cdef struct Fill:
    float *y
    int64_t SIZE
    double value


cdef void fill(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One store an element."""
    cdef const Fill *a = <const Fill *> args
    cdef float *y = a.y
    cdef float value = <float> a.value
    cdef int64_t i
    for i in range(begin * BLOCK, min(end * BLOCK, a.SIZE)):
        y[i] = value


cdef struct CopyStrided:
    const float *x
    float *y
    int64_t X, Y, OUTER, RUNS
    int64_t shape[6]
    int64_t x_strides[6]
    int64_t y_strides[6]
    int64_t x_offset
    int64_t y_offset


cdef inline void copy_run(
    const float *x, int64_t x_stride, float *y, int64_t y_stride, int64_t length
) noexcept nogil:
    cdef int64_t i
    if x_stride == 1 and y_stride == 1:
        memcpy(y, x, length * sizeof(float))
    elif y_stride == 1:
        for i in range(length):
            y[i] = x[i * x_stride]
    else:
        for i in range(length):
            y[i * y_stride] = x[i * x_stride]


cdef void copy_strided(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Task i copies runs [i * RUNS, (i + 1) * RUNS) of the innermost loop; the others are counted like an odometer."""
    cdef const CopyStrided *a = <const CopyStrided *> args
    cdef int64_t run = begin * a.RUNS, last = min(end * a.RUNS, a.OUTER), rest = run
    cdef const float *x = a.x + a.x_offset
    cdef float *y = a.y + a.y_offset
    cdef int64_t index[5]
    cdef int d
    if run >= last:
        return
    for d in range(4, -1, -1):
        index[d] = rest % a.shape[d]
        rest = rest // a.shape[d]
        x += index[d] * a.x_strides[d]
        y += index[d] * a.y_strides[d]
    while True:
        copy_run(x, a.x_strides[5], y, a.y_strides[5], a.shape[5])
        run += 1
        if run == last:
            return
        d = 4
        while index[d] == a.shape[d] - 1:
            x -= index[d] * a.x_strides[d]
            y -= index[d] * a.y_strides[d]
            index[d] = 0
            d -= 1
        index[d] += 1
        x += a.x_strides[d]
        y += a.y_strides[d]


cdef struct Increment:
    int64_t *step


cdef void increment(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One task, one number."""
    cdef const Increment *a = <const Increment *> args
    cdef int64_t task
    for task in range(begin, end):
        a.step[0] += 1


ADDRESSES = {
    "add": <size_t> <void *> add,
    "mul": <size_t> <void *> mul,
    "div": <size_t> <void *> div,
    "scale": <size_t> <void *> scale,
    "scale_by": <size_t> <void *> scale_by,
    "clamp": <size_t> <void *> clamp,
    "power": <size_t> <void *> power,
    "exp": <size_t> <void *> exp,
    "log": <size_t> <void *> log,
    "fill": <size_t> <void *> fill,
    "copy_strided": <size_t> <void *> copy_strided,
    "increment": <size_t> <void *> increment,
}
