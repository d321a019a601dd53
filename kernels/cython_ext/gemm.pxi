# Declaration of gemm.h.
cdef extern from "gemm.h" nogil:
    void gemm(int64_t m, int64_t n, int64_t depth, const float *a, int64_t a_row, int64_t a_depth, const float *b,
              int64_t b_row, float *c, int64_t c_row, bint accumulate) noexcept
