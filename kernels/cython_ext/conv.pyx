# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Convolution by blocks of im2col and `gemm`; every block of columns stays in L2 and is used at once.

Depthwise convolutions have one input channel a group, too few for a matrix product: see `depthwise.pyx`.
"""

from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from .depthwise import ADDRESSES as DEPTHWISE
from .direct import ADDRESSES as DIRECT
from .narrow import ADDRESSES as NARROW
from .winograd import ADDRESSES as WINOGRAD

include "unfolded.pxi"

cdef struct Conv2dForward:
    const float *x  # N H W C
    const float *w  # K R S CG
    const float *b  # B
    float *y  # N OH OW K
    float *packed  # GROUPS DEPTH KG
    float *columns  # ROWS DEPTH
    int64_t N, H, W, C, K, R, S, CG, B, OH, OW, GROUPS, DEPTH, KG, ROWS, TAPS, PIXELS
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]
    int64_t groups

cdef struct Conv2dBackwardData:
    const float *dy  # N OH OW K
    const float *w  # K R S CG
    float *dx  # N H W C
    float *packed  # GROUPS TAPS KG CG
    float *columns  # ROWS DEPTH
    int64_t N, OH, OW, K, R, S, CG, H, W, C, GROUPS, TAPS, KG, ROWS, DEPTH, PHASES, BLOCKS
    int64_t size[2]
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]
    int64_t groups

cdef struct Conv2dBackwardWeight:
    const float *x  # N H W C
    const float *dy  # N OH OW K
    float *dw  # K R S CG
    float *partial  # PARTS K R DEPTH
    float *columns  # ROWS DEPTH
    int64_t N, H, W, C, OH, OW, K, R, S, CG, PARTS, DEPTH, ROWS, KG, TAPS, GROUPS, PIXELS
    int64_t kernel_size[2]
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]
    int64_t groups


cdef inline bint pointwise(int64_t taps, const int64_t *stride, const int64_t *padding) noexcept nogil:
    """Whether the columns are the image itself."""
    return taps == 1 and stride[0] == 1 and stride[1] == 1 and padding[0] == 0 and padding[1] == 0


cdef void conv2d_forward_pack(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Weights as columns; see `pack_turned`."""
    cdef const Conv2dForward *a = <const Conv2dForward *> args
    pack_turned(a.w, a.packed, a.K, a.KG, a.DEPTH, begin, end)


cdef void conv2d_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """A task computes ROWS output pixels: their columns, then y = bias + columns @ packed, group by group."""
    cdef const Conv2dForward *a = <const Conv2dForward *> args
    cdef int64_t task, first, rows, i, g, r, n, oh, ow, ih, pixel, matrix_row
    cdef const float *matrix
    for task in range(begin, end):
        first = task * a.ROWS
        rows = min(a.ROWS, a.PIXELS - first)
        if a.B > 0:
            for i in range(rows):
                memcpy(a.y + (first + i) * a.K, a.b, a.K * sizeof(float))
        for g in range(a.GROUPS):
            matrix = a.columns
            matrix_row = a.DEPTH
            if pointwise(a.TAPS, a.stride, a.padding):
                matrix = a.x + first * a.C + g * a.CG
                matrix_row = a.C
            else:
                for i in range(rows):
                    pixel = first + i
                    n = pixel // (a.OH * a.OW)
                    oh = pixel // a.OW % a.OH
                    ow = pixel % a.OW
                    for r in range(a.R):
                        ih = oh * a.stride[0] - a.padding[0] + r * a.dilation[0]
                        unfold_row(a.x + (n * a.H + ih) * a.W * a.C + g * a.CG, 0 <= ih < a.H,
                                   a.columns + i * a.DEPTH + r * a.S * a.CG, ow * a.stride[1] - a.padding[1],
                                   a.dilation[1], a.S, a.W, a.C, a.CG)
            gemm(rows, a.KG, a.DEPTH, matrix, matrix_row, 1, a.packed + g * a.DEPTH * a.KG, a.KG,
                 a.y + first * a.K + g * a.KG, a.K, a.B > 0)


cdef void conv2d_backward_data_pack(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Weights tap by tap; see `pack_taps`."""
    cdef const Conv2dBackwardData *a = <const Conv2dBackwardData *> args
    pack_taps(a.w, a.packed, a.K, a.KG, a.TAPS, a.CG, begin, end)


cdef inline int64_t gather_gradient(const Conv2dBackwardData *a, int64_t g, int64_t n, int64_t ih, int64_t iw,
                                    float *target) noexcept nogil:
    """target = the gradients that pixel (ih, iw) meets, KG for each tap that falls on an output pixel; counts the taps."""
    cdef int64_t r, s, above, left, oh, ow, taps = 0
    for r in range(a.R):
        above = ih + a.padding[0] - r * a.dilation[0]
        if above % a.stride[0] != 0:
            continue
        oh = above // a.stride[0]
        for s in range(a.S):
            left = iw + a.padding[1] - s * a.dilation[1]
            if left % a.stride[1] != 0:
                continue
            ow = left // a.stride[1]
            if 0 <= oh < a.OH and 0 <= ow < a.OW:
                memcpy(target, a.dy + ((n * a.OH + oh) * a.OW + ow) * a.K + g * a.KG, a.KG * sizeof(float))
            else:
                memset(target, 0, a.KG * sizeof(float))
            target += a.KG
            taps += 1
    return taps


cdef void conv2d_backward_data(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """A task computes ROWS pixels of dx of one phase, the same position modulo the stride: they meet the same taps."""
    cdef const Conv2dBackwardData *a = <const Conv2dBackwardData *> args
    cdef int64_t task, phase_h, phase_w, high, wide, first, rows, g, i, n, ih, iw, pixel, taps, matrix_row
    cdef int64_t done, run, t, tap
    cdef bint whole, met
    cdef const float *matrix
    cdef float *target
    for task in range(begin, end):
        phase_h = task // a.BLOCKS // a.stride[1]
        phase_w = task // a.BLOCKS % a.stride[1]
        high = (a.H - phase_h + a.stride[0] - 1) // a.stride[0]
        wide = (a.W - phase_w + a.stride[1] - 1) // a.stride[1]
        first = task % a.BLOCKS * a.ROWS
        if phase_h >= a.H or phase_w >= a.W or first >= a.N * high * wide:
            continue
        rows = min(a.ROWS, a.N * high * wide - first)
        for g in range(a.GROUPS):
            matrix = a.columns
            matrix_row = a.DEPTH
            taps = 0
            if pointwise(a.TAPS, a.stride, a.padding):
                matrix = a.dy + first * a.K + g * a.KG
                matrix_row = a.K
                taps = a.TAPS
            else:
                for i in range(rows):
                    pixel = first + i
                    n = pixel // (high * wide)
                    ih = phase_h + pixel // wide % high * a.stride[0]
                    iw = phase_w + pixel % wide * a.stride[1]
                    taps = gather_gradient(a, g, n, ih, iw, a.columns + i * a.DEPTH)
            # One product where all taps take part, or none; otherwise one for each tap of the phase.
            whole = taps == a.TAPS or taps == 0
            done = 0
            while done < rows:
                pixel = first + done
                n = pixel // (high * wide)
                ih = phase_h + pixel // wide % high * a.stride[0]
                iw = phase_w + pixel % wide * a.stride[1]
                # Rows of dx are evenly spaced within an image row; everywhere if the stride is 1.
                run = rows - done
                if a.stride[0] != 1 or a.stride[1] != 1:
                    run = min(run, wide - pixel % wide)
                target = a.dx + ((n * a.H + ih) * a.W + iw) * a.C + g * a.CG
                t = 0
                for tap in range(1 if whole else a.TAPS):
                    met = ((phase_h + a.padding[0] - tap // a.S * a.dilation[0]) % a.stride[0] == 0
                           and (phase_w + a.padding[1] - tap % a.S * a.dilation[1]) % a.stride[1] == 0)
                    if whole or met:
                        gemm(run, a.CG, taps * a.KG if whole else a.KG, matrix + done * matrix_row + t * a.KG, matrix_row,
                             1, a.packed + (g * a.TAPS + tap) * a.KG * a.CG, a.CG, target, a.stride[1] * a.C, t > 0)
                        t += 1
                done += run


cdef void conv2d_backward_weight(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """A task sums dy^T @ columns over one run of pixels for one kernel row r and one group."""
    cdef const Conv2dBackwardWeight *a = <const Conv2dBackwardWeight *> args
    cdef int64_t total = (a.PIXELS + a.ROWS - 1) // a.ROWS
    cdef int64_t task, part, g, r, block, start, first, rows, i, pixel, n, oh, ow, ih, matrix_row
    cdef const float *matrix
    for task in range(begin, end):
        part = task // (a.GROUPS * a.R)
        g = task // a.R % a.GROUPS
        r = task % a.R
        start = part * total // a.PARTS
        for block in range(start, max((part + 1) * total // a.PARTS, start + 1)):  # no pixels at all: a block of zeros
            first = block * a.ROWS
            rows = min(a.ROWS, a.PIXELS - first)
            matrix = a.columns
            matrix_row = a.DEPTH
            if pointwise(a.TAPS, a.stride, a.padding):
                matrix = a.x + first * a.C + g * a.CG
                matrix_row = a.C
            else:
                for i in range(rows):
                    pixel = first + i
                    n = pixel // (a.OH * a.OW)
                    oh = pixel // a.OW % a.OH
                    ow = pixel % a.OW
                    ih = oh * a.stride[0] - a.padding[0] + r * a.dilation[0]
                    unfold_row(a.x + (n * a.H + ih) * a.W * a.C + g * a.CG, 0 <= ih < a.H, a.columns + i * a.DEPTH,
                               ow * a.stride[1] - a.padding[1], a.dilation[1], a.S, a.W, a.C, a.CG)
            gemm(a.KG, a.DEPTH, rows, a.dy + first * a.K + g * a.KG, 1, a.K, matrix, matrix_row,
                 a.partial + ((part * a.K + g * a.KG) * a.R + r) * a.DEPTH, a.R * a.DEPTH, block > start)


cdef void conv2d_backward_weight_reduce(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """dw = the partial sums added in order; a task adds BLOCK elements."""
    cdef const Conv2dBackwardWeight *a = <const Conv2dBackwardWeight *> args
    cdef int64_t size = a.K * a.R * a.DEPTH
    add_parts(a.partial, a.dw, size, a.PARTS, begin * BLOCK, min(end * BLOCK, size))


ADDRESSES = DEPTHWISE | DIRECT | NARROW | WINOGRAD | {
    "conv2d_forward_pack": <size_t> <void *> &conv2d_forward_pack,
    "conv2d_forward": <size_t> <void *> &conv2d_forward,
    "conv2d_backward_data_pack": <size_t> <void *> &conv2d_backward_data_pack,
    "conv2d_backward_data": <size_t> <void *> &conv2d_backward_data,
    "conv2d_backward_weight": <size_t> <void *> &conv2d_backward_weight,
    "conv2d_backward_weight_reduce": <size_t> <void *> &conv2d_backward_weight_reduce,
}
