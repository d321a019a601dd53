# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Softmax and classification losses. Task i handles rows [i * ROWS, (i + 1) * ROWS) of (M, C); no scratch.

A row's sums go through a short array on the stack: terms in one vector loop, then their sum; runs are added in double.
"""
from libc.math cimport log
from libc.stdint cimport int64_t

cdef enum:
    RUN = 256

cdef extern from "exponential.h" nogil:
    float exp_float(float x) noexcept

cdef extern from "lanes.h" nogil:
    float sum_floats(const float *x, int64_t count) noexcept
    float max_floats(const float *x, int64_t count) noexcept


cdef inline double sum_line(const float *x, int64_t count) noexcept nogil:
    cdef double total = 0
    cdef int64_t run
    for run in range((count + RUN - 1) // RUN):
        total += sum_floats(x + run * RUN, min(RUN, count - run * RUN))
    return total


cdef inline double sum_exponentials(const float *x, float shift, int64_t count) noexcept nogil:
    """sum e**(x - shift)"""
    cdef float terms[RUN]
    cdef double total = 0
    cdef int64_t run, c, length
    for run in range((count + RUN - 1) // RUN):
        length = min(RUN, count - run * RUN)
        for c in range(length):
            terms[c] = exp_float(x[run * RUN + c] - shift)
        total += sum_floats(terms, length)
    return total


cdef inline double sum_products(const float *a, const float *b, int64_t count) noexcept nogil:
    cdef float terms[RUN]
    cdef double total = 0
    cdef int64_t run, c, length
    for run in range((count + RUN - 1) // RUN):
        length = min(RUN, count - run * RUN)
        for c in range(length):
            terms[c] = a[run * RUN + c] * b[run * RUN + c]
        total += sum_floats(terms, length)
    return total


cdef inline double sum_distances(
    const float *x, const float *weight, float largest, float log_total, int64_t count
) noexcept nogil:
    """sum weight * (log-sum-exp - x), no weight counting as 1.

    The log-sum-exp comes in two parts, for their sum would be rounded: by 3e-5 if logits are near 1000.
    """
    cdef float terms[RUN]
    cdef double total = 0
    cdef int64_t run, c, length
    for run in range((count + RUN - 1) // RUN):
        length = min(RUN, count - run * RUN)
        for c in range(length):
            terms[c] = (largest - x[run * RUN + c]) + log_total
        if weight != NULL:
            for c in range(length):
                terms[c] *= weight[run * RUN + c]
        total += sum_floats(terms, length)
    return total


cdef struct SoftmaxForward:
    const float *x
    float *y
    int64_t M, C, ROWS


cdef void softmax_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Three passes over a row: maximum, exponentials into y, quotients."""
    cdef const SoftmaxForward *a = <const SoftmaxForward *> args
    cdef const float *x
    cdef float *y
    cdef float largest, total
    cdef int64_t row, c
    for row in range(begin * a.ROWS, min(end * a.ROWS, a.M)):
        x, y = a.x + row * a.C, a.y + row * a.C
        largest = max_floats(x, a.C)
        for c in range(a.C):
            y[c] = exp_float(x[c] - largest)
        total = <float> sum_line(y, a.C)
        for c in range(a.C):
            y[c] = y[c] / total


cdef struct SoftmaxBackward:
    const float *dy
    const float *y
    float *dx
    int64_t M, C, ROWS


cdef void softmax_backward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Two passes over a row: sum of dy * y, then the gradient."""
    cdef const SoftmaxBackward *a = <const SoftmaxBackward *> args
    cdef const float *dy
    cdef const float *y
    cdef float *dx
    cdef float mean
    cdef int64_t row, c
    for row in range(begin * a.ROWS, min(end * a.ROWS, a.M)):
        dy, y, dx = a.dy + row * a.C, a.y + row * a.C, a.dx + row * a.C
        mean = <float> sum_products(dy, y, a.C)
        for c in range(a.C):
            dx[c] = y[c] * (dy[c] - mean)


cdef struct LogSoftmaxForward:
    const float *x
    float *y
    int64_t M, C, ROWS


cdef void log_softmax_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Three passes over a row: maximum, sum of exponentials, differences."""
    cdef const LogSoftmaxForward *a = <const LogSoftmaxForward *> args
    cdef const float *x
    cdef float *y
    cdef float largest, log_total
    cdef int64_t row, c
    for row in range(begin * a.ROWS, min(end * a.ROWS, a.M)):
        x, y = a.x + row * a.C, a.y + row * a.C
        largest = max_floats(x, a.C)
        log_total = <float> log(sum_exponentials(x, largest, a.C))
        for c in range(a.C):
            y[c] = (x[c] - largest) - log_total


cdef struct LogSoftmaxBackward:
    const float *dy
    const float *y
    float *dx
    int64_t M, C, ROWS


cdef void log_softmax_backward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Two passes over a row: sum of dy, then the gradient."""
    cdef const LogSoftmaxBackward *a = <const LogSoftmaxBackward *> args
    cdef const float *dy
    cdef const float *y
    cdef float *dx
    cdef float total
    cdef int64_t row, c
    for row in range(begin * a.ROWS, min(end * a.ROWS, a.M)):
        dy, y, dx = a.dy + row * a.C, a.y + row * a.C, a.dx + row * a.C
        total = <float> sum_line(dy, a.C)
        for c in range(a.C):
            dx[c] = dy[c] - exp_float(y[c]) * total


cdef struct CrossEntropyForward:
    const float *x
    const int64_t *target
    const float *weight
    float *loss
    float *lse
    float *y
    double *normaliser
    double *partial
    int64_t M, C, CW, PARTS, ROWS
    int64_t ignore_index
    double label_smoothing
    int64_t mean


cdef void cross_entropy_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Rows' losses; `partial` takes the task's sums of losses and of weights."""
    cdef const CrossEntropyForward *a = <const CrossEntropyForward *> args
    cdef const float *x
    cdef const float *weight = a.weight if a.CW else NULL
    cdef double loss, log_total, target_weight, smoothing = a.label_smoothing, losses, weights
    cdef float largest
    cdef int64_t task, row, t
    for task in range(begin, end):
        losses = weights = 0
        for row in range(task * a.ROWS, min((task + 1) * a.ROWS, a.M)):
            x = a.x + row * a.C
            largest = max_floats(x, a.C)
            log_total = log(sum_exponentials(x, largest, a.C))
            a.lse[row] = <float> (largest + log_total)
            a.loss[row] = 0
            t = a.target[row]
            if t == a.ignore_index:
                continue
            target_weight = weight[t] if weight != NULL else 1
            loss = (1 - smoothing) * target_weight * (log_total + largest - x[t])
            if smoothing != 0:
                loss += smoothing / a.C * sum_distances(x, weight, largest, <float> log_total, a.C)
            a.loss[row] = <float> loss
            losses += loss
            weights += target_weight
        a.partial[2 * task] = losses
        a.partial[2 * task + 1] = weights


cdef inline void add_losses(
    const double *partial, int64_t parts, int64_t mean, float *y, double *normaliser
) noexcept nogil:
    """Parts in order; their sum, or its quotient by the sum of weights."""
    cdef double losses = 0, weights = 0
    cdef int64_t part
    for part in range(parts):
        losses += partial[2 * part]
        weights += partial[2 * part + 1]
    normaliser[0] = weights if mean else 1
    y[0] = <float> (losses / normaliser[0])


cdef void cross_entropy_forward_reduce(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One task."""
    cdef const CrossEntropyForward *a = <const CrossEntropyForward *> args
    cdef int64_t task
    for task in range(begin, end):
        add_losses(a.partial, a.PARTS, a.mean, a.y, a.normaliser)


cdef struct CrossEntropyBackward:
    const float *dy
    const float *x
    const int64_t *target
    const float *weight
    const float *lse
    const double *normaliser
    float *dx
    int64_t DY, M, C, CW, ROWS
    int64_t ignore_index
    double label_smoothing


cdef void cross_entropy_backward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Softmax from the kept log-sum-exp, times a factor; then what the target and the smoothing take off."""
    cdef const CrossEntropyBackward *a = <const CrossEntropyBackward *> args
    cdef const float *x
    cdef const float *weight = a.weight if a.CW else NULL
    cdef float *dx
    cdef double scale, hard, smooth, total_weight = sum_line(weight, a.C) if weight != NULL else a.C
    cdef float lse, factor, spread
    cdef int64_t row, t, c
    for row in range(begin * a.ROWS, min(end * a.ROWS, a.M)):
        x, dx = a.x + row * a.C, a.dx + row * a.C
        t = a.target[row]
        if t == a.ignore_index:
            for c in range(a.C):
                dx[c] = 0
            continue
        scale = (a.dy[row] if a.DY == a.M else a.dy[0]) / a.normaliser[0]
        hard = scale * (1 - a.label_smoothing) * (weight[t] if weight != NULL else 1)
        smooth = scale * a.label_smoothing / a.C
        factor, spread, lse = <float> (hard + smooth * total_weight), <float> smooth, a.lse[row]
        for c in range(a.C):
            dx[c] = factor * exp_float(x[c] - lse)
        if a.label_smoothing != 0:
            if weight != NULL:
                for c in range(a.C):
                    dx[c] -= spread * weight[c]
            else:
                for c in range(a.C):
                    dx[c] -= spread
        dx[t] = <float> (dx[t] - hard)


cdef struct NllLossForward:
    const float *x
    const int64_t *target
    const float *weight
    float *loss
    float *y
    double *normaliser
    double *partial
    int64_t M, C, CW, PARTS, ROWS
    int64_t ignore_index
    int64_t mean


cdef void nll_loss_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Rows' losses; `partial` takes the task's sums of losses and of weights."""
    cdef const NllLossForward *a = <const NllLossForward *> args
    cdef double loss, target_weight, losses, weights
    cdef int64_t task, row, t
    for task in range(begin, end):
        losses = weights = 0
        for row in range(task * a.ROWS, min((task + 1) * a.ROWS, a.M)):
            t = a.target[row]
            a.loss[row] = 0
            if t == a.ignore_index:
                continue
            target_weight = a.weight[t] if a.CW else 1
            loss = -target_weight * a.x[row * a.C + t]
            a.loss[row] = <float> loss
            losses += loss
            weights += target_weight
        a.partial[2 * task] = losses
        a.partial[2 * task + 1] = weights


cdef void nll_loss_forward_reduce(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One task."""
    cdef const NllLossForward *a = <const NllLossForward *> args
    cdef int64_t task
    for task in range(begin, end):
        add_losses(a.partial, a.PARTS, a.mean, a.y, a.normaliser)


cdef struct NllLossBackward:
    const float *dy
    const int64_t *target
    const float *weight
    const double *normaliser
    float *dx
    int64_t DY, M, CW, C, ROWS
    int64_t classes
    int64_t ignore_index


cdef void nll_loss_backward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Zeros, then one element a row."""
    cdef const NllLossBackward *a = <const NllLossBackward *> args
    cdef float *dx
    cdef double scale
    cdef int64_t row, t, c
    for row in range(begin * a.ROWS, min(end * a.ROWS, a.M)):
        dx = a.dx + row * a.C
        for c in range(a.C):
            dx[c] = 0
        t = a.target[row]
        if t != a.ignore_index:
            scale = (a.dy[row] if a.DY == a.M else a.dy[0]) / a.normaliser[0]
            dx[t] = <float> (-scale * (a.weight[t] if a.CW else 1))


ADDRESSES = {
    "softmax_forward": <size_t> <void *> softmax_forward,
    "softmax_backward": <size_t> <void *> softmax_backward,
    "log_softmax_forward": <size_t> <void *> log_softmax_forward,
    "log_softmax_backward": <size_t> <void *> log_softmax_backward,
    "cross_entropy_forward": <size_t> <void *> cross_entropy_forward,
    "cross_entropy_forward_reduce": <size_t> <void *> cross_entropy_forward_reduce,
    "cross_entropy_backward": <size_t> <void *> cross_entropy_backward,
    "nll_loss_forward": <size_t> <void *> nll_loss_forward,
    "nll_loss_forward_reduce": <size_t> <void *> nll_loss_forward_reduce,
    "nll_loss_backward": <size_t> <void *> nll_loss_backward,
}
