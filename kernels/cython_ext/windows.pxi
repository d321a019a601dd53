"""Blocks of images that tasks of a convolution copy with their padding, and sums of the parts of a weight gradient."""
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

include "blocking.pxi"
include "partials.pxi"
include "sources.pxi"
include "transpose.pxi"


cdef inline void stage_row(const source_t *source, int64_t row, bint inside, float *target, int64_t start,
                           int64_t count, int64_t size, int64_t channels) noexcept nogil:
    """`count` pixels from coordinate `start` on of an image row of `size` pixels, loaded; zeros outside.

    The row begins `row` elements behind the source's first.
    """
    cdef int64_t before = min(-start, count) if start < 0 else 0, skipped = max(start, 0)
    cdef int64_t found = min(size - skipped, count - before)
    if not inside or found < 0:
        before, found = count, 0
    memset(target, 0, before * channels * sizeof(float))
    if found > 0:
        load_pixels(source, row + skipped * channels, target + before * channels, found, channels)
    memset(target + (before + found) * channels, 0, (count - before - found) * channels * sizeof(float))


cdef struct Window:
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]
    int64_t R, S, H, W, C, HP, WP


cdef inline Window window_of(const int64_t *geometry, int64_t R, int64_t S, int64_t H, int64_t W, int64_t C,
                             int64_t HP, int64_t WP) noexcept nogil:
    """The window of an argument block, where stride, padding and dilation stand one behind the other."""
    cdef Window w
    memcpy(w.stride, geometry, 6 * sizeof(int64_t))
    w.R, w.S, w.H, w.W, w.C, w.HP, w.WP = R, S, H, W, C, HP, WP
    return w


cdef inline bint sparse(const Window *w) noexcept nogil:
    """Whether a kernel leaves out pixels between those that it sees."""
    return w.R * w.S == 1 and (w.stride[0] > 1 or w.stride[1] > 1)


cdef inline void stage_windows(const source_t *source, const Window *w, float *staged, int64_t first, int64_t images,
                               int64_t top, int64_t rows) noexcept nogil:
    """Copy what `rows` output rows from `top` on of some images see: HP x WP pixels of each."""
    cdef int64_t image, row, column, h, start
    for image in range(images):
        if sparse(w):
            for row in range(rows):
                h = (top + row) * w.stride[0] - w.padding[0]
                start = ((first + image) * w.H + h) * w.W * w.C
                for column in range(w.WP):
                    stage_row(source, start, 0 <= h < w.H, staged + ((image * w.HP + row) * w.WP + column) * w.C,
                              column * w.stride[1] - w.padding[1], 1, w.W, w.C)
        else:
            for row in range((rows - 1) * w.stride[0] + (w.R - 1) * w.dilation[0] + 1):
                h = top * w.stride[0] - w.padding[0] + row
                stage_row(source, ((first + image) * w.H + h) * w.W * w.C, 0 <= h < w.H,
                          staged + (image * w.HP + row) * w.WP * w.C, -w.padding[1], w.WP, w.W, w.C)


cdef inline void reduce_parts(const float *parts, float *dw, int64_t K, int64_t KG, int64_t DEPTH, int64_t PANELS,
                              int64_t GROUPS, int64_t PARTS, int64_t begin, int64_t end) noexcept nogil:
    """dw = the transposed parts, added in order in the place of the first; a task adds PACKED output channels."""
    cdef int64_t k = begin * PACKED, last = min(end * PACKED, K), size = GROUPS * PANELS * DEPTH * PANEL
    cdef int64_t within, count, part, i, j
    cdef float *total
    cdef const float *addend
    while k < last:
        within = k % KG
        count = min(min(last - k, KG - within), PANEL - within % PANEL)
        total = <float *> parts + (k // KG * PANELS + within // PANEL) * DEPTH * PANEL + within % PANEL
        for part in range(1, PARTS):
            addend = total + part * size
            for i in range(DEPTH):
                for j in range(count):
                    total[i * PANEL + j] += addend[i * PANEL + j]
        transpose(total, PANEL, dw + k * DEPTH, DEPTH, DEPTH, count)
        k += count
