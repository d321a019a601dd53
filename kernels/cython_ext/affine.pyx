# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Scales, shifts, activations and sums of branches over the M rows of (M, C): task i handles rows [i * ROWS, ...).

Innermost loops run over channels; an element is read before its place is written. Sums are double.
"""
from libc.stdint cimport int64_t
from libc.string cimport memset

cdef extern from "fusion.h" nogil:
    enum:
        RELU, RELU6
    void activate(float *pixel, int64_t channels, int64_t activation) noexcept


cdef struct AffineForward:
    const float *x  # M C
    const float *scale  # P
    const float *shift  # P
    const float *r  # MR C
    const float *r_scale  # Q
    const float *r_shift  # Q
    float *y  # M C
    int64_t M, C, P, MR, Q, ROWS
    int64_t activation


cdef inline void add_branch(
    const float *r, const float *scale, const float *shift, bint scaled, int64_t C, float *y
) noexcept nogil:
    cdef int64_t c
    if scaled:
        for c in range(C):
            y[c] += r[c] * scale[c] + shift[c]
    else:
        for c in range(C):
            y[c] += r[c]


cdef void affine_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Row by row: a branch, the other one, the activation."""
    cdef const AffineForward *a = <const AffineForward *> args
    cdef const float *x
    cdef float *y
    cdef int64_t row, c
    for row in range(begin * a.ROWS, min(end * a.ROWS, a.M)):
        x, y = a.x + row * a.C, a.y + row * a.C
        for c in range(a.C):
            y[c] = x[c] * a.scale[c] + a.shift[c] if a.P else x[c]
        if a.MR:
            add_branch(a.r + row * a.C, a.r_scale, a.r_shift, a.Q, a.C, y)
        activate(y, a.C, a.activation)


cdef struct AffineBackward:
    const float *dy  # M C
    const float *dy2  # M2 C
    const float *y  # MY C
    const float *z  # MZ C
    const float *scale  # P
    const float *shift  # P
    const float *centre  # E
    const float *r  # MR C
    const float *r_centre  # F
    float *dx  # M C
    double *sums  # 2 E
    double *r_sums  # 2 F
    double *partial  # PARTS 2 E
    double *r_partial  # PARTS 2 F
    int64_t M, C, M2, MY, MZ, P, E, MR, F, PARTS, ROWS
    int64_t activation


cdef inline void mask_row(const AffineBackward *a, int64_t first) noexcept nogil:
    """dx of the row that begins at element `first`; the argument of the activation, or its result, decides."""
    cdef float gradient, before
    cdef int64_t c
    for c in range(a.C):
        gradient = a.dy[first + c] + a.dy2[first + c] if a.M2 else a.dy[first + c]
        if a.activation == RELU or a.activation == RELU6:
            if a.MY:
                before = a.y[first + c]
            else:
                before = a.z[first + c] * a.scale[c] + a.shift[c] if a.P else a.z[first + c]
            if not (before > 0 and (a.activation == RELU or before < 6)):
                gradient = 0
        a.dx[first + c] = gradient


cdef inline void add_row(const float *dx, const float *z, const float *centre, int64_t C, double *sums) noexcept nogil:
    """Add dx, and dx * (z - centre) if there is a z, to the two rows of sums."""
    cdef int64_t c
    for c in range(C):
        sums[c] += dx[c]
    if z:
        for c in range(C):
            sums[C + c] += dx[c] * (z[c] - centre[c])


cdef void affine_backward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Row by row: dx, then what it adds to the task's sums."""
    cdef const AffineBackward *a = <const AffineBackward *> args
    cdef double *partial
    cdef double *r_partial
    cdef int64_t task, row, first
    for task in range(begin, end):
        partial, r_partial = a.partial + task * 2 * a.E, a.r_partial + task * 2 * a.F
        memset(partial, 0, 2 * a.E * sizeof(double))
        memset(r_partial, 0, 2 * a.F * sizeof(double))
        for row in range(task * a.ROWS, min((task + 1) * a.ROWS, a.M)):
            first = row * a.C
            mask_row(a, first)
            if a.E:
                add_row(a.dx + first, a.z + first if a.MZ else NULL, a.centre, a.C, partial)
            if a.F:
                add_row(a.dx + first, a.r + first if a.MR else NULL, a.r_centre, a.C, r_partial)


cdef inline void add_parts(const double *partial, int64_t parts, int64_t size, double *sums) noexcept nogil:
    cdef int64_t part, i
    memset(sums, 0, size * sizeof(double))
    for part in range(parts):
        for i in range(size):
            sums[i] += partial[part * size + i]


cdef void affine_backward_combine(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One task adds the parts in order."""
    cdef const AffineBackward *a = <const AffineBackward *> args
    add_parts(a.partial, a.PARTS, 2 * a.E, a.sums)
    add_parts(a.r_partial, a.PARTS, 2 * a.F, a.r_sums)


cdef struct AffineGradient:
    const float *dy  # M C
    const float *z  # M C
    const float *slope  # C
    const float *factor  # C
    const float *offset  # C
    float *dx  # M C
    int64_t M, C, ROWS


cdef void affine_gradient(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Row by row."""
    cdef const AffineGradient *a = <const AffineGradient *> args
    cdef int64_t row, c, i
    for row in range(begin * a.ROWS, min(end * a.ROWS, a.M)):
        for c in range(a.C):
            i = row * a.C + c
            a.dx[i] = a.slope[c] * a.dy[i] + a.factor[c] * a.z[i] + a.offset[c]


ADDRESSES = {
    "affine_forward": <size_t> <void *> affine_forward,
    "affine_backward": <size_t> <void *> affine_backward,
    "affine_backward_combine": <size_t> <void *> affine_backward_combine,
    "affine_gradient": <size_t> <void *> affine_gradient,
}
