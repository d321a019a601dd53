"""Transformed weights of `winograd.pyx`."""


cdef inline void transform_panel(const float *w, float *planes, int64_t plane, int64_t panel, int64_t first,
                                 int64_t count, int64_t K, int64_t C) noexcept nogil:
    """planes[plane, c - first, k] = G w[k, :, :, c] G^T for k of a panel of channels and `count` c from `first` on."""
    cdef float taps[9 * LANES * LANES]
    cdef int64_t c, i, j, k, t, kernels, channels
    for c in range((count + LANES - 1) // LANES):
        channels = min(LANES, count - c * LANES)
        for j in range(PANEL // LANES):
            k = panel * PANEL + j * LANES
            kernels = max(0, min(LANES, K - k))
            memset(taps, 0, sizeof(taps))
            for t in range(9):
                transpose(w + (k * 9 + t) * C + first + c * LANES, 9 * C, taps + t * LANES * LANES, LANES, kernels,
                          channels)
            for i in range(channels):
                transform_weights(taps + i * LANES, LANES * LANES, LANES,
                                  planes + (c * LANES + i) * PANEL + j * LANES, plane)


cdef inline void transform_turned_panel(const float *w, float *planes, int64_t plane, int64_t panel, int64_t first,
                                        int64_t count, int64_t K, int64_t C) noexcept nogil:
    """planes[plane, k - first, c] = the same of the turned kernel w[k, ::-1, ::-1, c] for c of a panel."""
    cdef int64_t k, j, c
    for k in range(count):
        for j in range(PANEL // LANES):
            c = panel * PANEL + j * LANES
            transform_weights(w + ((first + k) * 9 + 8) * C + c, -C, C - c, planes + k * PANEL + j * LANES, plane)


ctypedef void (*weights_t)(const float *w, float *planes, int64_t plane, int64_t panel, int64_t first, int64_t count,
                           int64_t K, int64_t C) noexcept nogil


cdef inline void transform_kernels(weights_t transform, const float *w, float *transformed, int64_t depth, int64_t K,
                                   int64_t C, int64_t WEIGHTS, int64_t begin, int64_t end) noexcept nogil:
    """transformed[panel, plane, row, column] by one of the above; a task writes DEPTH of `depth` rows."""
    cdef int64_t task, panel, first, runs = (depth + DEPTH - 1) // DEPTH
    for task in range(begin, end):
        panel, first = task // runs, task % runs * DEPTH
        transform(w, transformed + panel * PLANES * WEIGHTS + first * PANEL, WEIGHTS, panel, first,
                  min(DEPTH, depth - first), K, C)
