# Declarations of window.h.
cdef extern from "window.h" nogil:
    int64_t first_tap(int64_t start, int64_t dilation) noexcept
    int64_t end_tap(int64_t start, int64_t dilation, int64_t taps, int64_t size) noexcept
    void unfold_row(const float *row, bint inside, float *target, int64_t start, int64_t dilation, int64_t taps,
                    int64_t size, int64_t pixel, int64_t channels) noexcept
