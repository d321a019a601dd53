# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Optimizers. Task i handles elements [i * BLOCK, (i + 1) * BLOCK) in one pass over parameter, gradient and state.

Scalars are computed in double before the loop and rounded once, as PyTorch's single-tensor code does; operations stand
in its order. Conditions on what does not change within a loop are taken out of it by the compiler.
"""
from libc.math cimport pow, sqrt, sqrtf
from libc.stdint cimport int64_t

cdef int64_t BLOCK
from ...blocking import BLOCK


cdef inline float decayed(float g, float p, float sign, float weight_decay) noexcept nogil:
    """The gradient to follow. Without weight decay p stays out of it, for 0 * inf is NaN."""
    return sign * g + weight_decay * p if weight_decay != 0 else sign * g


cdef inline float lerp(float start, float end, float weight) noexcept nogil:
    """The point between `start` and `end`, seen from the nearer one: exact at both."""
    cdef float one = 1
    return start + weight * (end - start) if weight < 0.5 else end - (end - start) * (one - weight)


cdef struct SgdStep:
    const float *g
    const double *lr
    const int64_t *step
    float *p
    float *momentum_buffer
    int64_t SIZE, V
    double momentum
    double dampening
    double weight_decay
    int64_t nesterov
    int64_t maximize


cdef void sgd_step(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Three loops: without momentum, the first step, whose buffer is the gradient itself, and later steps."""
    cdef const SgdStep *a = <const SgdStep *> args
    cdef const float *g = a.g
    cdef float *p = a.p
    cdef float *buffer = a.momentum_buffer
    cdef float sign = -1 if a.maximize else 1, weight_decay = <float> a.weight_decay, step_size = <float> -a.lr[0]
    cdef float momentum = <float> a.momentum, share = <float> (1 - a.dampening), d, v
    cdef int64_t i, first = begin * BLOCK, last = min(end * BLOCK, a.SIZE)
    if a.V == 0:
        for i in range(first, last):
            p[i] += step_size * decayed(g[i], p[i], sign, weight_decay)
    elif a.step[0] == 1:
        for i in range(first, last):
            d = decayed(g[i], p[i], sign, weight_decay)
            buffer[i] = d
            p[i] += step_size * (d + momentum * d if a.nesterov else d)
    else:
        for i in range(first, last):
            d = decayed(g[i], p[i], sign, weight_decay)
            v = momentum * buffer[i] + share * d
            buffer[i] = v
            p[i] += step_size * (d + momentum * v if a.nesterov else v)


cdef struct AdamStep:
    const float *g
    const double *lr
    const int64_t *step
    float *p
    float *exp_avg
    float *exp_avg_sq
    int64_t SIZE
    double beta1
    double beta2
    double eps
    double weight_decay
    int64_t maximize


cdef inline void follow_moments(
    const AdamStep *a, float weight_decay, float keep, int64_t begin, int64_t end
) noexcept nogil:
    """Adam with `weight_decay` added to the gradient, from parameters times `keep`."""
    cdef const float *g = a.g
    cdef float *p = a.p
    cdef float *exp_avg = a.exp_avg
    cdef float *exp_avg_sq = a.exp_avg_sq
    cdef double step = <double> a.step[0]
    cdef float step_size = <float> (-a.lr[0] / (1 - pow(a.beta1, step))), root = <float> sqrt(1 - pow(a.beta2, step))
    cdef float weight1 = <float> (1 - a.beta1), beta2 = <float> a.beta2, weight2 = <float> (1 - a.beta2)
    cdef float sign = -1 if a.maximize else 1, eps = <float> a.eps, d, m, v
    cdef int64_t i
    for i in range(begin * BLOCK, min(end * BLOCK, a.SIZE)):
        d = decayed(g[i], p[i], sign, weight_decay)
        m = lerp(exp_avg[i], d, weight1)
        v = exp_avg_sq[i] * beta2 + weight2 * d * d
        exp_avg[i] = m
        exp_avg_sq[i] = v
        p[i] = p[i] * keep + step_size * m / (sqrtf(v) / root + eps)


cdef void adam_step(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Weight decay is part of the gradient."""
    cdef const AdamStep *a = <const AdamStep *> args
    follow_moments(a, <float> a.weight_decay, 1, begin, end)


cdef void adamw_step(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Weight decay shrinks the parameters; the argument block is that of `adam_step`."""
    cdef const AdamStep *a = <const AdamStep *> args
    follow_moments(a, 0, <float> (1 - a.lr[0] * a.weight_decay), begin, end)


cdef struct AdagradStep:
    const float *g
    const double *lr
    const int64_t *step
    float *p
    float *sum
    int64_t SIZE
    double lr_decay
    double eps
    double weight_decay
    int64_t maximize


cdef void adagrad_step(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One loop."""
    cdef const AdagradStep *a = <const AdagradStep *> args
    cdef const float *g = a.g
    cdef float *p = a.p
    cdef float *total = a.sum
    cdef float step_size = <float> (-a.lr[0] / (1 + (a.step[0] - 1) * a.lr_decay))
    cdef float sign = -1 if a.maximize else 1, weight_decay = <float> a.weight_decay, eps = <float> a.eps, d, v
    cdef int64_t i
    for i in range(begin * BLOCK, min(end * BLOCK, a.SIZE)):
        d = decayed(g[i], p[i], sign, weight_decay)
        v = total[i] + d * d
        total[i] = v
        p[i] += step_size * d / (sqrtf(v) + eps)


cdef struct RmspropStep:
    const float *g
    const double *lr
    const int64_t *step
    float *p
    float *square_avg
    float *momentum_buffer
    float *grad_avg
    int64_t SIZE, V, G
    double alpha
    double eps
    double weight_decay
    double momentum
    int64_t maximize


cdef inline void rmsprop_run(
    const float *g, float *p, float *square_avg, float *momentum_buffer, float *grad_avg, int64_t count,
    float alpha, float share, float eps, float sign, float weight_decay, float momentum, float step_size
) noexcept nogil:
    """`count` elements; a buffer that is NULL is not in use."""
    cdef float d, s, mean, denominator, v
    cdef int64_t i
    for i in range(count):
        d = decayed(g[i], p[i], sign, weight_decay)
        s = square_avg[i] * alpha + share * d * d
        square_avg[i] = s
        if grad_avg != NULL:
            mean = lerp(grad_avg[i], d, share)
            grad_avg[i] = mean
            s = s - mean * mean
        denominator = sqrtf(s) + eps
        if momentum_buffer != NULL:
            v = momentum_buffer[i] * momentum + d / denominator
            momentum_buffer[i] = v
            p[i] += step_size * v
        else:
            p[i] += step_size * d / denominator


cdef void rmsprop_step(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One loop for each combination of buffers in use."""
    cdef const RmspropStep *a = <const RmspropStep *> args
    cdef int64_t first = begin * BLOCK, count = min(end * BLOCK, a.SIZE) - first
    cdef float alpha = <float> a.alpha, share = <float> (1 - a.alpha), eps = <float> a.eps
    cdef float sign = -1 if a.maximize else 1, weight_decay = <float> a.weight_decay, momentum = <float> a.momentum
    cdef float step_size = <float> -a.lr[0]
    cdef const float *g = a.g + first
    cdef float *p = a.p + first
    cdef float *square_avg = a.square_avg + first
    if a.V and a.G:
        rmsprop_run(g, p, square_avg, a.momentum_buffer + first, a.grad_avg + first, count,
                    alpha, share, eps, sign, weight_decay, momentum, step_size)
    elif a.V:
        rmsprop_run(g, p, square_avg, a.momentum_buffer + first, NULL, count,
                    alpha, share, eps, sign, weight_decay, momentum, step_size)
    elif a.G:
        rmsprop_run(g, p, square_avg, NULL, a.grad_avg + first, count,
                    alpha, share, eps, sign, weight_decay, momentum, step_size)
    else:
        rmsprop_run(g, p, square_avg, NULL, NULL, count,
                    alpha, share, eps, sign, weight_decay, momentum, step_size)


cdef struct AdadeltaStep:
    const float *g
    const double *lr
    const int64_t *step
    float *p
    float *square_avg
    float *acc_delta
    int64_t SIZE
    double rho
    double eps
    double weight_decay
    int64_t maximize


cdef void adadelta_step(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One loop."""
    cdef const AdadeltaStep *a = <const AdadeltaStep *> args
    cdef const float *g = a.g
    cdef float *p = a.p
    cdef float *square_avg = a.square_avg
    cdef float *acc_delta = a.acc_delta
    cdef float step_size = <float> -a.lr[0], rho = <float> a.rho, share = <float> (1 - a.rho), eps = <float> a.eps
    cdef float sign = -1 if a.maximize else 1, weight_decay = <float> a.weight_decay, d, s, delta
    cdef int64_t i
    for i in range(begin * BLOCK, min(end * BLOCK, a.SIZE)):
        d = decayed(g[i], p[i], sign, weight_decay)
        s = square_avg[i] * rho + share * d * d
        delta = sqrtf(acc_delta[i] + eps) / sqrtf(s + eps) * d
        square_avg[i] = s
        acc_delta[i] = acc_delta[i] * rho + share * delta * delta
        p[i] += step_size * delta


cdef inline double sum_doubles(const double *numbers, int64_t count) noexcept nogil:
    cdef double total = 0
    cdef int64_t i
    for i in range(count):
        total += numbers[i]
    return total


cdef struct GradientNorm:
    const double *squares
    float *norm
    float *factor
    int64_t P
    double max_norm


cdef void gradient_norm(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """In double, rounded once; NaN is not above 1, and so stays."""
    cdef const GradientNorm *a = <const GradientNorm *> args
    cdef double norm = sqrt(sum_doubles(a.squares, a.P)), quotient = a.max_norm / (norm + 1e-6)
    a.norm[0] = <float> norm
    a.factor[0] = <float> (1 if quotient > 1 else quotient)


cdef struct Finite:
    const double *squares
    const float *losses
    double *total
    int64_t P, L


cdef void finite(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """In double; 0 times what is not finite is NaN."""
    cdef const Finite *a = <const Finite *> args
    cdef double zero = 0, total = sum_doubles(a.squares, a.P)
    cdef int64_t i
    for i in range(a.L):
        total += zero * a.losses[i]
    a.total[0] = total


ADDRESSES = {
    "sgd_step": <size_t> <void *> sgd_step,
    "adam_step": <size_t> <void *> adam_step,
    "adamw_step": <size_t> <void *> adamw_step,
    "adagrad_step": <size_t> <void *> adagrad_step,
    "rmsprop_step": <size_t> <void *> rmsprop_step,
    "adadelta_step": <size_t> <void *> adadelta_step,
    "gradient_norm": <size_t> <void *> gradient_norm,
    "finite": <size_t> <void *> finite,
}
