# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Scales, shifts, activations and sums of branches over the M rows of (M, C): task i handles rows [i * ROWS, ...).

See columns.h for the loops; an element is read before its place is written. Sums are double in the end.
"""
from libc.math cimport INFINITY
from libc.stdint cimport int64_t

include "columns.pxi"
include "fusion.pxi"
include "partials.pxi"

cdef enum:
    TILE = 2048  # elements of a gradient that is added up before it passes the caches by: 8 KB

cdef float BELOW_SIX = 5.9999995  # the largest number below 6


cdef inline void columns_of(const float *array, bint there, float default, int64_t first, int64_t columns,
                            float *numbers) noexcept nogil:
    """The numbers of columns from `first` on, or a default where the array is absent."""
    cdef int64_t c
    for c in range(columns):
        numbers[c] = array[first + c] if there else default


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


cdef inline float clamped(float value, float low, float high) noexcept nogil:
    """NaN stays NaN."""
    value = low if value < low else value
    return high if value > high else value


cdef inline float one_branch(const inputs_t *of, int64_t i) noexcept nogil:
    return clamped(of.a[i] * of.by[0][i] + of.by[1][i], of.p, of.q)


cdef inline float two_branches(const inputs_t *of, int64_t i) noexcept nogil:
    cdef float other = of.b[i] * of.by[2][i] + of.by[3][i]
    return clamped(of.a[i] * of.by[0][i] + of.by[1][i] + other, of.p, of.q)


cdef void affine_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One pass over both branches."""
    cdef const AffineForward *a = <const AffineForward *> args
    cdef int64_t start = begin * a.ROWS, rows = min(end * a.ROWS, a.M) - start, c = 0, columns, first
    cdef bint around = streams(a.y, a.M * a.C, a.C)
    cdef numbers_t numbers
    cdef inputs_t inputs
    inputs.p = 0 if a.activation == RELU or a.activation == RELU6 else -INFINITY
    inputs.q = 6 if a.activation == RELU6 else INFINITY
    while c < a.C:
        columns, first = min(WIDTH, a.C - c), start * a.C + c
        columns_of(a.scale, a.P, 1, c, columns, numbers[0])
        columns_of(a.shift, a.P, 0, c, columns, numbers[1])
        columns_of(a.r_scale, a.Q, 1, c, columns, numbers[2])
        columns_of(a.r_shift, a.Q, 0, c, columns, numbers[3])
        inputs.a, inputs.b = a.x + first, a.r + first
        if a.MR:
            map_rows(two_branches, 2, 4, inputs, a.C, numbers, a.y + first, a.C, around, rows, columns)
        else:
            map_rows(one_branch, 1, 2, inputs, a.C, numbers, a.y + first, a.C, around, rows, columns)
        c += WIDTH


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


cdef inline bint passes(const inputs_t *of, const float *seen, int64_t i) noexcept nogil:
    """Whether the argument of the activation, made from what was seen, lies where the derivative is 1."""
    cdef float before = seen[i] * of.by[0][i] + of.by[1][i]
    return (before > 0) & (before <= of.p)


cdef inline float same(const inputs_t *of, int64_t i) noexcept nogil:
    return of.a[i]


cdef inline float both(const inputs_t *of, int64_t i) noexcept nogil:
    return of.a[i] + of.b[i]


cdef inline float same_masked(const inputs_t *of, int64_t i) noexcept nogil:
    cdef float gradient = of.a[i]
    return gradient if passes(of, of.b, i) else <float> 0


cdef inline float both_masked(const inputs_t *of, int64_t i) noexcept nogil:
    cdef float gradient = of.a[i] + of.b[i]
    return gradient if passes(of, of.c, i) else <float> 0


cdef inline void mask_rows(const AffineBackward *a, numbers_t numbers, int64_t first, float *target, int64_t stride,
                           int64_t rows, int64_t columns) noexcept nogil:
    """The gradients in front of the activation from element `first` on; rows of the target are `stride` apart."""
    cdef inputs_t inputs
    cdef const float *seen = (a.y if a.MY else a.z) + first
    inputs.a, inputs.b, inputs.c = a.dy + first, a.dy2 + first, seen
    inputs.p = BELOW_SIX if a.activation == RELU6 else INFINITY
    if a.activation == RELU or a.activation == RELU6:
        if a.M2:
            map_rows(both_masked, 3, 2, inputs, a.C, numbers, target, stride, False, rows, columns)
        else:
            inputs.b = seen
            map_rows(same_masked, 2, 2, inputs, a.C, numbers, target, stride, False, rows, columns)
    elif a.M2:
        map_rows(both, 2, 0, inputs, a.C, numbers, target, stride, False, rows, columns)
    else:
        map_rows(same, 1, 0, inputs, a.C, numbers, target, stride, False, rows, columns)


cdef inline void add_products(column_sums_t *of, const float *dx, int64_t stride, bint there, const float *z, int64_t C,
                              int64_t rows) noexcept nogil:
    """Add dx and, if z is there, its products with deviations of z."""
    if there:
        add_rows(PRODUCTS, of, dx, stride, z, C, rows)
    else:
        add_rows(SUMS, of, dx, stride, dx, stride, rows)


cdef inline void pass_rows(const AffineBackward *a, numbers_t numbers, int64_t first, int64_t rows, int64_t columns,
                           bint around, column_sums_t *sums, column_sums_t *r_sums) noexcept nogil:
    """Write dx from element `first` on and add it up, tile by tile."""
    cdef float tile[TILE]
    cdef float *target
    cdef int64_t step = TILE // columns, row = 0, here, stride = columns if around else a.C, i
    while row < rows:
        here = min(step, rows - row)
        target = &tile[0] if around else a.dx + first
        mask_rows(a, numbers, first, target, stride, here, columns)
        if a.E:
            add_products(sums, target, stride, a.MZ, a.z + first, a.C, here)
        if a.F:
            add_products(r_sums, target, stride, a.MR, a.r + first, a.C, here)
        if around:
            for i in range(here):
                stream_tile(target + i * columns, a.dx + first + i * a.C, columns)
        first += here * a.C
        row += here


cdef void affine_backward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """dx is written and added up in one pass."""
    cdef const AffineBackward *a = <const AffineBackward *> args
    cdef bint around = streams(a.dx, a.M * a.C, a.C)
    cdef column_sums_t sums, r_sums
    cdef numbers_t numbers
    cdef double *partial
    cdef int64_t task, c, columns
    for task in range(begin, end):
        c = 0
        while c < a.C:
            columns = min(WIDTH, a.C - c)
            columns_of(a.scale, a.P and not a.MY, 1, c, columns, numbers[0])
            columns_of(a.shift, a.P and not a.MY, 0, c, columns, numbers[1])
            begin_sums(&sums, columns, a.C, a.centre + c if a.E else NULL)
            begin_sums(&r_sums, columns, a.C, a.r_centre + c if a.F else NULL)
            pass_rows(a, numbers, task * a.ROWS * a.C + c, min(a.ROWS, a.M - task * a.ROWS), columns, around, &sums,
                      &r_sums)
            if a.E:
                partial = a.partial + task * 2 * a.C + c
                end_sums(&sums, partial, partial + a.C)
            if a.F:
                partial = a.r_partial + task * 2 * a.C + c
                end_sums(&r_sums, partial, partial + a.C)
            c += WIDTH


cdef void affine_backward_combine(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One task adds the parts in order."""
    cdef const AffineBackward *a = <const AffineBackward *> args
    add_tasks(a.partial, a.sums, a.PARTS, 2 * a.E)
    add_tasks(a.r_partial, a.r_sums, a.PARTS, 2 * a.F)


cdef struct AffineGradient:
    const float *dy  # M C
    const float *z  # M C
    const float *slope  # C
    const float *factor  # C
    const float *offset  # C
    float *dx  # M C
    int64_t M, C, ROWS


cdef inline float composed(const inputs_t *of, int64_t i) noexcept nogil:
    return of.a[i] * of.by[0][i] + (of.b[i] * of.by[1][i] + of.by[2][i])


cdef void affine_gradient(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Two multiplications and sums an element."""
    cdef const AffineGradient *a = <const AffineGradient *> args
    cdef int64_t start = begin * a.ROWS, rows = min(end * a.ROWS, a.M) - start, c = 0, columns, first
    cdef bint around = streams(a.dx, a.M * a.C, a.C)
    cdef numbers_t numbers
    cdef inputs_t inputs
    while c < a.C:
        columns, first = min(WIDTH, a.C - c), start * a.C + c
        columns_of(a.slope, True, 0, c, columns, numbers[0])
        columns_of(a.factor, True, 0, c, columns, numbers[1])
        columns_of(a.offset, True, 0, c, columns, numbers[2])
        inputs.a, inputs.b = a.dy + first, a.z + first
        map_rows(composed, 2, 3, inputs, a.C, numbers, a.dx + first, a.C, around, rows, columns)
        c += WIDTH


ADDRESSES = {
    "affine_forward": <size_t> <void *> affine_forward,
    "affine_backward": <size_t> <void *> affine_backward,
    "affine_backward_combine": <size_t> <void *> affine_backward_combine,
    "affine_gradient": <size_t> <void *> affine_gradient,
}
