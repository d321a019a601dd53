# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Activations. Task i handles elements [i * BLOCK, (i + 1) * BLOCK); see elements.h for the loop.

Selections are written so that NaN stays NaN, and both of their sides are computed: a read that depends on a comparison
would be a branch.
"""
from libc.stdint cimport int64_t

include "elements.pxi"

cdef int64_t BLOCK
from ...blocking import BLOCK

cdef extern from "exponential.h" nogil:
    float sigmoid_float(float x) noexcept
    float tanh_float(float x) noexcept


cdef struct ReluForward:
    const float *x
    float *y
    int64_t SIZE


cdef inline float relu(const inputs_t *of, int64_t i) noexcept nogil:
    return <float> 0 if of.a[i] <= 0 else of.a[i]


cdef void relu_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One selection an element."""
    cdef const ReluForward *a = <const ReluForward *> args
    map_one(relu, a.x, 0, 0, a.y, a.SIZE, begin * BLOCK, min(end * BLOCK, a.SIZE))


cdef struct ReluBackward:
    const float *dy
    const float *y
    float *dx
    int64_t SIZE


cdef inline float relu_gradient(const inputs_t *of, int64_t i) noexcept nogil:
    cdef float dy = of.a[i]
    return <float> 0 if of.b[i] <= 0 else dy


cdef void relu_backward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One selection an element."""
    cdef const ReluBackward *a = <const ReluBackward *> args
    map_two(relu_gradient, a.dy, a.y, 0, 0, a.dx, a.SIZE, begin * BLOCK, min(end * BLOCK, a.SIZE))


cdef struct Relu6Forward:
    const float *x
    float *y
    int64_t SIZE


cdef inline float relu6(const inputs_t *of, int64_t i) noexcept nogil:
    cdef float positive = <float> 0 if of.a[i] <= 0 else of.a[i]
    return <float> 6 if positive >= 6 else positive


cdef void relu6_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Two selections an element."""
    cdef const Relu6Forward *a = <const Relu6Forward *> args
    map_one(relu6, a.x, 0, 0, a.y, a.SIZE, begin * BLOCK, min(end * BLOCK, a.SIZE))


cdef struct Relu6Backward:
    const float *dy
    const float *y
    float *dx
    int64_t SIZE


cdef inline float relu6_gradient(const inputs_t *of, int64_t i) noexcept nogil:
    cdef float dy = of.a[i]
    return dy if (of.b[i] > 0) & (of.b[i] < 6) else <float> 0


cdef void relu6_backward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """The gradient passes where 0 < y < 6, so not where y is NaN."""
    cdef const Relu6Backward *a = <const Relu6Backward *> args
    map_two(relu6_gradient, a.dy, a.y, 0, 0, a.dx, a.SIZE, begin * BLOCK, min(end * BLOCK, a.SIZE))


cdef struct LeakyReluForward:
    const float *x
    float *y
    int64_t SIZE
    double negative_slope


cdef inline float leaky_relu(const inputs_t *of, int64_t i) noexcept nogil:
    cdef float x = of.a[i]
    return x if x > 0 else x * of.p


cdef void leaky_relu_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Both sides, then a selection."""
    cdef const LeakyReluForward *a = <const LeakyReluForward *> args
    map_one(leaky_relu, a.x, <float> a.negative_slope, 0, a.y, a.SIZE, begin * BLOCK, min(end * BLOCK, a.SIZE))


cdef struct LeakyReluBackward:
    const float *dy
    const float *x
    float *dx
    int64_t SIZE
    double negative_slope


cdef inline float leaky_relu_gradient(const inputs_t *of, int64_t i) noexcept nogil:
    cdef float dy = of.a[i]
    return dy if of.b[i] > 0 else dy * of.p


cdef void leaky_relu_backward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Both sides, then a selection."""
    cdef const LeakyReluBackward *a = <const LeakyReluBackward *> args
    map_two(leaky_relu_gradient, a.dy, a.x, <float> a.negative_slope, 0, a.dx, a.SIZE, begin * BLOCK,
            min(end * BLOCK, a.SIZE))


cdef struct SigmoidForward:
    const float *x
    float *y
    int64_t SIZE


cdef inline float sigmoid(const inputs_t *of, int64_t i) noexcept nogil:
    return sigmoid_float(of.a[i])


cdef void sigmoid_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """1 / (1 + e**-x), whose exponential may overflow: the quotient is 0 then, as it should be."""
    cdef const SigmoidForward *a = <const SigmoidForward *> args
    map_one(sigmoid, a.x, 0, 0, a.y, a.SIZE, begin * BLOCK, min(end * BLOCK, a.SIZE))


cdef struct SigmoidBackward:
    const float *dy
    const float *y
    float *dx
    int64_t SIZE


cdef inline float sigmoid_gradient(const inputs_t *of, int64_t i) noexcept nogil:
    cdef float dy = of.a[i], y = of.b[i], one = 1
    return dy * (one - y) * y


cdef void sigmoid_backward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """From the forward pass's result, in PyTorch's order of products."""
    cdef const SigmoidBackward *a = <const SigmoidBackward *> args
    map_two(sigmoid_gradient, a.dy, a.y, 0, 0, a.dx, a.SIZE, begin * BLOCK, min(end * BLOCK, a.SIZE))


cdef struct TanhForward:
    const float *x
    float *y
    int64_t SIZE


cdef inline float tanh(const inputs_t *of, int64_t i) noexcept nogil:
    return tanh_float(of.a[i])


cdef void tanh_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Polynomial near 0 and exponential further out, then a selection."""
    cdef const TanhForward *a = <const TanhForward *> args
    map_one(tanh, a.x, 0, 0, a.y, a.SIZE, begin * BLOCK, min(end * BLOCK, a.SIZE))


cdef struct TanhBackward:
    const float *dy
    const float *y
    float *dx
    int64_t SIZE


cdef inline float tanh_gradient(const inputs_t *of, int64_t i) noexcept nogil:
    cdef float dy = of.a[i], y = of.b[i], one = 1
    return dy * (one - y * y)


cdef void tanh_backward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """From the forward pass's result."""
    cdef const TanhBackward *a = <const TanhBackward *> args
    map_two(tanh_gradient, a.dy, a.y, 0, 0, a.dx, a.SIZE, begin * BLOCK, min(end * BLOCK, a.SIZE))


ADDRESSES = {
    "relu_forward": <size_t> <void *> relu_forward,
    "relu_backward": <size_t> <void *> relu_backward,
    "relu6_forward": <size_t> <void *> relu6_forward,
    "relu6_backward": <size_t> <void *> relu6_backward,
    "leaky_relu_forward": <size_t> <void *> leaky_relu_forward,
    "leaky_relu_backward": <size_t> <void *> leaky_relu_backward,
    "sigmoid_forward": <size_t> <void *> sigmoid_forward,
    "sigmoid_backward": <size_t> <void *> sigmoid_backward,
    "tanh_forward": <size_t> <void *> tanh_forward,
    "tanh_backward": <size_t> <void *> tanh_backward,
}
