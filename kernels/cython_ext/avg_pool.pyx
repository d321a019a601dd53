# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Average pooling; see pooling.h for windows and pixels.

Forward, a task is one row (n, oh) of y. Backward, a task is one row (n, h) of dx, to which every window that meets it
gives its share: where windows of a row stand side by side, the first row of them replaces what is there.
"""
from libc.stdint cimport int64_t
from libc.string cimport memset

include "elements.pxi"

cdef extern from "pooling.h" nogil:
    ctypedef struct window_t:
        int64_t rows, columns, row_step, step, ahead, channels
        bint around
    void window_mean(const float *x, const window_t *window, float divisor, float *y) noexcept
    void give_share(int adds, const float *dy, float factor, int64_t pixels, int64_t channels, float *dx,
                    bint around) noexcept


cdef struct AvgPool2dForward:
    const float *x
    float *y
    int64_t N, H, W, C, OH, OW, R, S
    int64_t kernel_size[2]
    int64_t stride[2]
    int64_t padding[2]
    int64_t ceil_mode
    int64_t count_include_pad


cdef inline int64_t divided_length(
    int64_t start, int64_t taps, int64_t size, int64_t padding, int64_t count_include_pad
) noexcept nogil:
    """How many places of a window count in its mean, along one axis: in the padded input, or in the input alone.

    At least 1, so that a window that lies in the padding gives 0.
    """
    if count_include_pad:
        return min(start + taps, size + padding) - start
    return max(1, min(start + taps, size) - max(start, 0))


cdef void avg_pool2d_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Sums tap by tap, then one division."""
    cdef const AvgPool2dForward *a = <const AvgPool2dForward *> args
    cdef window_t window
    cdef int64_t task, ow, h, w, first_h, first_w, height, divisor
    window.row_step, window.step, window.ahead, window.channels = a.W * a.C, a.C, a.stride[0] * a.W * a.C, a.C
    window.around = streams(a.y, a.N * a.OH * a.OW * a.C, a.C)
    for task in range(begin, end):
        h = task % a.OH * a.stride[0] - a.padding[0]
        first_h = max(h, 0)
        window.rows = min(h + a.R, a.H) - first_h
        height = divided_length(h, a.R, a.H, a.padding[0], a.count_include_pad)
        for ow in range(a.OW):
            w = ow * a.stride[1] - a.padding[1]
            first_w = max(w, 0)
            window.columns = min(w + a.S, a.W) - first_w
            divisor = height * divided_length(w, a.S, a.W, a.padding[1], a.count_include_pad)
            window_mean(a.x + ((task // a.OH * a.H + first_h) * a.W + first_w) * a.C, &window, <float> divisor,
                        a.y + (task * a.OW + ow) * a.C)


cdef struct AvgPool2dBackward:
    const float *dy
    float *dx
    int64_t N, OH, OW, C, H, W, R, S
    int64_t size[2]
    int64_t kernel_size[2]
    int64_t stride[2]
    int64_t padding[2]
    int64_t count_include_pad


cdef inline void give_pixels(bint replaces, const float *dy, int64_t divisor, int64_t pixels, int64_t channels,
                             float *dx, bint around) noexcept nogil:
    if replaces:
        give_share(0, dy, <float> 1 / <float> divisor, pixels, channels, dx, around)
    else:
        give_share(1, dy, <float> 1 / <float> divisor, pixels, channels, dx, False)


cdef void avg_pool2d_backward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """A window gives its gradient, divided, to every pixel of the row that it covers."""
    cdef const AvgPool2dBackward *a = <const AvgPool2dBackward *> args
    cdef float *line
    cdef const float *dy
    cdef int64_t task, h, oh, ow, row_start, start, first, stop, rows, first_oh, end_oh, covered
    cdef bint around = a.stride[0] >= a.R and streams(a.dx, a.N * a.H * a.W * a.C, a.C)
    for task in range(begin, end):
        line = a.dx + task * a.W * a.C
        h = task % a.H + a.padding[0]
        # Windows [oh * stride, oh * stride + R) of the padded input that hold h.
        first_oh, end_oh = max(0, (h - a.R + a.stride[0]) // a.stride[0]), min(a.OH, h // a.stride[0] + 1)
        # Pixels that the first row of windows covers once.
        covered = min(a.OW * a.S - a.padding[1], a.W) if a.stride[1] == a.S and first_oh < end_oh else 0
        memset(line + covered * a.C, 0, (a.W - covered) * a.C * sizeof(float))
        for oh in range(first_oh, end_oh):
            row_start = oh * a.stride[0] - a.padding[0]
            rows = divided_length(row_start, a.R, a.H, a.padding[0], a.count_include_pad)
            for ow in range(a.OW):
                start = ow * a.stride[1] - a.padding[1]
                first, stop = max(start, 0), min(start + a.S, a.W)
                dy = a.dy + ((task // a.H * a.OH + oh) * a.OW + ow) * a.C
                give_pixels(covered > 0 and oh == first_oh, dy,
                            rows * divided_length(start, a.S, a.W, a.padding[1], a.count_include_pad), stop - first,
                            a.C, line + first * a.C, around)


cdef struct AdaptiveAvgPool2dForward:
    const float *x
    float *y
    int64_t N, H, W, C, OH, OW
    int64_t output_size[2]


cdef inline int64_t window_start(int64_t index, int64_t size, int64_t windows) noexcept nogil:
    return index * size // windows


cdef inline int64_t window_end(int64_t index, int64_t size, int64_t windows) noexcept nogil:
    return ((index + 1) * size + windows - 1) // windows


cdef void adaptive_avg_pool2d_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Sums tap by tap, then one division."""
    cdef const AdaptiveAvgPool2dForward *a = <const AdaptiveAvgPool2dForward *> args
    cdef window_t window
    cdef int64_t task, ow, h, w
    window.row_step, window.step, window.channels = a.W * a.C, a.C, a.C
    window.around = streams(a.y, a.N * a.OH * a.OW * a.C, a.C)
    for task in range(begin, end):
        h = window_start(task % a.OH, a.H, a.OH)
        window.rows = window_end(task % a.OH, a.H, a.OH) - h
        window.ahead = window.rows * a.W * a.C
        for ow in range(a.OW):
            w = window_start(ow, a.W, a.OW)
            window.columns = window_end(ow, a.W, a.OW) - w
            window_mean(a.x + ((task // a.OH * a.H + h) * a.W + w) * a.C, &window,
                        <float> (window.rows * window.columns), a.y + (task * a.OW + ow) * a.C)


cdef struct AdaptiveAvgPool2dBackward:
    const float *dy
    float *dx
    int64_t N, OH, OW, C, H, W
    int64_t size[2]


cdef void adaptive_avg_pool2d_backward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """A window gives its gradient, divided, to every pixel of the row that it covers."""
    cdef const AdaptiveAvgPool2dBackward *a = <const AdaptiveAvgPool2dBackward *> args
    cdef float *line
    cdef const float *dy
    cdef int64_t task, h, oh, ow, rows, first_oh, end_oh, first, stop
    cdef bint replaces = a.W % a.OW == 0, around = a.H % a.OH == 0 and streams(a.dx, a.N * a.H * a.W * a.C, a.C)
    for task in range(begin, end):
        line = a.dx + task * a.W * a.C
        h = task % a.H
        if not replaces:
            memset(line, 0, a.W * a.C * sizeof(float))
        # The windows that hold h: with the roles of sizes exchanged, they are themselves such a window.
        first_oh, end_oh = window_start(h, a.OH, a.H), window_end(h, a.OH, a.H)
        for oh in range(first_oh, end_oh):
            rows = window_end(oh, a.H, a.OH) - window_start(oh, a.H, a.OH)
            for ow in range(a.OW):
                first, stop = window_start(ow, a.W, a.OW), window_end(ow, a.W, a.OW)
                dy = a.dy + ((task // a.H * a.OH + oh) * a.OW + ow) * a.C
                give_pixels(replaces and oh == first_oh, dy, rows * (stop - first), stop - first, a.C,
                            line + first * a.C, around)


ADDRESSES = {
    "avg_pool2d_forward": <size_t> <void *> avg_pool2d_forward,
    "avg_pool2d_backward": <size_t> <void *> avg_pool2d_backward,
    "adaptive_avg_pool2d_forward": <size_t> <void *> adaptive_avg_pool2d_forward,
    "adaptive_avg_pool2d_backward": <size_t> <void *> adaptive_avg_pool2d_backward,
}
