# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Windows of an image as rows of a matrix, and back. A pixel's channels are contiguous: they are what is moved."""
from libc.stdint cimport int64_t
from libc.string cimport memset

include "window.pxi"


cdef struct Im2col:
    const float *x
    float *columns
    int64_t N, H, W, C, OH, OW, R, S
    int64_t kernel_size[2]
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]


cdef void im2col(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Copies; a task is one row (n, oh) of windows; no scratch."""
    cdef const Im2col *a = <const Im2col *> args
    cdef float *taps = a.columns + begin * a.OW * a.R * a.S * a.C
    cdef int64_t task, ow, r, h
    for task in range(begin, end):
        for ow in range(a.OW):
            for r in range(a.R):
                h = task % a.OH * a.stride[0] - a.padding[0] + r * a.dilation[0]
                unfold_row(a.x + (task // a.OH * a.H + h) * a.W * a.C, 0 <= h < a.H, taps,
                           ow * a.stride[1] - a.padding[1], a.dilation[1], a.S, a.W, a.C, a.C)
                taps += a.S * a.C


cdef struct Col2im:
    const float *columns
    float *x
    int64_t N, OH, OW, R, S, C, H, W
    int64_t size[2]
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]


cdef inline void scatter_taps(
    const float *taps, float *line, int64_t start, int64_t dilation, int64_t S, int64_t W, int64_t C
) noexcept nogil:
    """Add one row of a window to one row of the image, where it is inside."""
    cdef const float *tap
    cdef float *pixel
    cdef int64_t s, c
    for s in range(first_tap(start, dilation), end_tap(start, dilation, S, W)):
        tap, pixel = taps + s * C, line + (start + s * dilation) * C
        for c in range(C):
            pixel[c] += tap[c]


cdef void col2im(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Sums; a task is one row (n, h) of x, to which it adds the rows of taps that meet it, by r, ow, s; no scratch."""
    cdef const Col2im *a = <const Col2im *> args
    cdef const float *taps
    cdef float *line
    cdef int64_t task, r, ow, oh
    for task in range(begin, end):
        line = a.x + task * a.W * a.C
        memset(line, 0, a.W * a.C * sizeof(float))
        for r in range(a.R):
            oh = task % a.H + a.padding[0] - r * a.dilation[0]
            if oh < 0 or oh % a.stride[0] != 0 or oh // a.stride[0] >= a.OH:
                continue
            oh = oh // a.stride[0]
            for ow in range(a.OW):
                taps = a.columns + (((task // a.H * a.OH + oh) * a.OW + ow) * a.R + r) * a.S * a.C
                scatter_taps(taps, line, ow * a.stride[1] - a.padding[1], a.dilation[1], a.S, a.W, a.C)


ADDRESSES = {
    "im2col": <size_t> <void *> im2col,
    "col2im": <size_t> <void *> col2im,
}
