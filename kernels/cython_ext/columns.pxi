# Declarations of columns.h, for the modules whose kernels go along the rows of a matrix.
include "elements.pxi"

cdef extern from "columns.h" nogil:
    enum:
        WIDTH, LINE, CHUNK, SUMS, SQUARES, PRODUCTS
    ctypedef float numbers_t[4][WIDTH + LINE]
    ctypedef struct column_sums_t:
        pass
    void map_rows(element_t f, int inputs, int count, inputs_t given, int64_t stride, numbers_t numbers, float *y,
                  int64_t y_stride, bint around, int64_t rows, int64_t columns) noexcept
    void begin_sums(column_sums_t *of, int64_t columns, int64_t stride, const float *centre) noexcept
    void add_rows(int kind, column_sums_t *of, const float *a, int64_t a_stride, const float *b, int64_t b_stride,
                  int64_t rows) noexcept
    void end_sums(const column_sums_t *of, double *sums, double *seconds) noexcept
