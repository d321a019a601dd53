# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Average pooling. Innermost loops run over a pixel's channels; none needs scratch.

Forward, a task is one row (n, oh) of y, and running sums of up to CHANNELS channels stand on the stack. Backward, a
task is one row (n, h) of dx: it adds up what every window that meets the row gives to it, window by window, so that no
two tasks write the same place.
"""
from libc.stdint cimport int64_t
from libc.string cimport memset

cdef enum:
    CHANNELS = 256


cdef inline void mean_rectangle(
    const float *x, int64_t rows, int64_t row_step, int64_t columns, int64_t column_step, int64_t count, float divisor,
    float *y
) noexcept nogil:
    """The sum over `rows` x `columns` pixels, divided, of `count` contiguous channels."""
    cdef float total[CHANNELS]
    cdef const float *pixel
    cdef int64_t group, channels, row, column, c
    for group in range((count + CHANNELS - 1) // CHANNELS):
        channels = min(CHANNELS, count - group * CHANNELS)
        for c in range(channels):
            total[c] = 0
        for row in range(rows):
            for column in range(columns):
                pixel = x + group * CHANNELS + row * row_step + column * column_step
                for c in range(channels):
                    total[c] += pixel[c]
        for c in range(channels):
            y[group * CHANNELS + c] = total[c] / divisor


cdef inline void add_quotient(const float *dy, float divisor, int64_t count, float *dx) noexcept nogil:
    cdef int64_t c
    for c in range(count):
        dx[c] += dy[c] / divisor


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
    cdef int64_t task, ow, h, w, first_h, first_w, divisor
    for task in range(begin, end):
        h = task % a.OH * a.stride[0] - a.padding[0]
        first_h = max(h, 0)
        for ow in range(a.OW):
            w = ow * a.stride[1] - a.padding[1]
            first_w = max(w, 0)
            divisor = (divided_length(h, a.R, a.H, a.padding[0], a.count_include_pad)
                       * divided_length(w, a.S, a.W, a.padding[1], a.count_include_pad))
            mean_rectangle(a.x + ((task // a.OH * a.H + first_h) * a.W + first_w) * a.C,
                           min(h + a.R, a.H) - first_h, a.W * a.C, min(w + a.S, a.W) - first_w, a.C,
                           a.C, <float> divisor, a.y + (task * a.OW + ow) * a.C)


cdef struct AvgPool2dBackward:
    const float *dy
    float *dx
    int64_t N, OH, OW, C, H, W, R, S
    int64_t size[2]
    int64_t kernel_size[2]
    int64_t stride[2]
    int64_t padding[2]
    int64_t count_include_pad


cdef void avg_pool2d_backward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """A window gives its gradient, divided, to every pixel of the row that it covers."""
    cdef const AvgPool2dBackward *a = <const AvgPool2dBackward *> args
    cdef float *line
    cdef const float *dy
    cdef int64_t task, h, oh, ow, w, row_start, start, rows, divisor
    for task in range(begin, end):
        line = a.dx + task * a.W * a.C
        memset(line, 0, a.W * a.C * sizeof(float))
        h = task % a.H + a.padding[0]
        # Windows [oh * stride, oh * stride + R) of the padded input that hold h.
        for oh in range(max(0, (h - a.R + a.stride[0]) // a.stride[0]), min(a.OH, h // a.stride[0] + 1)):
            row_start = oh * a.stride[0] - a.padding[0]
            rows = divided_length(row_start, a.R, a.H, a.padding[0], a.count_include_pad)
            for ow in range(a.OW):
                start = ow * a.stride[1] - a.padding[1]
                divisor = rows * divided_length(start, a.S, a.W, a.padding[1], a.count_include_pad)
                dy = a.dy + ((task // a.H * a.OH + oh) * a.OW + ow) * a.C
                for w in range(max(start, 0), min(start + a.S, a.W)):
                    add_quotient(dy, <float> divisor, a.C, line + w * a.C)


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
    cdef int64_t task, ow, h, w, rows, columns
    for task in range(begin, end):
        h = window_start(task % a.OH, a.H, a.OH)
        rows = window_end(task % a.OH, a.H, a.OH) - h
        for ow in range(a.OW):
            w = window_start(ow, a.W, a.OW)
            columns = window_end(ow, a.W, a.OW) - w
            mean_rectangle(a.x + ((task // a.OH * a.H + h) * a.W + w) * a.C, rows, a.W * a.C, columns, a.C,
                           a.C, <float> (rows * columns), a.y + (task * a.OW + ow) * a.C)


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
    cdef int64_t task, h, oh, ow, w, rows, first, last
    for task in range(begin, end):
        line = a.dx + task * a.W * a.C
        memset(line, 0, a.W * a.C * sizeof(float))
        h = task % a.H
        # The windows that hold h: with the roles of sizes exchanged, they are themselves such a window.
        for oh in range(window_start(h, a.OH, a.H), window_end(h, a.OH, a.H)):
            rows = window_end(oh, a.H, a.OH) - window_start(oh, a.H, a.OH)
            for ow in range(a.OW):
                first, last = window_start(ow, a.W, a.OW), window_end(ow, a.W, a.OW)
                dy = a.dy + ((task // a.H * a.OH + oh) * a.OW + ow) * a.C
                for w in range(first, last):
                    add_quotient(dy, <float> (rows * (last - first)), a.C, line + w * a.C)


ADDRESSES = {
    "avg_pool2d_forward": <size_t> <void *> avg_pool2d_forward,
    "avg_pool2d_backward": <size_t> <void *> avg_pool2d_backward,
    "adaptive_avg_pool2d_forward": <size_t> <void *> adaptive_avg_pool2d_forward,
    "adaptive_avg_pool2d_backward": <size_t> <void *> adaptive_avg_pool2d_backward,
}
