# Declarations of tiles.h.
include "vector.pxi"

cdef extern from "tiles.h" nogil:
    enum: TALLEST, STORE, ACCUMULATE, ADD_BIAS
    ctypedef struct windows_t:
        const float *a
        const int64_t *places
        int64_t step, runs
        const int64_t *shifts
        int64_t length
    ctypedef struct rows_t:
        float *c
        const int64_t *places
        const float *bias
        int mode, streams
    ctypedef struct later_t:
        const float *from_ "from"
        int64_t count
    void window_gemm(int64_t m, int64_t n, windows_t windows, const float *b, int64_t panel, int64_t b_row,
                     int64_t ahead, rows_t out, later_t *later) noexcept
