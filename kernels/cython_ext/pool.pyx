# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Max pooling, plain and fused; averages stand in a file of their own. Innermost loops run over a pixel's channels.

Forward, a task is one row (n, oh) of y, and running maxima of up to CHANNELS channels stand on the stack. Backward, a
task is one row (n, h) of dx, or several: it adds up what every window that meets the row gives to it, window by window,
so that no two tasks write the same place.
"""
from libc.math cimport INFINITY
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memcpy, memset

from .avg_pool import ADDRESSES as AVERAGES

cdef enum:
    CHANNELS = 256

cdef extern from "window.h" nogil:
    int64_t first_tap(int64_t start, int64_t dilation) noexcept
    int64_t end_tap(int64_t start, int64_t dilation, int64_t taps, int64_t size) noexcept

cdef extern from "fusion.h" nogil:
    enum: RELU, RELU6
    void load_pixel(float *pixel, int64_t channels, bint scaled, const float *scale, const float *shift,
                    int64_t activation) noexcept


cdef struct MaxPool2dForward:
    const float *x
    float *y
    uint8_t *argmax
    int64_t N, H, W, C, OH, OW, R, S
    int64_t kernel_size[2]
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]
    int64_t ceil_mode

cdef struct Activated:
    # What becomes of pixels before they are compared.
    bint scaled
    const float *scale
    const float *shift
    int64_t activation


cdef inline void raise_maximum(const float *x, int32_t tap, int64_t count, float *best, int32_t *where) noexcept nogil:
    """Let one pixel compete. Tap numbers are 32 bits wide here, as wide as the comparison's outcome."""
    cdef int64_t c
    cdef bint larger
    for c in range(count):
        larger = (x[c] > best[c]) | (x[c] != x[c])
        best[c] = x[c] if larger else best[c]
        where[c] = tap if larger else where[c]


cdef inline void max_window(
    const MaxPool2dForward *a, const Activated *load, const float *image, int64_t h, int64_t w, int64_t first,
    int64_t count, float *y, uint8_t *argmax
) noexcept nogil:
    """`count` channels from `first` on of one window, whose tap (0, 0) is at row `h` and column `w` of `image`."""
    cdef float best[CHANNELS]
    cdef float pixel[CHANNELS]
    cdef int32_t where[CHANNELS]
    cdef const float *x
    cdef int64_t first_r = first_tap(h, a.dilation[0]), end_r = end_tap(h, a.dilation[0], a.R, a.H)
    cdef int64_t first_s = first_tap(w, a.dilation[1]), end_s = end_tap(w, a.dilation[1], a.S, a.W)
    cdef int64_t r, s, c
    for c in range(count):
        best[c] = -INFINITY
        where[c] = <int32_t> (first_r * a.S + first_s)  # stays where all is -inf
    for r in range(first_r, end_r):
        for s in range(first_s, end_s):
            x = image + ((h + r * a.dilation[0]) * a.W + w + s * a.dilation[1]) * a.C + first
            if load != NULL:
                memcpy(pixel, x, count * sizeof(float))
                load_pixel(pixel, count, load.scaled, load.scale + first, load.shift + first, load.activation)
                x = pixel
            raise_maximum(x, <int32_t> (r * a.S + s), count, best, where)
    for c in range(count):
        y[first + c] = best[c]
        argmax[first + c] = <uint8_t> where[c]


cdef inline void max_rows(
    const MaxPool2dForward *a, const Activated *load, int64_t begin, int64_t end
) noexcept nogil:
    """Rows [begin, end) of the N * OH rows of y; `load` may be NULL."""
    cdef const float *image
    cdef int64_t row, ow, h, w, c, y
    for row in range(begin, end):
        image = a.x + row // a.OH * a.H * a.W * a.C
        h = row % a.OH * a.stride[0] - a.padding[0]
        for ow in range(a.OW):
            w = ow * a.stride[1] - a.padding[1]
            y = (row * a.OW + ow) * a.C
            c = 0
            while c < a.C:
                max_window(a, load, image, h, w, c, min(CHANNELS, a.C - c), a.y + y, a.argmax + y)
                c += CHANNELS


cdef void max_pool2d_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Compare and select, tap by tap."""
    max_rows(<const MaxPool2dForward *> args, NULL, begin, end)


cdef struct FusedMaxPool2dForward:
    const float *x
    const float *scale
    const float *shift
    float *y
    uint8_t *argmax
    int64_t N, H, W, C, P, OH, OW, R, S
    int64_t activation
    int64_t kernel_size[2]
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]
    int64_t ceil_mode


cdef void fused_max_pool2d_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Every pixel is activated as often as a window meets it."""
    cdef const FusedMaxPool2dForward *a = <const FusedMaxPool2dForward *> args
    cdef MaxPool2dForward plain
    cdef Activated load
    cdef int axis
    plain.x, plain.y, plain.argmax = a.x, a.y, a.argmax
    plain.H, plain.W, plain.C, plain.OH, plain.OW, plain.R, plain.S = a.H, a.W, a.C, a.OH, a.OW, a.R, a.S
    for axis in range(2):
        plain.stride[axis], plain.padding[axis] = a.stride[axis], a.padding[axis]
        plain.dilation[axis] = a.dilation[axis]
    load.scaled, load.scale, load.shift, load.activation = a.P > 0, a.scale, a.shift, a.activation
    max_rows(&plain, &load, begin, end)


cdef struct MaxPool2dBackward:
    const float *dy
    const uint8_t *argmax
    float *dx
    int64_t N, OH, OW, C, H, W, R, S
    int64_t size[2]
    int64_t kernel_size[2]
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]


cdef inline void add_where(
    const float *dy, const uint8_t *argmax, int32_t tap, int64_t count, float *dx
) noexcept nogil:
    cdef int64_t c
    cdef float gradient
    for c in range(count):
        gradient = dy[c]
        dx[c] += gradient if <int32_t> argmax[c] == tap else <float> 0


cdef inline void add_where_active(
    const float *dy, const uint8_t *argmax, int32_t tap, const float *y, float top, int64_t count, float *dx
) noexcept nogil:
    """As `add_where`, where y lies above 0 and is not `top`, the most that it can be."""
    cdef int64_t c
    cdef float gradient
    for c in range(count):
        gradient = dy[c]
        dx[c] += gradient if (<int32_t> argmax[c] == tap) & (y[c] > 0) & (y[c] != top) else <float> 0


cdef inline void gather_row(
    const MaxPool2dBackward *a, const float *y, int64_t activation, int64_t row
) noexcept nogil:
    """One of the N * H rows of dx: a window gives its gradient where its argmax is the tap that meets the pixel."""
    cdef float *line = a.dx + row * a.W * a.C
    cdef float top = 6 if activation == RELU6 else -1
    cdef int64_t r, s, oh, ow, w, place
    memset(line, 0, a.W * a.C * sizeof(float))
    for r in range(a.R):
        oh = row % a.H + a.padding[0] - r * a.dilation[0]
        if oh < 0 or oh % a.stride[0] != 0 or oh // a.stride[0] >= a.OH:
            continue
        oh = oh // a.stride[0]
        for ow in range(a.OW):
            w = ow * a.stride[1] - a.padding[1]
            place = ((row // a.H * a.OH + oh) * a.OW + ow) * a.C
            for s in range(first_tap(w, a.dilation[1]), end_tap(w, a.dilation[1], a.S, a.W)):
                if activation == RELU or activation == RELU6:
                    add_where_active(a.dy + place, a.argmax + place, <int32_t> (r * a.S + s), y + place, top, a.C,
                                     line + (w + s * a.dilation[1]) * a.C)
                else:
                    add_where(a.dy + place, a.argmax + place, <int32_t> (r * a.S + s), a.C,
                              line + (w + s * a.dilation[1]) * a.C)


cdef void max_pool2d_backward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """A task is one row of dx."""
    cdef int64_t row
    for row in range(begin, end):
        gather_row(<const MaxPool2dBackward *> args, NULL, 0, row)


cdef struct FusedMaxPool2dBackward:
    const float *dy
    const uint8_t *argmax
    const float *y
    const float *x
    const float *centre
    float *dx
    double *sums
    double *partial
    int64_t N, OH, OW, C, NY, NX, H, W, E, PARTS, R, S, ROWS
    int64_t activation
    int64_t size[2]
    int64_t kernel_size[2]
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]


cdef inline void add_row(const FusedMaxPool2dBackward *a, int64_t row, double *sums) noexcept nogil:
    """Add the sums of a row of dx, and of its products with x - centre if there is an x, in double."""
    cdef const float *dx
    cdef const float *x
    cdef int64_t w, c
    for w in range(a.W):
        dx = a.dx + (row * a.W + w) * a.C
        for c in range(a.C):
            sums[c] += dx[c]
        if a.NX > 0:
            x = a.x + (row * a.W + w) * a.C
            for c in range(a.C):
                sums[a.C + c] += dx[c] * (x[c] - a.centre[c])


cdef void fused_max_pool2d_backward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """A task is ROWS rows of dx, each of which is added up while it is in cache."""
    cdef const FusedMaxPool2dBackward *a = <const FusedMaxPool2dBackward *> args
    cdef MaxPool2dBackward plain
    cdef int64_t row
    cdef int axis
    plain.dy, plain.argmax, plain.dx = a.dy, a.argmax, a.dx
    plain.OH, plain.OW, plain.C, plain.H, plain.W, plain.R, plain.S = a.OH, a.OW, a.C, a.H, a.W, a.R, a.S
    for axis in range(2):
        plain.stride[axis], plain.padding[axis] = a.stride[axis], a.padding[axis]
        plain.dilation[axis] = a.dilation[axis]
    memset(a.partial + begin * 2 * a.E, 0, (end - begin) * 2 * a.E * sizeof(double))
    for row in range(begin * a.ROWS, min(end * a.ROWS, a.N * a.H)):
        gather_row(&plain, a.y, a.activation, row)
        if a.E > 0:
            add_row(a, row, a.partial + row // a.ROWS * 2 * a.E)


cdef void fused_max_pool2d_backward_sums(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One task adds the sums of all tasks in order."""
    cdef const FusedMaxPool2dBackward *a = <const FusedMaxPool2dBackward *> args
    cdef int64_t part, i
    memset(a.sums, 0, 2 * a.E * sizeof(double))
    for part in range(a.PARTS):
        for i in range(2 * a.E):
            a.sums[i] += a.partial[part * 2 * a.E + i]


ADDRESSES = AVERAGES | {
    "max_pool2d_forward": <size_t> <void *> max_pool2d_forward,
    "max_pool2d_backward": <size_t> <void *> max_pool2d_backward,
    "fused_max_pool2d_forward": <size_t> <void *> fused_max_pool2d_forward,
    "fused_max_pool2d_backward": <size_t> <void *> fused_max_pool2d_backward,
    "fused_max_pool2d_backward_sums": <size_t> <void *> fused_max_pool2d_backward_sums,
}
