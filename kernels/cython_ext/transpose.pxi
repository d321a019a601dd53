# Declaration of transpose.h.
cdef extern from "transpose.h" nogil:
    void transpose(const float *source, int64_t source_row, float *target, int64_t target_row, int64_t rows,
                   int64_t columns) noexcept
