# Declarations of partials.h.
cdef extern from "partials.h" nogil:
    double *own_sums(double *task_sums, int64_t task, int64_t E) noexcept
    void add_tasks(const double *task_sums, double *sums, int64_t tasks, int64_t count) noexcept
    void add_parts(const float *partial, float *total, int64_t size, int64_t parts, int64_t first,
                   int64_t last) noexcept
