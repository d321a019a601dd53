# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Activations. Task i handles elements [i * BLOCK, (i + 1) * BLOCK) in one loop without branches; no scratch."""
from libc.stdint cimport int64_t

cdef int64_t BLOCK
from ...blocking import BLOCK

cdef extern from "exponential.h" nogil:
    float sigmoid_float(float x) noexcept
    float tanh_float(float x) noexcept


cdef struct ReluForward:
    const float *x
    float *y
    int64_t SIZE


cdef void relu_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Zero where x <= 0, a comparison that NaN fails."""
    cdef const ReluForward *a = <const ReluForward *> args
    cdef const float *x = a.x
    cdef float *y = a.y
    cdef int64_t i
    for i in range(begin * BLOCK, min(end * BLOCK, a.SIZE)):
        y[i] = <float> 0 if x[i] <= 0 else x[i]


cdef struct ReluBackward:
    const float *dy
    const float *y
    float *dx
    int64_t SIZE


cdef void relu_backward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Zero where y <= 0. dy is read in any case, for a read that depends on y would be a branch."""
    cdef const ReluBackward *a = <const ReluBackward *> args
    cdef const float *dy = a.dy
    cdef const float *y = a.y
    cdef float *dx = a.dx
    cdef float gradient
    cdef int64_t i
    for i in range(begin * BLOCK, min(end * BLOCK, a.SIZE)):
        gradient = dy[i]
        dx[i] = <float> 0 if y[i] <= 0 else gradient


cdef struct Relu6Forward:
    const float *x
    float *y
    int64_t SIZE


cdef void relu6_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Two selections, whose comparisons NaN fails."""
    cdef const Relu6Forward *a = <const Relu6Forward *> args
    cdef const float *x = a.x
    cdef float *y = a.y
    cdef float positive
    cdef int64_t i
    for i in range(begin * BLOCK, min(end * BLOCK, a.SIZE)):
        positive = <float> 0 if x[i] <= 0 else x[i]
        y[i] = <float> 6 if positive >= 6 else positive


cdef struct Relu6Backward:
    const float *dy
    const float *y
    float *dx
    int64_t SIZE


cdef void relu6_backward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Two selections, of which NaN fails both; dy is read in any case, as in `relu_backward`."""
    cdef const Relu6Backward *a = <const Relu6Backward *> args
    cdef const float *dy = a.dy
    cdef const float *y = a.y
    cdef float *dx = a.dx
    cdef float gradient
    cdef int64_t i
    for i in range(begin * BLOCK, min(end * BLOCK, a.SIZE)):
        gradient = dy[i]
        gradient = gradient if y[i] > 0 else <float> 0
        dx[i] = gradient if y[i] < 6 else <float> 0


cdef struct LeakyReluForward:
    const float *x
    float *y
    int64_t SIZE
    double negative_slope


cdef void leaky_relu_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Both sides, then a selection."""
    cdef const LeakyReluForward *a = <const LeakyReluForward *> args
    cdef const float *x = a.x
    cdef float *y = a.y
    cdef float slope = <float> a.negative_slope
    cdef int64_t i
    for i in range(begin * BLOCK, min(end * BLOCK, a.SIZE)):
        y[i] = x[i] if x[i] > 0 else x[i] * slope


cdef struct LeakyReluBackward:
    const float *dy
    const float *x
    float *dx
    int64_t SIZE
    double negative_slope


cdef void leaky_relu_backward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Both sides, then a selection."""
    cdef const LeakyReluBackward *a = <const LeakyReluBackward *> args
    cdef const float *dy = a.dy
    cdef const float *x = a.x
    cdef float *dx = a.dx
    cdef float slope = <float> a.negative_slope
    cdef int64_t i
    for i in range(begin * BLOCK, min(end * BLOCK, a.SIZE)):
        dx[i] = dy[i] if x[i] > 0 else dy[i] * slope


cdef struct SigmoidForward:
    const float *x
    float *y
    int64_t SIZE


cdef void sigmoid_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """1 / (1 + e**-x), whose exponential may overflow: the quotient is 0 then, as it should be."""
    cdef const SigmoidForward *a = <const SigmoidForward *> args
    cdef const float *x = a.x
    cdef float *y = a.y
    cdef int64_t i
    for i in range(begin * BLOCK, min(end * BLOCK, a.SIZE)):
        y[i] = sigmoid_float(x[i])


cdef struct SigmoidBackward:
    const float *dy
    const float *y
    float *dx
    int64_t SIZE


cdef void sigmoid_backward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """From the forward pass's result, in PyTorch's order of products."""
    cdef const SigmoidBackward *a = <const SigmoidBackward *> args
    cdef const float *dy = a.dy
    cdef const float *y = a.y
    cdef float *dx = a.dx
    cdef float one = 1
    cdef int64_t i
    for i in range(begin * BLOCK, min(end * BLOCK, a.SIZE)):
        dx[i] = dy[i] * (one - y[i]) * y[i]


cdef struct TanhForward:
    const float *x
    float *y
    int64_t SIZE


cdef void tanh_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Polynomial near 0 and exponential further out, then a selection."""
    cdef const TanhForward *a = <const TanhForward *> args
    cdef const float *x = a.x
    cdef float *y = a.y
    cdef int64_t i
    for i in range(begin * BLOCK, min(end * BLOCK, a.SIZE)):
        y[i] = tanh_float(x[i])


cdef struct TanhBackward:
    const float *dy
    const float *y
    float *dx
    int64_t SIZE


cdef void tanh_backward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """From the forward pass's result."""
    cdef const TanhBackward *a = <const TanhBackward *> args
    cdef const float *dy = a.dy
    cdef const float *y = a.y
    cdef float *dx = a.dx
    cdef float one = 1
    cdef int64_t i
    for i in range(begin * BLOCK, min(end * BLOCK, a.SIZE)):
        dx[i] = dy[i] * (one - y[i] * y[i])


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
