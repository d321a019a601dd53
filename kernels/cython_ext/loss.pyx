# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Softmax and classification losses. Task i handles rows [i * ROWS, (i + 1) * ROWS) of (M, C).

See rows.h for sums and maxima. Results that would not stay in the caches are written around them, once: what is not yet
final stands in a tile, and rows that are too long for it take the ordinary way.
"""
from libc.math cimport log
from libc.stdint cimport int64_t
from libc.string cimport memset

include "elements.pxi"

cdef enum:
    ROW = 4096  # elements of the longest row that a tile holds: 16 KB of the first cache

cdef extern from "exponential.h" nogil:
    float exp_bounded(float x) noexcept

cdef extern from "rows.h" nogil:
    double sum_row(const float *a, int64_t count) noexcept
    double sum_products(const float *a, const float *b, int64_t count) noexcept
    float largest(const float *x, int64_t count) noexcept
    double sum_exponentials(const float *x, float top, float *target, int64_t count) noexcept
    double sum_distances(const float *x, const float *weight, float top, float log_sum, int64_t count) noexcept


cdef inline float same(const inputs_t *of, int64_t i) noexcept nogil:
    return of.a[i]


cdef inline float multiple(const inputs_t *of, int64_t i) noexcept nogil:
    return of.a[i] * of.p


cdef inline float log_probability(const inputs_t *of, int64_t i) noexcept nogil:
    """Of logits, their maximum and the logarithm of the sum."""
    return (of.a[i] - of.p) - of.q


cdef inline float softmax_gradient(const inputs_t *of, int64_t i) noexcept nogil:
    """Of dy, y and the sum of their products."""
    return of.b[i] * (of.a[i] - of.p)


cdef inline float log_softmax_gradient(const inputs_t *of, int64_t i) noexcept nogil:
    """Of dy, y and the sum of dy."""
    return of.a[i] - exp_bounded(of.b[i]) * of.p


cdef inline float smoothed(const inputs_t *of, int64_t i) noexcept nogil:
    """Of logits and their log-sum-exp, the probability times a factor, less a number."""
    return of.q * exp_bounded(of.a[i] - of.p) - of.r


cdef inline float smoothed_by_weight(const inputs_t *of, int64_t i) noexcept nogil:
    """As `smoothed`, less the number times a weight."""
    return of.q * exp_bounded(of.a[i] - of.p) - of.r * of.b[i]


cdef struct SoftmaxForward:
    const float *x
    float *y
    int64_t M, C, ROWS


cdef void softmax_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Exponentials first go into a tile, or into y if the tile is too short, then are scaled."""
    cdef const SoftmaxForward *a = <const SoftmaxForward *> args
    cdef float tile[ROW]
    cdef bint fits = a.C <= ROW, around = fits and streams(a.y, a.M * a.C, a.C)
    cdef const float *x
    cdef float *exponentials
    cdef inputs_t row
    cdef int64_t m
    for m in range(begin * a.ROWS, min(end * a.ROWS, a.M)):
        x = a.x + m * a.C
        exponentials = &tile[0] if fits else a.y + m * a.C
        row.p = <float> (1 / sum_exponentials(x, largest(x, a.C), exponentials, a.C))
        row.a = exponentials
        map_elements(multiple, 1, row, a.y + m * a.C, around, a.C)


cdef struct SoftmaxBackward:
    const float *dy
    const float *y
    float *dx
    int64_t M, C, ROWS


cdef void softmax_backward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Two passes over a row: sum of dy * y, then the gradient."""
    cdef const SoftmaxBackward *a = <const SoftmaxBackward *> args
    cdef bint around = streams(a.dx, a.M * a.C, a.C)
    cdef inputs_t row
    cdef int64_t m
    for m in range(begin * a.ROWS, min(end * a.ROWS, a.M)):
        row.a, row.b = a.dy + m * a.C, a.y + m * a.C
        row.p = <float> sum_products(row.a, row.b, a.C)
        map_elements(softmax_gradient, 2, row, a.dx + m * a.C, around, a.C)


cdef struct LogSoftmaxForward:
    const float *x
    float *y
    int64_t M, C, ROWS


cdef void log_softmax_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Three passes over a row: maximum, sum of exponentials, differences."""
    cdef const LogSoftmaxForward *a = <const LogSoftmaxForward *> args
    cdef bint around = streams(a.y, a.M * a.C, a.C)
    cdef inputs_t row
    cdef int64_t m
    for m in range(begin * a.ROWS, min(end * a.ROWS, a.M)):
        row.a = a.x + m * a.C
        row.p = largest(row.a, a.C)
        row.q = <float> log(sum_exponentials(row.a, row.p, NULL, a.C))
        map_elements(log_probability, 1, row, a.y + m * a.C, around, a.C)


cdef struct LogSoftmaxBackward:
    const float *dy
    const float *y
    float *dx
    int64_t M, C, ROWS


cdef void log_softmax_backward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Two passes over a row: sum of dy, then the gradient."""
    cdef const LogSoftmaxBackward *a = <const LogSoftmaxBackward *> args
    cdef bint around = streams(a.dx, a.M * a.C, a.C)
    cdef inputs_t row
    cdef int64_t m
    for m in range(begin * a.ROWS, min(end * a.ROWS, a.M)):
        row.a, row.b = a.dy + m * a.C, a.y + m * a.C
        row.p = <float> sum_row(row.a, a.C)
        map_elements(log_softmax_gradient, 2, row, a.dx + m * a.C, around, a.C)


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
    cdef float top
    cdef int64_t task, row, t
    for task in range(begin, end):
        losses = weights = 0
        for row in range(task * a.ROWS, min((task + 1) * a.ROWS, a.M)):
            x = a.x + row * a.C
            top = largest(x, a.C)
            log_total = log(sum_exponentials(x, top, NULL, a.C))
            a.lse[row] = <float> (top + log_total)
            a.loss[row] = 0
            t = a.target[row]
            if t == a.ignore_index:
                continue
            target_weight = weight[t] if weight != NULL else 1
            loss = (1 - smoothing) * target_weight * (log_total + top - x[t])
            if smoothing != 0:
                loss += smoothing / a.C * sum_distances(x, weight, top, <float> log_total, a.C)
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
    """Softmax from the kept log-sum-exp, times a factor, less the smoothing; then what the target takes off."""
    cdef const CrossEntropyBackward *a = <const CrossEntropyBackward *> args
    cdef float tile[ROW]
    cdef bint around = a.C <= ROW and streams(a.dx, a.M * a.C, a.C)
    cdef float *dx
    cdef double scale, hard, smooth, total_weight = sum_row(a.weight, a.C) if a.CW else a.C
    cdef inputs_t row, whole
    cdef int64_t m, t
    row.b, whole.a = a.weight, tile
    for m in range(begin * a.ROWS, min(end * a.ROWS, a.M)):
        t = a.target[m]
        if t == a.ignore_index:
            memset(a.dx + m * a.C, 0, a.C * sizeof(float))
            continue
        scale = (a.dy[m] if a.DY == a.M else a.dy[0]) / a.normaliser[0]
        hard = scale * (1 - a.label_smoothing) * (a.weight[t] if a.CW else 1)
        smooth = scale * a.label_smoothing / a.C
        row.a, row.p = a.x + m * a.C, a.lse[m]
        row.q, row.r = <float> (hard + smooth * total_weight), <float> smooth
        dx = &tile[0] if around else a.dx + m * a.C
        if a.CW and a.label_smoothing != 0:
            map_elements(smoothed_by_weight, 2, row, dx, 0, a.C)
        else:
            map_elements(smoothed, 1, row, dx, 0, a.C)
        dx[t] = <float> (dx[t] - hard)
        if around:
            map_elements(same, 1, whole, a.dx + m * a.C, 1, a.C)


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
    cdef int64_t row, t
    for row in range(begin * a.ROWS, min(end * a.ROWS, a.M)):
        dx = a.dx + row * a.C
        memset(dx, 0, a.C * sizeof(float))
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
