# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Sums and means over the middle axis of (A, R, B), and of squares: float32 in runs of RUN terms, runs in double."""
from libc.stdint cimport int64_t

cdef int64_t BLOCK
from ...blocking import BLOCK

cdef enum:
    RUN = 256
    COLUMNS = 256  # of the inner axis, whose running sums stand on the stack

cdef extern from "lanes.h" nogil:
    float sum_floats(const float *x, int64_t count) noexcept


cdef struct SumForward:
    const float *x
    float *y
    double *partial
    int64_t A, R, B, PARTS, OUTER, ROWS


cdef inline double sum_line(const float *x, int64_t count) noexcept nogil:
    cdef double total = 0
    cdef int64_t run
    for run in range((count + RUN - 1) // RUN):
        total += sum_floats(x + run * RUN, min(RUN, count - run * RUN))
    return total


cdef inline void sum_rows(const float *x, int64_t rows, int64_t step, int64_t count, double *total) noexcept nogil:
    """The sum of `rows` rows that are `step` apart, `count` <= COLUMNS wide."""
    cdef float line[COLUMNS]
    cdef const float *row
    cdef int64_t run, r, last, b
    for b in range(count):
        total[b] = 0
    for run in range((rows + RUN - 1) // RUN):
        for b in range(count):
            line[b] = 0
        r, last = run * RUN, min(rows, (run + 1) * RUN)
        while r + 4 <= last:  # four rows at a time, for a store and a load of `line` between them cost more than a sum
            row = x + r * step
            for b in range(count):
                line[b] += (row[b] + row[step + b]) + (row[2 * step + b] + row[3 * step + b])
            r += 4
        while r < last:
            for b in range(count):
                line[b] += x[r * step + b]
            r += 1
        for b in range(count):
            total[b] += line[b]


cdef inline void sum_parts(const SumForward *a, int64_t begin, int64_t end) noexcept nogil:
    """Task i sums part i % PARTS of the reduced axis, for block i // PARTS of the outer one, into `partial`."""
    cdef const float *x
    cdef double *partial
    cdef int64_t task, part, outer, rows, group
    for task in range(begin, end):
        part = task % a.PARTS
        rows = min(a.ROWS, a.R - part * a.ROWS)
        for outer in range(task // a.PARTS * a.OUTER, min((task // a.PARTS + 1) * a.OUTER, a.A)):
            x = a.x + (outer * a.R + part * a.ROWS) * a.B
            partial = a.partial + (part * a.A + outer) * a.B
            if a.B == 1:
                partial[0] = sum_line(x, rows)
                continue
            for group in range((a.B + COLUMNS - 1) // COLUMNS):
                sum_rows(x + group * COLUMNS, rows, a.B, min(COLUMNS, a.B - group * COLUMNS),
                         partial + group * COLUMNS)


cdef inline void add_parts(const SumForward *a, double divisor, int64_t begin, int64_t end) noexcept nogil:
    """Task i adds the parts of outputs [i * BLOCK, (i + 1) * BLOCK), divides and rounds."""
    cdef double total[COLUMNS]
    cdef const double *partial
    cdef int64_t last = min(end * BLOCK, a.A * a.B), first = begin * BLOCK, part, count, i
    while first < last:
        count = min(COLUMNS, last - first)
        for i in range(count):
            total[i] = 0
        for part in range(a.PARTS):
            partial = a.partial + part * a.A * a.B + first
            for i in range(count):
                total[i] += partial[i]
        for i in range(count):
            a.y[first + i] = <float> (total[i] / divisor)
        first += COLUMNS


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
    cdef float squares[RUN]
    cdef const float *x
    cdef double total
    cdef int64_t task, start, last, count, i
    for task in range(begin, end):
        total = 0
        start, last = task * BLOCK, min((task + 1) * BLOCK, a.SIZE)
        while start < last:
            x = a.x + start
            count = min(RUN, last - start)
            for i in range(count):
                squares[i] = x[i] * x[i]
            total += sum_floats(squares, count)
            start += RUN
        a.partial[task] = total


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
