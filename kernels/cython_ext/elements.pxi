# Declarations of elements.h and streaming.h, for the modules whose kernels compute element by element.
include "vector.pxi"

cdef extern from "elements.h" nogil:
    ctypedef struct inputs_t:
        const float *a
        const float *b
        const float *c
        float p, q, r
        const float *by[4]
    ctypedef float (*element_t)(const inputs_t *a, int64_t i) noexcept nogil
    void stream_tile(const float *tile, float *target, int64_t count) noexcept
    void map_elements(element_t f, int inputs, inputs_t given, float *y, bint around, int64_t count) noexcept
    void map_one(element_t f, const float *a, float p, float q, float *y, int64_t size, int64_t first,
                 int64_t last) noexcept
    void map_two(element_t f, const float *a, const float *b, float p, float q, float *y, int64_t size,
                 int64_t first, int64_t last) noexcept
