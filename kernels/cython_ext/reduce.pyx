# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Sums and means over the middle axis of (A, R, B), and of squares.

Columns are added up as columns.h says; where B is 1, the elements of a row are added side by side, see rows.h.
"""
from libc.stdint cimport int64_t

include "columns.pxi"

cdef int64_t BLOCK
from ...blocking import BLOCK

cdef extern from "rows.h" nogil:
    double sum_row(const float *a, int64_t count) noexcept
    double sum_products(const float *a, const float *b, int64_t count) noexcept


cdef struct SumForward:
    const float *x
    float *y
    double *partial
    int64_t A, R, B, PARTS, OUTER, ROWS


cdef inline void sum_parts(const SumForward *a, int64_t begin, int64_t end) noexcept nogil:
    """Task i sums part i % PARTS of the reduced axis, for block i // PARTS of the outer one, into `partial`."""
    cdef const float *x
    cdef double *partial
    cdef column_sums_t sums
    cdef int64_t task, part, outer, rows, b
    for task in range(begin, end):
        part = task % a.PARTS
        rows = min(a.ROWS, a.R - part * a.ROWS)
        for outer in range(task // a.PARTS * a.OUTER, min((task // a.PARTS + 1) * a.OUTER, a.A)):
            x = a.x + (outer * a.R + part * a.ROWS) * a.B
            partial = a.partial + (part * a.A + outer) * a.B
            if a.B == 1:
                partial[0] = sum_row(x, rows)
                continue
            b = 0
            while b < a.B:
                begin_sums(&sums, min(WIDTH, a.B - b), a.B, NULL)
                add_rows(SUMS, &sums, x + b, a.B, x + b, a.B, rows)
                end_sums(&sums, partial + b, NULL)
                b += WIDTH


cdef inline void add_parts(const SumForward *a, double divisor, int64_t begin, int64_t end) noexcept nogil:
    """Task i adds the parts of outputs [i * BLOCK, (i + 1) * BLOCK), divides and rounds."""
    cdef double total[WIDTH]
    cdef const double *partial
    cdef int64_t last = min(end * BLOCK, a.A * a.B), first = begin * BLOCK, part, count, i
    while first < last:
        count = min(WIDTH, last - first)
        for i in range(count):
            total[i] = 0
        for part in range(a.PARTS):
            partial = a.partial + part * a.A * a.B + first
            for i in range(count):
                total[i] += partial[i]
        for i in range(count):
            a.y[first + i] = <float> (total[i] / divisor)
        first += WIDTH


cdef void sum_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """A task is one part of the reduced axis for one block of the outer one."""
    sum_parts(<const SumForward *> args, begin, end)


cdef void sum_forward_reduce(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Parts in order; a task is a block of outputs."""
    add_parts(<const SumForward *> args, 1, begin, end)


cdef struct SumBackward:
    const float *dy
    float *dx
    int64_t A, B, R, ROWS
    int64_t count


cdef inline void spread(const SumBackward *a, float divisor, int64_t begin, int64_t end) noexcept nogil:
    """Write rows [begin * ROWS, end * ROWS) of the A * R rows of dx: each is the quotient of its row of dy."""
    cdef int64_t first = begin * a.ROWS, last = min(end * a.ROWS, a.A * a.R), stop, row, b
    cdef const float *dy
    cdef float *dx
    cdef float quotient
    while first < last:
        dy = a.dy + first // a.R * a.B
        stop = min(last, (first // a.R + 1) * a.R)
        if a.B == 1:  # the rows of an outer index are then one contiguous run
            quotient = dy[0] / divisor
            for row in range(first, stop):
                a.dx[row] = quotient
        else:
            for row in range(first, stop):
                dx = a.dx + row * a.B
                for b in range(a.B):
                    dx[b] = dy[b] / divisor
        first = stop


cdef void sum_backward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Task i writes rows [i * ROWS, (i + 1) * ROWS) of dx."""
    spread(<const SumBackward *> args, 1, begin, end)


cdef void mean_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """The parts are those of `sum_forward`, and so is the argument block."""
    sum_parts(<const SumForward *> args, begin, end)


cdef void mean_forward_reduce(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Parts in order, divided by R; a task is a block of outputs."""
    cdef const SumForward *a = <const SumForward *> args
    add_parts(a, <double> a.R, begin, end)


cdef void mean_backward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Task i writes rows [i * ROWS, (i + 1) * ROWS) of dx; the argument block is that of `sum_backward`."""
    cdef const SumBackward *a = <const SumBackward *> args
    spread(a, <float> a.R, begin, end)


cdef struct SumSquares:
    const float *x
    double *y
    double *partial
    int64_t SIZE, PARTS


cdef void sum_squares(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Task i adds block i of BLOCK elements."""
    cdef const SumSquares *a = <const SumSquares *> args
    cdef const float *x
    cdef int64_t task
    for task in range(begin, end):
        x = a.x + task * BLOCK
        a.partial[task] = sum_products(x, x, min(BLOCK, a.SIZE - task * BLOCK))


cdef void sum_squares_reduce(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One task adds the blocks in order."""
    cdef const SumSquares *a = <const SumSquares *> args
    cdef int64_t part
    a.y[0] = 0
    for part in range(a.PARTS):
        a.y[0] += a.partial[part]


ADDRESSES = {
    "sum_forward": <size_t> <void *> sum_forward,
    "sum_forward_reduce": <size_t> <void *> sum_forward_reduce,
    "sum_backward": <size_t> <void *> sum_backward,
    "mean_forward": <size_t> <void *> mean_forward,
    "mean_forward_reduce": <size_t> <void *> mean_forward_reduce,
    "mean_backward": <size_t> <void *> mean_backward,
    "sum_squares": <size_t> <void *> sum_squares,
    "sum_squares_reduce": <size_t> <void *> sum_squares_reduce,
}
