# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Linear layers: matrix products of packed panels, a block of rows and columns of the result a task."""
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

include "blocking.pxi"
include "tiles.pxi"
include "transpose.pxi"

cdef enum:
    BAND = 8  # rows that are copied side by side


cdef inline void copy_rows(const float *source, int64_t source_row, float *target, int64_t target_row, int64_t rows,
                           int64_t columns) noexcept nogil:
    """target[i, j] = source[i, j] for rows of few columns that may stand far apart."""
    cdef int64_t i
    for i in range(rows):
        memcpy(target + i * target_row, source + i * source_row, columns * sizeof(float))


cdef inline void pack_columns(const float *b, float *packed, int64_t depth, int64_t n, int64_t begin,
                              int64_t end) noexcept nogil:
    """packed[panel, d, j] = b[d, panel * PANEL + j]; a task packs PACKED rows of all panels, a few rows at a time.

    Then memory is read line by line of its pages, however long rows are.
    """
    cdef int64_t first = begin * PACKED, last = min(end * PACKED, depth), panel, rows
    while first < last:
        rows = min(depth - first, BAND)
        for panel in range((n + PANEL - 1) // PANEL):
            copy_rows(b + first * n + panel * PANEL, n, packed + (panel * depth + first) * PANEL, PANEL, rows,
                      min(n - panel * PANEL, PANEL))
        first += BAND


cdef inline void pack_transposed(const float *b, float *packed, int64_t depth, int64_t n, int64_t begin,
                                 int64_t end) noexcept nogil:
    """packed[panel, d, j] = b[panel * PANEL + j, d]; a task packs PACKED columns."""
    cdef int64_t first = begin * PACKED
    while first < min(end * PACKED, n):
        transpose(b + first * depth, depth, packed + first // PANEL * depth * PANEL + first % PANEL, PANEL,
                  min(n - first, PACKED), depth)
        first += PACKED


cdef struct Product:
    const float *a
    int64_t a_row
    bint transposed  # rows of the memory of A are its columns
    const float *b
    int64_t panel, b_row
    float *c
    const float *bias  # NULL: none
    float *staged
    int64_t *places
    int64_t *shifts
    int64_t m, n, depth, ROWS, COLUMNS, DEPTH


cdef inline void stage(const Product *p, int64_t row, int64_t first, int64_t rows, int64_t count) noexcept nogil:
    """staged[i // TALLEST, d, i % TALLEST] = A[row + i, first + d]: a step of a tile finds its numbers side by side."""
    cdef int64_t i = 0
    while i < rows:
        if p.transposed:
            copy_rows(p.a + first * p.a_row + row + i, p.a_row, p.staged + i * p.DEPTH, TALLEST, count,
                      min(rows - i, TALLEST))
        else:
            transpose(p.a + (row + i) * p.a_row + first, p.a_row, p.staged + i * p.DEPTH, TALLEST, min(rows - i, TALLEST),
                      count)
        i += TALLEST


cdef inline void without_depth(const Product *p, float *target, int64_t rows, int64_t column,
                               int64_t columns) noexcept nogil:
    """The bias, or zeros: a sum of nothing."""
    cdef int64_t i
    for i in range(rows):
        if p.bias != NULL:
            memcpy(target + i * p.n, p.bias + column, columns * sizeof(float))
        else:
            memset(target + i * p.n, 0, columns * sizeof(float))


cdef inline void multiply(const Product *p, int64_t begin, int64_t end) noexcept nogil:
    """C = A B + bias; a task computes ROWS x COLUMNS of it, DEPTH products at a time."""
    cdef int64_t across = (p.n + p.COLUMNS - 1) // p.COLUMNS, task, row, column, rows, columns, first, count, i
    cdef windows_t windows
    cdef rows_t out
    cdef later_t nothing
    nothing.from_, nothing.count = p.a, 0
    p.shifts[0] = 0
    for i in range(p.ROWS):
        p.places[i] = i // TALLEST * TALLEST * p.DEPTH + i % TALLEST
        p.places[p.ROWS + i] = i * p.n
    windows.a, windows.places, windows.step, windows.runs, windows.shifts = p.staged, p.places, TALLEST, 1, p.shifts
    out.places = p.places + p.ROWS
    for task in range(begin, end):
        row, column = task // across * p.ROWS, task % across * p.COLUMNS
        rows, columns = min(p.ROWS, p.m - row), min(p.COLUMNS, p.n - column)
        out.c, out.bias = p.c + row * p.n + column, p.c
        out.mode, out.streams = STORE, False
        if p.bias != NULL:
            out.bias, out.mode = p.bias + column, ADD_BIAS
        if p.depth == 0:
            without_depth(p, out.c, rows, column, columns)
        first = 0
        while first < p.depth:
            count = min(p.DEPTH, p.depth - first)
            stage(p, row, first, rows, count)
            windows.length = count
            window_gemm(rows, columns, windows, p.b + column // PANEL * p.panel + first * p.b_row, p.panel, p.b_row,
                        0, out, &nothing)
            out.mode = ACCUMULATE
            first += p.DEPTH


cdef struct LinearForward:
    const float *x  # M I
    const float *w  # O I
    const float *b  # B
    float *y  # M O
    float *packed  # PANELS I 32
    float *staged  # STAGED DEPTH
    int64_t *places  # 2 ROWS
    int64_t *shifts  # 1
    int64_t M, I, O, B, PANELS, STAGED, DEPTH, ROWS, COLUMNS, PACKS


cdef void panels_linear_forward_pack(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """The weights, turned, in panels of outputs."""
    cdef const LinearForward *a = <const LinearForward *> args
    pack_transposed(a.w, a.packed, a.I, a.O, begin, end)


cdef void panels_linear_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """y = x w^T + b."""
    cdef const LinearForward *a = <const LinearForward *> args
    cdef Product p
    p.a, p.a_row, p.transposed, p.c = a.x, a.I, False, a.y
    p.b, p.panel, p.b_row = a.packed, a.I * PANEL, PANEL
    p.bias = a.b if a.B > 0 else NULL
    p.m, p.n, p.depth = a.M, a.O, a.I
    p.staged, p.places, p.shifts = a.staged, a.places, a.shifts
    p.ROWS, p.COLUMNS, p.DEPTH = a.ROWS, a.COLUMNS, a.DEPTH
    multiply(&p, begin, end)


cdef struct LinearBackwardData:
    const float *dy  # M O
    const float *w  # O I
    float *dx  # M I
    float *packed  # PANELS O 32
    float *staged  # STAGED DEPTH
    int64_t *places  # 2 ROWS
    int64_t *shifts  # 1
    int64_t M, O, I, PANELS, STAGED, DEPTH, ROWS, COLUMNS, PACKS


cdef void panels_linear_backward_data_pack(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """The weights as they are, in panels of inputs."""
    cdef const LinearBackwardData *a = <const LinearBackwardData *> args
    pack_columns(a.w, a.packed, a.O, a.I, begin, end)


cdef void panels_linear_backward_data(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """dx = dy w."""
    cdef const LinearBackwardData *a = <const LinearBackwardData *> args
    cdef Product p
    p.a, p.a_row, p.transposed, p.c, p.bias = a.dy, a.O, False, a.dx, NULL
    p.b, p.panel, p.b_row = a.packed, a.O * PANEL, PANEL
    if a.PACKS == 0:
        p.b, p.panel, p.b_row = a.w, PANEL, a.I
    p.m, p.n, p.depth = a.M, a.I, a.O
    p.staged, p.places, p.shifts = a.staged, a.places, a.shifts
    p.ROWS, p.COLUMNS, p.DEPTH = a.ROWS, a.COLUMNS, a.DEPTH
    multiply(&p, begin, end)


cdef struct LinearBackwardWeight:
    const float *x  # M I
    const float *dy  # M O
    float *dw  # O I
    float *packed  # PANELS M 32
    float *staged  # STAGED DEPTH
    int64_t *places  # 2 ROWS
    int64_t *shifts  # 1
    int64_t M, I, O, PANELS, STAGED, DEPTH, ROWS, COLUMNS, PACKS


cdef void panels_linear_backward_weight_pack(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """The inputs as they are, in panels."""
    cdef const LinearBackwardWeight *a = <const LinearBackwardWeight *> args
    pack_columns(a.x, a.packed, a.M, a.I, begin, end)


cdef void panels_linear_backward_weight(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """dw = dy^T x; the sum over all M rows stays inside the task."""
    cdef const LinearBackwardWeight *a = <const LinearBackwardWeight *> args
    cdef Product p
    p.a, p.a_row, p.transposed, p.c, p.bias = a.dy, a.O, True, a.dw, NULL
    p.b, p.panel, p.b_row = a.packed, a.M * PANEL, PANEL
    if a.PACKS == 0:
        p.b, p.panel, p.b_row = a.x, PANEL, a.I
    p.m, p.n, p.depth = a.O, a.I, a.M
    p.staged, p.places, p.shifts = a.staged, a.places, a.shifts
    p.ROWS, p.COLUMNS, p.DEPTH = a.ROWS, a.COLUMNS, a.DEPTH
    multiply(&p, begin, end)


ADDRESSES = {
    "panels_linear_forward_pack": <size_t> <void *> &panels_linear_forward_pack,
    "panels_linear_forward": <size_t> <void *> &panels_linear_forward,
    "panels_linear_backward_data_pack": <size_t> <void *> &panels_linear_backward_data_pack,
    "panels_linear_backward_data": <size_t> <void *> &panels_linear_backward_data,
    "panels_linear_backward_weight_pack": <size_t> <void *> &panels_linear_backward_weight_pack,
    "panels_linear_backward_weight": <size_t> <void *> &panels_linear_backward_weight,
}
