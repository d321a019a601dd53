# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Max pooling, plain and fused; averages stand in a file of their own. See pooling.h for windows and pixels.

Forward, a task is one row (n, oh) of y. Backward, a task is one row (n, h) of dx, or several: every pixel is written
once, with what the windows that meet it give to it.
"""
from libc.math cimport INFINITY
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memset

from .avg_pool import ADDRESSES as AVERAGES

include "columns.pxi"
include "fusion.pxi"
include "window.pxi"

cdef extern from "pooling.h" nogil:
    ctypedef struct window_t:
        int64_t rows, columns, row_step, step, tap, row_taps, ahead, channels
        bint around
    ctypedef struct activated_t:
        bint scaled
        const float *scale
        const float *shift
        float low, high
    ctypedef struct meeting_t:
        int64_t tap, window, count
    ctypedef struct winners_t:
        const float *dy
        const uint8_t *argmax
        const float *y
        float top
        int64_t row, row_taps, ahead, channels
        bint around
    void window_maximum(int activated, const float *x, const window_t *window, const activated_t *load_as, float *y,
                        uint8_t *argmax) noexcept
    meeting_t meeting(int64_t index, int64_t phase, int64_t stride, int64_t dilation, int64_t taps,
                      int64_t windows) noexcept
    void gather_pixel(int masked, const winners_t *winners, const meeting_t *down, const meeting_t *across,
                      float *dx) noexcept
    void give_pixels(int masked, const winners_t *winners, int64_t window, int64_t tap, int64_t columns,
                     float *dx) noexcept


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


cdef inline void max_rows(
    const MaxPool2dForward *a, int activated, const activated_t *load_as, int64_t begin, int64_t end
) noexcept nogil:
    """Rows [begin, end) of the N * OH rows of y; whether pixels are `activated` is a constant."""
    cdef const float *line
    cdef window_t window
    cdef int64_t row, ow, h, w, r, s, place
    window.row_step, window.step, window.row_taps = a.dilation[0] * a.W * a.C, a.dilation[1] * a.C, a.S
    window.ahead, window.channels = a.stride[0] * a.W * a.C, a.C
    window.around = streams(a.y, a.N * a.OH * a.OW * a.C, a.C)
    for row in range(begin, end):
        h = row % a.OH * a.stride[0] - a.padding[0]
        r = first_tap(h, a.dilation[0])
        window.rows = end_tap(h, a.dilation[0], a.R, a.H) - r
        line = a.x + (row // a.OH * a.H + h + r * a.dilation[0]) * a.W * a.C
        for ow in range(a.OW):
            w = ow * a.stride[1] - a.padding[1]
            s = first_tap(w, a.dilation[1])
            window.columns, window.tap = end_tap(w, a.dilation[1], a.S, a.W) - s, r * a.S + s
            place = (row * a.OW + ow) * a.C
            window_maximum(activated, line + (w + s * a.dilation[1]) * a.C, &window, load_as, a.y + place,
                           a.argmax + place)


cdef void max_pool2d_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Compare and select, tap by tap."""
    max_rows(<const MaxPool2dForward *> args, 0, NULL, begin, end)


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
    cdef activated_t load_as
    cdef int axis
    plain.x, plain.y, plain.argmax = a.x, a.y, a.argmax
    plain.N, plain.H, plain.W, plain.C, plain.OH, plain.OW, plain.R, plain.S = a.N, a.H, a.W, a.C, a.OH, a.OW, a.R, a.S
    for axis in range(2):
        plain.stride[axis], plain.padding[axis] = a.stride[axis], a.padding[axis]
        plain.dilation[axis] = a.dilation[axis]
    load_as.scaled, load_as.scale, load_as.shift = a.P > 0, a.scale, a.shift
    load_as.low = 0 if a.activation == RELU or a.activation == RELU6 else -INFINITY
    load_as.high = 6 if a.activation == RELU6 else INFINITY
    max_rows(&plain, 1, &load_as, begin, end)


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


cdef inline void gather_row(const MaxPool2dBackward *a, int masked, winners_t *winners, int64_t row) noexcept nogil:
    """One of the N * H rows of dx; whether gradients are `masked` is a constant."""
    cdef meeting_t down, across
    cdef float *line = a.dx + row * a.W * a.C
    cdef int64_t position = row % a.H + a.padding[0], covered = a.OW * a.S, ow, w
    cdef int64_t index = a.padding[1] // a.stride[1], phase = a.padding[1] % a.stride[1]
    down = meeting(position // a.stride[0], position % a.stride[0], a.stride[0], a.dilation[0], a.R, a.OH)
    winners.dy, winners.argmax = a.dy + row // a.H * a.OH * a.OW * a.C, a.argmax + row // a.H * a.OH * a.OW * a.C
    if down.count == 0:
        memset(line, 0, a.W * a.C * sizeof(float))
    elif down.count == 1 and a.stride[1] == a.S and a.dilation[1] == 1 and a.padding[1] == 0 and covered <= a.W:
        for ow in range(a.OW):  # windows stand side by side
            give_pixels(masked, winners, down.window * a.OW + ow, down.tap * a.S, a.S, line + ow * a.S * a.C)
        memset(line + covered * a.C, 0, (a.W - covered) * a.C * sizeof(float))
    else:
        for w in range(a.W):
            across = meeting(index, phase, a.stride[1], a.dilation[1], a.S, a.OW)
            gather_pixel(masked, winners, &down, &across, line + w * a.C)
            phase += 1
            if phase == a.stride[1]:
                phase, index = 0, index + 1


cdef void max_pool2d_backward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """A task is one row of dx."""
    cdef const MaxPool2dBackward *a = <const MaxPool2dBackward *> args
    cdef winners_t winners
    cdef int64_t row
    winners.row, winners.row_taps, winners.ahead, winners.channels = a.OW, a.S, a.W * a.C, a.C
    winners.around = streams(a.dx, a.N * a.H * a.W * a.C, a.C)
    for row in range(begin, end):
        gather_row(a, 0, &winners, row)


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


cdef inline void add_pixels(const FusedMaxPool2dBackward *a, int64_t first, int64_t pixels,
                            double *partial) noexcept nogil:
    """Add the sums of pixels of dx, and of their products with x - centre if there is an x."""
    cdef column_sums_t sums
    cdef double of_dx[WIDTH]
    cdef double products[WIDTH]
    cdef const float *dx
    cdef int64_t c = 0, columns, i
    while c < a.C:
        columns, dx = min(WIDTH, a.C - c), a.dx + first * a.C + c
        begin_sums(&sums, columns, a.C, a.centre + c)
        if a.NX > 0:
            add_rows(PRODUCTS, &sums, dx, a.C, a.x + first * a.C + c, a.C, pixels)
        else:
            add_rows(SUMS, &sums, dx, a.C, dx, a.C, pixels)
        end_sums(&sums, of_dx, products)
        for i in range(columns):
            partial[c + i] += of_dx[i]
            partial[a.C + c + i] += products[i]
        c += WIDTH


cdef inline void gather_rows(const FusedMaxPool2dBackward *a, const MaxPool2dBackward *plain, winners_t *winners,
                             int64_t first, int64_t count) noexcept nogil:
    cdef int64_t row
    for row in range(first, first + count):
        if a.activation == RELU or a.activation == RELU6:
            winners.y = a.y + row // a.H * a.OH * a.OW * a.C
            gather_row(plain, 1, winners, row)
        else:
            gather_row(plain, 0, winners, row)


cdef void fused_max_pool2d_backward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """A task is ROWS rows of dx, which are added up while they are in cache, several at a time."""
    cdef const FusedMaxPool2dBackward *a = <const FusedMaxPool2dBackward *> args
    cdef MaxPool2dBackward plain
    cdef winners_t winners
    cdef int64_t step = max(1, CHUNK // max(1, a.W * a.C)), task, row, count
    cdef int axis
    plain.dy, plain.argmax, plain.dx = a.dy, a.argmax, a.dx
    plain.OH, plain.OW, plain.C, plain.H, plain.W, plain.R, plain.S = a.OH, a.OW, a.C, a.H, a.W, a.R, a.S
    for axis in range(2):
        plain.stride[axis], plain.padding[axis] = a.stride[axis], a.padding[axis]
        plain.dilation[axis] = a.dilation[axis]
    winners.row, winners.row_taps, winners.ahead, winners.channels = a.OW, a.S, a.W * a.C, a.C
    winners.around = a.E == 0 and streams(a.dx, a.N * a.H * a.W * a.C, a.C)
    winners.top = 6 if a.activation == RELU6 else -1
    memset(a.partial + begin * 2 * a.E, 0, (end - begin) * 2 * a.E * sizeof(double))
    for task in range(begin, end):
        row = task * a.ROWS
        while row < min((task + 1) * a.ROWS, a.N * a.H):
            count = min(step, (task + 1) * a.ROWS - row, a.N * a.H - row)
            gather_rows(a, &plain, &winners, row, count)
            if a.E > 0:
                add_pixels(a, row * a.W, count * a.W, a.partial + task * 2 * a.E)
            row += count


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
