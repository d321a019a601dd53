# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Batch normalisation over the M rows of (M, C). Task i handles rows [i * ROWS, (i + 1) * ROWS); see columns.h.

The last pass takes the blocks of rows from the last one on, of which most is still in a cache.
"""
from libc.math cimport sqrt
from libc.stdint cimport int64_t
from libc.string cimport memset

from .split_norm import ADDRESSES as PIECES

include "columns.pxi"


cdef struct BatchNormForward:
    const float *x
    const float *w
    const float *b
    const double *momentum
    float *running_mean
    float *running_var
    float *y
    float *mean
    float *invstd
    double *partial
    int64_t M, C, CW, CB, CR, PARTS, ROWS
    double eps


cdef inline void add_moments(double seen, double rows, const double *more_mean, const double *more_m2, int64_t count,
                             double *mean, double *m2) noexcept nogil:
    """Join the moments of `rows` further rows to those of `seen` rows (Chan, Golub and LeVeque 1979)."""
    cdef double share = rows / (seen + rows), delta
    cdef int64_t c
    for c in range(count):
        delta = more_mean[c] - mean[c]
        mean[c] += delta * share
        m2[c] += more_m2[c] + delta * delta * (seen * share)


cdef inline void chunk_moments(const float *x, int64_t rows, int64_t C, int64_t columns, double *mean,
                               double *m2) noexcept nogil:
    """Mean and sum of squared deviations of rows that the first cache holds.

    Deviations are taken from the mean rounded to float32, and what that misses is put right in double.
    """
    cdef column_sums_t sums
    cdef float centre[WIDTH]
    cdef double offset
    cdef int64_t c
    begin_sums(&sums, columns, C, NULL)
    add_rows(SUMS, &sums, x, C, x, C, rows)
    end_sums(&sums, mean, NULL)
    for c in range(columns):
        centre[c] = <float> (mean[c] / rows)
    begin_sums(&sums, columns, C, centre)
    add_rows(SQUARES, &sums, x, C, x, C, rows)
    end_sums(&sums, mean, m2)
    for c in range(columns):
        offset = mean[c] / rows
        m2[c] -= offset * mean[c]
        mean[c] = centre[c] + offset


cdef inline void block_moments(const float *x, int64_t rows, int64_t C, int64_t columns, double *mean,
                               double *m2) noexcept nogil:
    """Mean and sum of squared deviations of `rows` rows, chunk by chunk."""
    cdef double more_mean[WIDTH]
    cdef double more_m2[WIDTH]
    cdef int64_t step = CHUNK // columns, row = 0, here
    memset(mean, 0, columns * sizeof(double))
    memset(m2, 0, columns * sizeof(double))
    while row < rows:
        here = min(step, rows - row)
        chunk_moments(x + row * C, here, C, columns, more_mean, more_m2)
        add_moments(row, here, more_mean, more_m2, columns, mean, m2)
        row += here


cdef void batch_norm_forward_statistics(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Mean and sum of squared deviations of the task's rows, into `partial`."""
    cdef const BatchNormForward *a = <const BatchNormForward *> args
    cdef double *partial
    cdef int64_t task, c
    for task in range(begin, end):
        c = 0
        while c < a.C:
            partial = a.partial + task * 2 * a.C + c
            block_moments(a.x + task * a.ROWS * a.C + c, min(a.ROWS, a.M - task * a.ROWS), a.C, min(WIDTH, a.C - c),
                          partial, partial + a.C)
            c += WIDTH


cdef inline void finish_statistics(
    const BatchNormForward *a, int64_t first, int64_t count, const double *mean, const double *m2
) noexcept nogil:
    cdef double momentum = a.momentum[0], keep = 1 - momentum
    cdef float *kept_mean = a.mean + first
    cdef float *invstd = a.invstd + first
    cdef int64_t c
    for c in range(count):
        kept_mean[c] = <float> mean[c]
        invstd[c] = <float> (1 / sqrt(m2[c] / a.M + a.eps))
    if a.CR:
        for c in range(count):
            a.running_mean[first + c] = <float> (keep * a.running_mean[first + c] + momentum * mean[c])
            a.running_var[first + c] = <float> (keep * a.running_var[first + c] + momentum * (m2[c] / (a.M - 1.0)))


cdef void batch_norm_forward_combine(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One task: parts in order, then invstd and the running statistics."""
    cdef const BatchNormForward *a = <const BatchNormForward *> args
    cdef double mean[WIDTH]
    cdef double m2[WIDTH]
    cdef const double *partial
    cdef int64_t task, group, part, count, first, c
    for task in range(begin, end):
        for group in range((a.C + WIDTH - 1) // WIDTH):
            first = group * WIDTH
            count = min(WIDTH, a.C - first)
            for c in range(count):
                mean[c] = 0
                m2[c] = 0
            for part in range(a.PARTS):
                partial = a.partial + part * 2 * a.C + first
                add_moments(part * a.ROWS, min(a.ROWS, a.M - part * a.ROWS), partial, partial + a.C, count, mean, m2)
            finish_statistics(a, first, count, mean, m2)


cdef inline float normalised(const inputs_t *of, int64_t i) noexcept nogil:
    """(x - mean) * scale + shift; x * scale + (shift - mean * scale) would cancel where means are large."""
    return (of.a[i] - of.by[0][i]) * of.by[1][i] + of.by[2][i]


cdef void batch_norm_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One difference, multiplication and sum an element."""
    cdef const BatchNormForward *a = <const BatchNormForward *> args
    cdef int64_t start = (a.PARTS - end) * a.ROWS, rows = min((a.PARTS - begin) * a.ROWS, a.M) - start
    cdef int64_t c = 0, columns, i
    cdef bint around = streams(a.y, a.M * a.C, a.C)
    cdef numbers_t numbers
    cdef inputs_t inputs
    while c < a.C:
        columns = min(WIDTH, a.C - c)
        for i in range(columns):
            numbers[0][i] = a.mean[c + i]
            numbers[1][i] = a.invstd[c + i] * a.w[c + i] if a.CW else a.invstd[c + i]
            numbers[2][i] = a.b[c + i] if a.CB else 0
        inputs.a = a.x + start * a.C + c
        map_rows(normalised, 1, 3, inputs, a.C, numbers, a.y + start * a.C + c, a.C, around, rows, columns)
        c += WIDTH


cdef struct BatchNormInference:
    const float *x
    const float *w
    const float *b
    const float *running_mean
    const float *running_var
    float *y
    int64_t M, C, CW, CB, ROWS, PARTS
    double eps


cdef void batch_norm_inference(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """As in training, with the running statistics."""
    cdef const BatchNormInference *a = <const BatchNormInference *> args
    cdef int64_t start = begin * a.ROWS, rows = min(end * a.ROWS, a.M) - start, c = 0, columns, i
    cdef bint around = streams(a.y, a.M * a.C, a.C)
    cdef numbers_t numbers
    cdef inputs_t inputs
    while c < a.C:
        columns = min(WIDTH, a.C - c)
        for i in range(columns):
            numbers[0][i] = a.running_mean[c + i]
            numbers[1][i] = <float> ((a.w[c + i] if a.CW else 1) / sqrt(a.running_var[c + i] + a.eps))
            numbers[2][i] = a.b[c + i] if a.CB else 0
        inputs.a = a.x + start * a.C + c
        map_rows(normalised, 1, 3, inputs, a.C, numbers, a.y + start * a.C + c, a.C, around, rows, columns)
        c += WIDTH


cdef struct BatchNormBackward:
    const float *dy
    const float *x
    const float *w
    const float *mean
    const float *invstd
    float *dx
    float *dw
    float *db
    double *partial
    int64_t M, C, CW, PARTS, ROWS


cdef inline void sum_gradients(const float *dy, const float *x, const float *mean, int64_t rows, int64_t C,
                               int64_t columns, double *sum_dy, double *sum_dy_deviation) noexcept nogil:
    """Sums of dy and of dy * (x - mean) over `rows` rows."""
    cdef column_sums_t sums
    begin_sums(&sums, columns, C, mean)
    add_rows(PRODUCTS, &sums, dy, C, x, C, rows)
    end_sums(&sums, sum_dy, sum_dy_deviation)


cdef void batch_norm_backward_sums(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Sums of dy and of dy * (x - mean) over the task's rows, into `partial`."""
    cdef const BatchNormBackward *a = <const BatchNormBackward *> args
    cdef double *partial
    cdef int64_t task, c, start
    for task in range(begin, end):
        c = 0
        while c < a.C:
            partial, start = a.partial + task * 2 * a.C + c, task * a.ROWS * a.C + c
            sum_gradients(a.dy + start, a.x + start, a.mean + c, min(a.ROWS, a.M - task * a.ROWS), a.C,
                          min(WIDTH, a.C - c), partial, partial + a.C)
            c += WIDTH


cdef inline void add_parts(
    const double *partial, int64_t parts, int64_t C, int64_t count, double *sum_dy, double *sum_dy_deviation
) noexcept nogil:
    cdef const double *line
    cdef int64_t part, c
    for c in range(count):
        sum_dy[c] = 0
        sum_dy_deviation[c] = 0
    for part in range(parts):
        line = partial + part * 2 * C
        for c in range(count):
            sum_dy[c] += line[c]
            sum_dy_deviation[c] += line[C + c]


cdef void batch_norm_backward_combine(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One task: parts in order; the deviations become normalised here."""
    cdef const BatchNormBackward *a = <const BatchNormBackward *> args
    cdef double sum_dy[WIDTH]
    cdef double sum_dy_deviation[WIDTH]
    cdef int64_t task, group, first, count, c
    for task in range(begin, end):
        for group in range((a.C + WIDTH - 1) // WIDTH):
            first = group * WIDTH
            count = min(WIDTH, a.C - first)
            add_parts(a.partial + first, a.PARTS, a.C, count, sum_dy, sum_dy_deviation)
            for c in range(count):
                a.db[first + c] = <float> sum_dy[c]
                a.dw[first + c] = <float> (sum_dy_deviation[c] * a.invstd[first + c])


cdef inline float projected(const inputs_t *of, int64_t i) noexcept nogil:
    """scale * (dy - offset - (x - mean) * slope)"""
    return of.by[1][i] * (of.a[i] - of.by[2][i] - (of.b[i] - of.by[0][i]) * of.by[3][i])


cdef void batch_norm_backward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Takes off dy its mean and its part along the normalised x."""
    cdef const BatchNormBackward *a = <const BatchNormBackward *> args
    cdef int64_t start = (a.PARTS - end) * a.ROWS, rows = min((a.PARTS - begin) * a.ROWS, a.M) - start
    cdef int64_t c = 0, columns, first, i
    cdef bint around = streams(a.dx, a.M * a.C, a.C)
    cdef numbers_t numbers
    cdef inputs_t inputs
    while c < a.C:
        columns, first = min(WIDTH, a.C - c), start * a.C + c
        for i in range(columns):
            numbers[0][i] = a.mean[c + i]
            numbers[1][i] = a.invstd[c + i] * a.w[c + i] if a.CW else a.invstd[c + i]
            numbers[2][i] = <float> (<double> a.db[c + i] / a.M)
            numbers[3][i] = <float> (<double> a.dw[c + i] / a.M * a.invstd[c + i])
        inputs.a, inputs.b = a.dy + first, a.x + first
        map_rows(projected, 2, 4, inputs, a.C, numbers, a.dx + first, a.C, around, rows, columns)
        c += WIDTH


cdef struct BatchNormInferenceBackward:
    const float *dy
    const float *x
    const float *w
    const float *running_mean
    const float *running_var
    float *dx
    float *dw
    float *db
    double *partial
    int64_t M, C, CW, PARTS, ROWS
    double eps


cdef inline float scaled(const inputs_t *of, int64_t i) noexcept nogil:
    return of.a[i] * of.by[0][i]


cdef void batch_norm_inference_backward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """dx, and the sums of dy and of dy * (x - mean) over the task's rows into `partial`."""
    cdef const BatchNormInferenceBackward *a = <const BatchNormInferenceBackward *> args
    cdef bint around = streams(a.dx, a.M * a.C, a.C)
    cdef double *partial
    cdef numbers_t numbers
    cdef inputs_t inputs
    cdef int64_t task, c, columns, rows, first, i
    for task in range(begin, end):
        rows, c = min(a.ROWS, a.M - task * a.ROWS), 0
        while c < a.C:
            columns, first, partial = min(WIDTH, a.C - c), task * a.ROWS * a.C + c, a.partial + task * 2 * a.C + c
            for i in range(columns):
                numbers[0][i] = <float> ((a.w[c + i] if a.CW else 1) / sqrt(a.running_var[c + i] + a.eps))
            # The sums read dy before dx, which may be the same memory, replaces it.
            sum_gradients(a.dy + first, a.x + first, a.running_mean + c, rows, a.C, columns, partial, partial + a.C)
            inputs.a = a.dy + first
            map_rows(scaled, 1, 1, inputs, a.C, numbers, a.dx + first, a.C, around, rows, columns)
            c += WIDTH


cdef void batch_norm_inference_backward_combine(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One task: parts in order; the deviations become normalised here."""
    cdef const BatchNormInferenceBackward *a = <const BatchNormInferenceBackward *> args
    cdef double sum_dy[WIDTH]
    cdef double sum_dy_deviation[WIDTH]
    cdef int64_t task, group, first, count, c
    for task in range(begin, end):
        for group in range((a.C + WIDTH - 1) // WIDTH):
            first = group * WIDTH
            count = min(WIDTH, a.C - first)
            add_parts(a.partial + first, a.PARTS, a.C, count, sum_dy, sum_dy_deviation)
            for c in range(count):
                a.db[first + c] = <float> sum_dy[c]
                a.dw[first + c] = <float> (sum_dy_deviation[c] / sqrt(a.running_var[first + c] + a.eps))


ADDRESSES = PIECES | {
    "batch_norm_forward_statistics": <size_t> <void *> batch_norm_forward_statistics,
    "batch_norm_forward_combine": <size_t> <void *> batch_norm_forward_combine,
    "batch_norm_forward": <size_t> <void *> batch_norm_forward,
    "batch_norm_inference": <size_t> <void *> batch_norm_inference,
    "batch_norm_backward_sums": <size_t> <void *> batch_norm_backward_sums,
    "batch_norm_backward_combine": <size_t> <void *> batch_norm_backward_combine,
    "batch_norm_backward": <size_t> <void *> batch_norm_backward,
    "batch_norm_inference_backward": <size_t> <void *> batch_norm_inference_backward,
    "batch_norm_inference_backward_combine": <size_t> <void *> batch_norm_inference_backward_combine,
}
