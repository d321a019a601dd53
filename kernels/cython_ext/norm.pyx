# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Batch normalisation over the M rows of (M, C). Task i handles rows [i * ROWS, (i + 1) * ROWS).

What a channel needs stands on the stack, for CHANNELS channels at a time, and innermost loops run over channels. Sums
are float32 over at most RUN rows, then double.
"""
from libc.math cimport sqrt
from libc.stdint cimport int64_t

from .split_norm import ADDRESSES as PIECES

cdef enum:
    CHANNELS = 128
    RUN = 128
    SAMPLE = 16  # rows whose mean is the first shift


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


cdef inline void sum_rows(const float *x, int64_t rows, int64_t C, int64_t count, float *total) noexcept nogil:
    cdef int64_t row, c
    for c in range(count):
        total[c] = 0
    for row in range(rows):
        for c in range(count):
            total[c] += x[row * C + c]


cdef inline void sum_deviations(
    const float *x, const float *shift, int64_t rows, int64_t C, int64_t count, float *total, float *squares
) noexcept nogil:
    """Sums of x - shift and of its square; two rows at a time, for the sums are loaded and stored between them."""
    cdef const float *line
    cdef int64_t row = 0, c
    cdef float first, second
    for c in range(count):
        total[c] = 0
        squares[c] = 0
    while row + 2 <= rows:
        line = x + row * C
        for c in range(count):
            first, second = line[c] - shift[c], line[C + c] - shift[c]
            total[c] += first + second
            squares[c] += first * first + second * second
        row += 2
    if row < rows:
        for c in range(count):
            first = x[row * C + c] - shift[c]
            total[c] += first
            squares[c] += first * first


cdef inline void add_moments(double seen, double rows, const double *more_mean, const double *more_m2, int64_t count,
                             double *mean, double *m2) noexcept nogil:
    """Join the moments of `rows` further rows to those of `seen` rows (Chan, Golub and LeVeque 1979)."""
    cdef double share = rows / (seen + rows), delta
    cdef int64_t c
    for c in range(count):
        delta = more_mean[c] - mean[c]
        mean[c] += delta * share
        m2[c] += more_m2[c] + delta * delta * (seen * share)


cdef inline void block_moments(
    const float *x, int64_t rows, int64_t C, int64_t count, double *mean, double *m2
) noexcept nogil:
    """Mean and sum of squared deviations of `rows` rows.

    Sums are of deviations from a shift, the mean of the rows so far, or of the first SAMPLE ones. A mean of SAMPLE out
    of RUN rows is within sqrt(RUN / SAMPLE) standard deviations of the run's, so little cancels.
    """
    cdef float shift[CHANNELS]
    cdef float total[CHANNELS]
    cdef float squares[CHANNELS]
    cdef double run_mean[CHANNELS]
    cdef double run_m2[CHANNELS]
    cdef int64_t first = 0, length, c
    cdef float sample = <float> min(SAMPLE, rows)
    sum_rows(x, min(SAMPLE, rows), C, count, shift)
    for c in range(count):
        shift[c] /= sample
        mean[c] = 0
        m2[c] = 0
    while first < rows:
        length = min(RUN, rows - first)
        sum_deviations(x + first * C, shift, length, C, count, total, squares)
        for c in range(count):
            run_mean[c] = <double> total[c] / length
            run_m2[c] = squares[c] - run_mean[c] * total[c]
            run_mean[c] += shift[c]
        add_moments(first, length, run_mean, run_m2, count, mean, m2)
        for c in range(count):
            shift[c] = <float> mean[c]
        first += length


cdef void batch_norm_forward_statistics(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Mean and sum of squared deviations of the task's rows, into `partial`."""
    cdef const BatchNormForward *a = <const BatchNormForward *> args
    cdef double *partial
    cdef int64_t task, group, c
    for task in range(begin, end):
        partial = a.partial + task * 2 * a.C
        for group in range((a.C + CHANNELS - 1) // CHANNELS):
            c = group * CHANNELS
            block_moments(a.x + task * a.ROWS * a.C + c, min(a.ROWS, a.M - task * a.ROWS), a.C,
                          min(CHANNELS, a.C - c), partial + c, partial + a.C + c)


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
    cdef double mean[CHANNELS]
    cdef double m2[CHANNELS]
    cdef const double *partial
    cdef int64_t task, group, part, count, first, c
    for task in range(begin, end):
        for group in range((a.C + CHANNELS - 1) // CHANNELS):
            first = group * CHANNELS
            count = min(CHANNELS, a.C - first)
            for c in range(count):
                mean[c] = 0
                m2[c] = 0
            for part in range(a.PARTS):
                partial = a.partial + part * 2 * a.C + first
                add_moments(part * a.ROWS, min(a.ROWS, a.M - part * a.ROWS), partial, partial + a.C, count, mean, m2)
            finish_statistics(a, first, count, mean, m2)


cdef inline void normalise(
    const float *x, const float *mean, const float *scale, const float *shift, int64_t rows, int64_t C, int64_t count,
    float *y
) noexcept nogil:
    """y = (x - mean) * scale + shift; x * scale + (shift - mean * scale) would cancel where means are large."""
    cdef int64_t row, c
    for row in range(rows):
        for c in range(count):
            y[row * C + c] = (x[row * C + c] - mean[c]) * scale[c] + shift[c]


cdef void batch_norm_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One difference, multiplication and sum an element."""
    cdef const BatchNormForward *a = <const BatchNormForward *> args
    cdef float scale[CHANNELS]
    cdef float shift[CHANNELS]
    cdef int64_t first_row = begin * a.ROWS, rows = min(end * a.ROWS, a.M) - first_row, group, count, first, c
    for group in range((a.C + CHANNELS - 1) // CHANNELS):
        first = group * CHANNELS
        count = min(CHANNELS, a.C - first)
        for c in range(count):
            scale[c] = a.invstd[first + c] * a.w[first + c] if a.CW else a.invstd[first + c]
            shift[c] = a.b[first + c] if a.CB else 0
        normalise(a.x + first_row * a.C + first, a.mean + first, scale, shift, rows, a.C, count,
                  a.y + first_row * a.C + first)


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
    """One difference, multiplication and sum an element."""
    cdef const BatchNormInference *a = <const BatchNormInference *> args
    cdef float scale[CHANNELS]
    cdef float shift[CHANNELS]
    cdef int64_t first_row = begin * a.ROWS, rows = min(end * a.ROWS, a.M) - first_row, group, count, first, c
    for group in range((a.C + CHANNELS - 1) // CHANNELS):
        first = group * CHANNELS
        count = min(CHANNELS, a.C - first)
        for c in range(count):
            scale[c] = <float> ((a.w[first + c] if a.CW else 1) / sqrt(a.running_var[first + c] + a.eps))
            shift[c] = a.b[first + c] if a.CB else 0
        normalise(a.x + first_row * a.C + first, a.running_mean + first, scale, shift, rows, a.C, count,
                  a.y + first_row * a.C + first)


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


cdef inline void sum_gradients(
    const float *dy, const float *x, const float *mean, int64_t rows, int64_t C, int64_t count,
    double *sum_dy, double *sum_dy_deviation
) noexcept nogil:
    """Sums of dy and of dy * (x - mean) over `rows` rows, in runs of RUN."""
    cdef float total[CHANNELS]
    cdef float products[CHANNELS]
    cdef const float *dy_line
    cdef const float *x_line
    cdef int64_t first = 0, stop, row, c
    for c in range(count):
        sum_dy[c] = 0
        sum_dy_deviation[c] = 0
    while first < rows:
        for c in range(count):
            total[c] = 0
            products[c] = 0
        stop = min(first + RUN, rows)
        for row in range(first, stop):
            dy_line, x_line = dy + row * C, x + row * C
            for c in range(count):
                total[c] += dy_line[c]
                products[c] += dy_line[c] * (x_line[c] - mean[c])
        first = stop
        for c in range(count):
            sum_dy[c] += total[c]
            sum_dy_deviation[c] += products[c]


cdef void batch_norm_backward_sums(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Sums of dy and of dy * (x - mean) over the task's rows, into `partial`."""
    cdef const BatchNormBackward *a = <const BatchNormBackward *> args
    cdef double *partial
    cdef int64_t task, group, c, start
    for task in range(begin, end):
        partial = a.partial + task * 2 * a.C
        start = task * a.ROWS * a.C
        for group in range((a.C + CHANNELS - 1) // CHANNELS):
            c = group * CHANNELS
            sum_gradients(a.dy + start + c, a.x + start + c, a.mean + c, min(a.ROWS, a.M - task * a.ROWS), a.C,
                          min(CHANNELS, a.C - c), partial + c, partial + a.C + c)


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
    cdef double sum_dy[CHANNELS]
    cdef double sum_dy_deviation[CHANNELS]
    cdef int64_t task, group, first, count, c
    for task in range(begin, end):
        for group in range((a.C + CHANNELS - 1) // CHANNELS):
            first = group * CHANNELS
            count = min(CHANNELS, a.C - first)
            add_parts(a.partial + first, a.PARTS, a.C, count, sum_dy, sum_dy_deviation)
            for c in range(count):
                a.db[first + c] = <float> sum_dy[c]
                a.dw[first + c] = <float> (sum_dy_deviation[c] * a.invstd[first + c])


cdef inline void project(
    const float *dy, const float *x, const float *mean, const float *scale, const float *offset, const float *slope,
    int64_t rows, int64_t C, int64_t count, float *dx
) noexcept nogil:
    """dx = scale * (dy - offset - (x - mean) * slope)"""
    cdef int64_t row, c
    for row in range(rows):
        for c in range(count):
            dx[row * C + c] = scale[c] * (dy[row * C + c] - offset[c] - (x[row * C + c] - mean[c]) * slope[c])


cdef void batch_norm_backward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Takes off dy its mean and its part along the normalised x."""
    cdef const BatchNormBackward *a = <const BatchNormBackward *> args
    cdef float scale[CHANNELS]
    cdef float offset[CHANNELS]
    cdef float slope[CHANNELS]
    cdef int64_t first_row = begin * a.ROWS, rows = min(end * a.ROWS, a.M) - first_row, group, count, first, c, start
    for group in range((a.C + CHANNELS - 1) // CHANNELS):
        first = group * CHANNELS
        count = min(CHANNELS, a.C - first)
        start = first_row * a.C + first
        for c in range(count):
            scale[c] = a.invstd[first + c] * a.w[first + c] if a.CW else a.invstd[first + c]
            offset[c] = <float> (<double> a.db[first + c] / a.M)
            slope[c] = <float> (<double> a.dw[first + c] / a.M * a.invstd[first + c])
        project(a.dy + start, a.x + start, a.mean + first, scale, offset, slope, rows, a.C, count, a.dx + start)


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


cdef inline void multiply_rows(
    const float *dy, const float *scale, int64_t rows, int64_t C, int64_t count, float *dx
) noexcept nogil:
    cdef int64_t row, c
    for row in range(rows):
        for c in range(count):
            dx[row * C + c] = dy[row * C + c] * scale[c]


cdef void batch_norm_inference_backward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """dx, and the sums of dy and of dy * (x - mean) over the task's rows into `partial`."""
    cdef const BatchNormInferenceBackward *a = <const BatchNormInferenceBackward *> args
    cdef double *partial
    cdef float scale[CHANNELS]
    cdef int64_t task, group, first, count, rows, c, start
    for task in range(begin, end):
        partial = a.partial + task * 2 * a.C
        rows = min(a.ROWS, a.M - task * a.ROWS)
        for group in range((a.C + CHANNELS - 1) // CHANNELS):
            first = group * CHANNELS
            count = min(CHANNELS, a.C - first)
            start = task * a.ROWS * a.C + first
            for c in range(count):
                scale[c] = <float> ((a.w[first + c] if a.CW else 1) / sqrt(a.running_var[first + c] + a.eps))
            # The sums read dy before dx, which may be the same memory, replaces it.
            sum_gradients(a.dy + start, a.x + start, a.running_mean + first, rows, a.C, count, partial + first,
                          partial + a.C + first)
            multiply_rows(a.dy + start, scale, rows, a.C, count, a.dx + start)


cdef void batch_norm_inference_backward_combine(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One task: parts in order; the deviations become normalised here."""
    cdef const BatchNormInferenceBackward *a = <const BatchNormInferenceBackward *> args
    cdef double sum_dy[CHANNELS]
    cdef double sum_dy_deviation[CHANNELS]
    cdef int64_t task, group, first, count, c
    for task in range(begin, end):
        for group in range((a.C + CHANNELS - 1) // CHANNELS):
            first = group * CHANNELS
            count = min(CHANNELS, a.C - first)
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
