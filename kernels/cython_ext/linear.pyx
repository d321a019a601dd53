# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Linear layers: one task computes a TILE_ROWS x TILE_COLUMNS tile of the result with `gemm`."""

from libc.stdint cimport int64_t

from ...blocking import PACKED as _PACKED

cdef extern from "gemm.h":
    void gemm(int64_t m, int64_t n, int64_t depth, const float *a, int64_t a_row, int64_t a_depth, const float *b,
              int64_t b_row, float *c, int64_t c_row, int accumulate) noexcept nogil

cdef extern from "transpose.h":
    void transpose(const float *source, int64_t source_row, float *target, int64_t target_row, int64_t rows,
                   int64_t columns) noexcept nogil

cdef int64_t PACKED = _PACKED

cdef struct LinearForward:
    const float *x  # M I
    const float *w  # O I
    const float *b  # B
    float *y  # M O
    float *packed  # I O
    int64_t M, I, O, B, TILE_ROWS, TILE_COLUMNS

cdef struct LinearBackwardData:
    const float *dy  # M O
    const float *w  # O I
    float *dx  # M I
    int64_t M, O, I, TILE_ROWS, TILE_COLUMNS

cdef struct LinearBackwardWeight:
    const float *x  # M I
    const float *dy  # M O
    float *dw  # O I
    int64_t M, I, O, TILE_ROWS, TILE_COLUMNS


cdef inline int64_t tile_start(int64_t task, int64_t columns, int64_t tile_rows, int64_t tile_columns,
                               int64_t *column) noexcept nogil:
    """First row of a tile of a matrix with `columns` columns; its first column goes to `column`."""
    cdef int64_t across = (columns + tile_columns - 1) // tile_columns
    column[0] = task % across * tile_columns
    return task // across * tile_rows


cdef void linear_forward_pack(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """packed[i, o] = w[o, i]; a task transposes PACKED outputs."""
    cdef const LinearForward *a = <const LinearForward *> args
    cdef int64_t first = begin * PACKED, last = min(end * PACKED, a.O)
    transpose(a.w + first * a.I, a.I, a.packed + first, a.O, last - first, a.I)


cdef void linear_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """y = bias, then y += x @ packed on the tile."""
    cdef const LinearForward *a = <const LinearForward *> args
    cdef int64_t task, row, column, rows, columns, i, o
    cdef float *y
    for task in range(begin, end):
        row = tile_start(task, a.O, a.TILE_ROWS, a.TILE_COLUMNS, &column)
        rows = min(a.TILE_ROWS, a.M - row)
        columns = min(a.TILE_COLUMNS, a.O - column)
        y = a.y + row * a.O + column
        if a.B > 0:
            for i in range(rows):
                for o in range(columns):
                    y[i * a.O + o] = a.b[column + o]
        gemm(rows, columns, a.I, a.x + row * a.I, a.I, 1, a.packed + column, a.O, y, a.O, a.B > 0)


cdef void linear_backward_data(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """dx = dy @ w on the tile."""
    cdef const LinearBackwardData *a = <const LinearBackwardData *> args
    cdef int64_t task, row, column
    for task in range(begin, end):
        row = tile_start(task, a.I, a.TILE_ROWS, a.TILE_COLUMNS, &column)
        gemm(min(a.TILE_ROWS, a.M - row), min(a.TILE_COLUMNS, a.I - column), a.O, a.dy + row * a.O, a.O, 1,
             a.w + column, a.I, a.dx + row * a.I + column, a.I, 0)


cdef void linear_backward_weight(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """dw = dy^T @ x on the tile; the sum over all M rows stays inside the task."""
    cdef const LinearBackwardWeight *a = <const LinearBackwardWeight *> args
    cdef int64_t task, row, column
    for task in range(begin, end):
        row = tile_start(task, a.I, a.TILE_ROWS, a.TILE_COLUMNS, &column)
        gemm(min(a.TILE_ROWS, a.O - row), min(a.TILE_COLUMNS, a.I - column), a.M, a.dy + row, 1, a.O,
             a.x + column, a.I, a.dw + row * a.I + column, a.I, 0)


ADDRESSES = {
    "linear_forward_pack": <size_t> <void *> &linear_forward_pack,
    "linear_forward": <size_t> <void *> &linear_forward,
    "linear_backward_data": <size_t> <void *> &linear_backward_data,
    "linear_backward_weight": <size_t> <void *> &linear_backward_weight,
}
