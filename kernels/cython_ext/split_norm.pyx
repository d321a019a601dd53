# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Batch normalisation in pieces: sums over the rows of (M, C), and what a few numbers a channel make of them.

Task i of the sums handles rows [i * ROWS, (i + 1) * ROWS), see columns.h; all else is one task, computed in double.
"""
from libc.math cimport sqrt
from libc.stdint cimport int64_t
from libc.string cimport memset

include "columns.pxi"


cdef struct ChannelSums:
    const float *x  # M C
    const float *centre  # C
    double *sums  # 2 C
    double *partial  # PARTS 2 C
    int64_t M, C, PARTS, ROWS


cdef void channel_sums(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """The sums of the task's rows, into `partial`."""
    cdef const ChannelSums *a = <const ChannelSums *> args
    cdef column_sums_t sums
    cdef const float *x
    cdef double *partial
    cdef int64_t task, c
    for task in range(begin, end):
        c = 0
        while c < a.C:
            x, partial = a.x + task * a.ROWS * a.C + c, a.partial + task * 2 * a.C + c
            begin_sums(&sums, min(WIDTH, a.C - c), a.C, a.centre + c)
            add_rows(SQUARES, &sums, x, a.C, x, a.C, min(a.ROWS, a.M - task * a.ROWS))
            end_sums(&sums, partial, partial + a.C)
            c += WIDTH


cdef void channel_sums_combine(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One task adds the parts in order."""
    cdef const ChannelSums *a = <const ChannelSums *> args
    cdef int64_t part, i
    memset(a.sums, 0, 2 * a.C * sizeof(double))
    for part in range(a.PARTS):
        for i in range(2 * a.C):
            a.sums[i] += a.partial[part * 2 * a.C + i]


cdef struct BatchNormStatistics:
    const double *sums  # 2 C
    const float *centre  # C
    const float *w  # CW
    const float *b  # CB
    float *mean  # C
    float *var  # C
    float *invstd  # C
    float *scale  # C
    float *shift  # C
    int64_t C, CW, CB
    int64_t count
    double eps


cdef void batch_norm_statistics(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One task; NaN is not below 0."""
    cdef const BatchNormStatistics *a = <const BatchNormStatistics *> args
    cdef double offset, mean, var, invstd
    cdef int64_t c
    for c in range(a.C):
        offset = a.sums[c] / a.count
        mean = a.centre[c] + offset
        var = a.sums[a.C + c] / a.count - offset * offset
        if var < 0:
            var = 0
        invstd = 1 / sqrt(var + a.eps)
        a.mean[c] = <float> mean
        a.var[c] = <float> var
        a.invstd[c] = <float> invstd
        a.scale[c] = <float> (a.w[c] * invstd if a.CW else invstd)
        a.shift[c] = <float> ((<double> a.b[c] if a.CB else 0) - mean * a.scale[c])


cdef struct BatchNormRunning:
    const float *mean  # C
    const float *var  # C
    const double *momentum  # 1
    float *running_mean  # C
    float *running_var  # C
    int64_t C
    int64_t count


cdef void batch_norm_running(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One task."""
    cdef const BatchNormRunning *a = <const BatchNormRunning *> args
    cdef double take = a.momentum[0], keep = 1 - take
    cdef int64_t c
    for c in range(a.C):
        a.running_mean[c] = <float> (keep * a.running_mean[c] + take * a.mean[c])
        a.running_var[c] = <float> (keep * a.running_var[c] + take * (<double> a.var[c] * a.count / (a.count - 1.0)))


cdef struct BatchNormScale:
    const float *running_mean  # C
    const float *running_var  # C
    const float *w  # CW
    const float *b  # CB
    float *scale  # C
    float *shift  # C
    int64_t C
    int64_t CW
    int64_t CB
    double eps


cdef void batch_norm_scale(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One task."""
    cdef const BatchNormScale *a = <const BatchNormScale *> args
    cdef double invstd
    cdef int64_t c
    for c in range(a.C):
        invstd = 1 / sqrt(<double> a.running_var[c] + a.eps)
        a.scale[c] = <float> (a.w[c] * invstd if a.CW else invstd)
        a.shift[c] = <float> ((<double> a.b[c] if a.CB else 0) - <double> a.running_mean[c] * a.scale[c])


cdef struct BatchNormGradient:
    const double *sums  # 2 C
    const float *w  # CW
    const float *mean  # C
    const float *invstd  # C
    float *dw  # C
    float *db  # C
    float *slope  # C
    float *factor  # C
    float *offset  # C
    int64_t C, CW
    int64_t count


cdef void batch_norm_gradient(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One task."""
    cdef const BatchNormGradient *a = <const BatchNormGradient *> args
    cdef double invstd, slope, dw
    cdef int64_t c
    for c in range(a.C):
        invstd = a.invstd[c]
        slope = a.w[c] * invstd if a.CW else invstd
        dw = a.sums[a.C + c] * invstd
        a.dw[c] = <float> dw
        a.db[c] = <float> a.sums[c]
        a.slope[c] = <float> slope
        a.factor[c] = <float> (-slope * invstd * dw / a.count)
        a.offset[c] = <float> (-slope * a.sums[c] / a.count - <double> a.factor[c] * a.mean[c])


cdef struct ChannelGradient:
    const double *sums  # 2 C
    float *db  # C
    int64_t C


cdef void channel_gradient(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One task."""
    cdef const ChannelGradient *a = <const ChannelGradient *> args
    cdef int64_t c
    for c in range(a.C):
        a.db[c] = <float> a.sums[c]


ADDRESSES = {
    "channel_sums": <size_t> <void *> channel_sums,
    "channel_sums_combine": <size_t> <void *> channel_sums_combine,
    "batch_norm_statistics": <size_t> <void *> batch_norm_statistics,
    "batch_norm_running": <size_t> <void *> batch_norm_running,
    "batch_norm_scale": <size_t> <void *> batch_norm_scale,
    "batch_norm_gradient": <size_t> <void *> batch_norm_gradient,
    "channel_gradient": <size_t> <void *> channel_gradient,
}
