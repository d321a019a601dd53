# Declarations of sources.h.
cdef extern from "sources.h" nogil:
    ctypedef struct source_t:
        const float *x
    ctypedef struct finish_t:
        double *sums
    source_t unchanged(const float *x) noexcept
    source_t activated(const float *x, const float *scale, const float *shift, bint scaled, int64_t activation) noexcept
    source_t composed(const float *dy, const float *z, const float *slope, const float *factor, const float *offset,
                      bint changed) noexcept
    finish_t summed(const float *centre, double *sums) noexcept
    finish_t finished(const float *x, const float *scale, const float *shift, bint scaled, int64_t activation,
                      const float *centre, double *sums) noexcept
    bint changes(const source_t *source) noexcept
    bint finishes(const finish_t *finish) noexcept
    void load_pixels(const source_t *source, int64_t start, float *target, int64_t pixels, int64_t channels) noexcept
    void finish_pixels(const finish_t *finish, float *y, int64_t start, int64_t pixels, int64_t channels) noexcept
