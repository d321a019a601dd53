# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Arithmetic. Elementwise kernels: task i handles elements [i * BLOCK, (i + 1) * BLOCK) in one loop; no scratch."""
from libc.math cimport powf, sqrtf
from libc.stdint cimport int64_t

cdef int64_t BLOCK
from ...blocking import BLOCK

cdef extern from "exponential.h" nogil:
    float exp_float(float x) noexcept
    float log_float(float x) noexcept


cdef struct Add:
    const float *a
    const float *b
    float *y
    int64_t SIZE
    double alpha


cdef void add(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One multiplication and one sum an element."""
    cdef const Add *block = <const Add *> args
    cdef const float *a = block.a
    cdef const float *b = block.b
    cdef float *y = block.y
    cdef float alpha = <float> block.alpha
    cdef int64_t i
    for i in range(begin * BLOCK, min(end * BLOCK, block.SIZE)):
        y[i] = a[i] + alpha * b[i]


cdef struct Mul:
    const float *a
    const float *b
    float *y
    int64_t SIZE


cdef void mul(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One multiplication an element."""
    cdef const Mul *block = <const Mul *> args
    cdef const float *a = block.a
    cdef const float *b = block.b
    cdef float *y = block.y
    cdef int64_t i
    for i in range(begin * BLOCK, min(end * BLOCK, block.SIZE)):
        y[i] = a[i] * b[i]


cdef struct Div:
    const float *a
    const float *b
    float *y
    int64_t SIZE


cdef void div(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One division an element."""
    cdef const Div *block = <const Div *> args
    cdef const float *a = block.a
    cdef const float *b = block.b
    cdef float *y = block.y
    cdef int64_t i
    for i in range(begin * BLOCK, min(end * BLOCK, block.SIZE)):
        y[i] = a[i] / b[i]


cdef struct Scale:
    const float *x
    float *y
    int64_t SIZE
    double alpha
    double beta


cdef void scale(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One multiplication and one sum an element."""
    cdef const Scale *a = <const Scale *> args
    cdef const float *x = a.x
    cdef float *y = a.y
    cdef float alpha = <float> a.alpha, beta = <float> a.beta
    cdef int64_t i
    for i in range(begin * BLOCK, min(end * BLOCK, a.SIZE)):
        y[i] = alpha * x[i] + beta


cdef struct ScaleBy:
    const float *x
    const float *factor
    float *y
    int64_t SIZE


cdef void scale_by(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One multiplication an element."""
    cdef const ScaleBy *a = <const ScaleBy *> args
    cdef const float *x = a.x
    cdef float *y = a.y
    cdef float factor = a.factor[0]
    cdef int64_t i
    for i in range(begin * BLOCK, min(end * BLOCK, a.SIZE)):
        y[i] = x[i] * factor


cdef struct Clamp:
    const float *x
    float *y
    int64_t SIZE
    double low
    double high


cdef void clamp(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Two comparisons an element; NaN is neither below nor above."""
    cdef const Clamp *a = <const Clamp *> args
    cdef const float *x = a.x
    cdef float *y = a.y
    cdef float low = <float> a.low, high = <float> a.high, value
    cdef int64_t i
    for i in range(begin * BLOCK, min(end * BLOCK, a.SIZE)):
        value = low if x[i] < low else x[i]
        y[i] = high if value > high else value


cdef struct Power:
    const float *x
    float *y
    int64_t SIZE
    double exponent


cdef void power(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Vector code for the exponents 2, 0.5, -0.5 and -1; the C library's powf for all others."""
    cdef const Power *a = <const Power *> args
    cdef const float *x = a.x
    cdef float *y = a.y
    cdef float exponent = <float> a.exponent, one = 1
    cdef int64_t i, first = begin * BLOCK, last = min(end * BLOCK, a.SIZE)
    if exponent == 2:
        for i in range(first, last):
            y[i] = x[i] * x[i]
    elif exponent == 0.5:
        for i in range(first, last):
            y[i] = sqrtf(x[i])
    elif exponent == -0.5:
        for i in range(first, last):
            y[i] = one / sqrtf(x[i])
    elif exponent == -1:
        for i in range(first, last):
            y[i] = one / x[i]
    else:
        for i in range(first, last):
            y[i] = powf(x[i], exponent)


cdef struct Exp:
    const float *x
    float *y
    int64_t SIZE


cdef void exp(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Polynomial; see exponential.h."""
    cdef const Exp *a = <const Exp *> args
    cdef const float *x = a.x
    cdef float *y = a.y
    cdef int64_t i
    for i in range(begin * BLOCK, min(end * BLOCK, a.SIZE)):
        y[i] = exp_float(x[i])


cdef struct Log:
    const float *x
    float *y
    int64_t SIZE


cdef void log(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Polynomial; see exponential.h."""
    cdef const Log *a = <const Log *> args
    cdef const float *x = a.x
    cdef float *y = a.y
    cdef int64_t i
    for i in range(begin * BLOCK, min(end * BLOCK, a.SIZE)):
        y[i] = log_float(x[i])


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
        for i in range(length):
            y[i] = x[i]
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
