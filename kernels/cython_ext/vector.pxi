# Declaration of vector.h, as far as loops over tasks need it.
cdef extern from "vector.h" nogil:
    bint streams(const void *p, int64_t size, int64_t multiple) noexcept
