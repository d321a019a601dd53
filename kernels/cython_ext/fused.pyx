# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Fused convolutions by blocks of im2col and `gemm`: pixels and gradients are changed as they are unfolded, and results
while their block is in cache.
"""

from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from .direct import FUSED as DIRECT
from .narrow import FUSED as NARROW
from .winograd import FUSED as WINOGRAD
from .depthwise import FUSED as FUSED_DEPTHWISE

include "unfolded.pxi"
include "sources.pxi"

cdef struct FusedConv2dForward:
    const float *x  # N H W C
    const float *w  # K R S CG
    const float *b  # B
    const float *scale  # P
    const float *shift  # P
    const float *centre  # E
    float *y  # N OH OW K
    double *sums  # 2 E
    float *packed  # GROUPS DEPTH KG
    double *task_sums  # BLOCKS 2 E
    float *columns  # ROWS DEPTH
    int64_t N, H, W, C, K, R, S, CG, B, P, E, OH, OW, GROUPS, DEPTH, KG, BLOCKS, ROWS, TAPS, PIXELS
    int64_t activation
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]
    int64_t groups

cdef struct FusedConv2dBackwardData:
    const float *dy  # N OH OW K
    const float *w  # K R S CG
    const float *z  # NZ OH OW K
    const float *slope  # G
    const float *factor  # G
    const float *offset  # G
    const float *x  # NX H W C
    const float *scale  # P
    const float *shift  # P
    const float *centre  # E
    float *dx  # N H W C
    double *sums  # 2 E
    float *packed  # GROUPS TAPS KG CG
    double *task_sums  # BLOCKS 2 E
    float *columns  # ROWS DEPTH
    int64_t N, OH, OW, K, R, S, CG, NZ, G, NX, H, W, C, P, E, GROUPS, TAPS, KG, BLOCKS, ROWS, DEPTH, RUNS
    int64_t activation
    int64_t size[2]
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]
    int64_t groups

cdef struct FusedConv2dBackwardWeight:
    const float *x  # N H W C
    const float *dy  # N OH OW K
    const float *scale  # P
    const float *shift  # P
    const float *z  # NZ OH OW K
    const float *slope  # G
    const float *factor  # G
    const float *offset  # G
    float *dw  # K R S CG
    float *partial  # PARTS K R DEPTH
    float *columns  # ROWS DEPTH
    float *gradients  # ROWS KG
    int64_t N, H, W, C, OH, OW, K, P, NZ, G, R, S, CG, PARTS, DEPTH, ROWS, KG, TAPS, GROUPS, PIXELS
    int64_t activation
    int64_t kernel_size[2]
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]
    int64_t groups


cdef inline void unfold_loaded(const source_t *image, int64_t row, bint inside, int64_t iw, int64_t W, int64_t C,
                               float *target, int64_t taps, int64_t dilation, int64_t channels) noexcept nogil:
    """The taps of a window in the row of an image that begins at `row`, loaded, from column iw on; zeros outside."""
    cdef int64_t t
    memset(target, 0, taps * channels * sizeof(float))
    if inside:
        for t in range(first_tap(iw, dilation), end_tap(iw, dilation, taps, W)):
            load_pixels(image, row + (iw + t * dilation) * C, target + t * channels, 1, channels)


cdef void fused_conv2d_forward_pack(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Weights as columns; see `pack_turned`."""
    cdef const FusedConv2dForward *a = <const FusedConv2dForward *> args
    pack_turned(a.w, a.packed, a.K, a.KG, a.DEPTH, begin, end)


cdef void fused_conv2d_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """A task computes ROWS output pixels group by group, columns @ packed, and then adds them up."""
    cdef const FusedConv2dForward *a = <const FusedConv2dForward *> args
    cdef int64_t task, first, rows, i, g, r, n, oh, ow, ih, pixel
    cdef source_t image
    cdef finish_t finish = summed(a.centre, NULL)
    for task in range(begin, end):
        first = task * a.ROWS
        rows = min(a.ROWS, a.PIXELS - first)
        if a.B > 0:
            for i in range(rows):
                memcpy(a.y + (first + i) * a.K, a.b, a.K * sizeof(float))
        for g in range(a.GROUPS):
            image = activated(a.x + g * a.CG, a.scale + g * a.CG, a.shift + g * a.CG, a.P > 0, a.activation)
            for i in range(rows):
                pixel = first + i
                n = pixel // (a.OH * a.OW)
                oh = pixel // a.OW % a.OH
                ow = pixel % a.OW
                for r in range(a.R):
                    ih = oh * a.stride[0] - a.padding[0] + r * a.dilation[0]
                    unfold_loaded(&image, (n * a.H + ih) * a.W * a.C, 0 <= ih < a.H,
                                  ow * a.stride[1] - a.padding[1], a.W, a.C,
                                  a.columns + i * a.DEPTH + r * a.S * a.CG, a.S, a.dilation[1], a.CG)
            gemm(rows, a.KG, a.DEPTH, a.columns, a.DEPTH, 1, a.packed + g * a.DEPTH * a.KG, a.KG,
                 a.y + first * a.K + g * a.KG, a.K, a.B > 0)
        finish.sums = own_sums(a.task_sums, task, a.E)
        finish_pixels(&finish, a.y + first * a.K, first * a.K, rows, a.K)


cdef void fused_conv2d_forward_sums(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """sums = the tasks' sums added in order, in one task."""
    cdef const FusedConv2dForward *a = <const FusedConv2dForward *> args
    add_tasks(a.task_sums, a.sums, a.BLOCKS, 2 * a.E)


cdef void fused_conv2d_backward_data_pack(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Weights tap by tap; see `pack_taps`."""
    cdef const FusedConv2dBackwardData *a = <const FusedConv2dBackwardData *> args
    pack_taps(a.w, a.packed, a.K, a.KG, a.TAPS, a.CG, begin, end)


cdef inline bint meets(const FusedConv2dBackwardData *a, int64_t ih, int64_t iw, int64_t tap) noexcept nogil:
    """Whether the tap falls on an output pixel, or on one that the padding would have, from pixel (ih, iw) of dx."""
    return ((ih + a.padding[0] - tap // a.S * a.dilation[0]) % a.stride[0] == 0
            and (iw + a.padding[1] - tap % a.S * a.dilation[1]) % a.stride[1] == 0)


cdef inline int64_t gather_loaded(const FusedConv2dBackwardData *a, int64_t g, int64_t n, int64_t ih, int64_t iw,
                                  float *target) noexcept nogil:
    """target = the loaded gradients that pixel (ih, iw) meets, KG for each such tap; returns how many."""
    cdef int64_t tap, oh, ow, taps = 0
    cdef int64_t k = g * a.KG
    cdef source_t gradient = composed(a.dy + k, a.z + k, a.slope + k, a.factor + k, a.offset + k, a.G > 0)
    for tap in range(a.TAPS):
        if not meets(a, ih, iw, tap):
            continue
        oh = (ih + a.padding[0] - tap // a.S * a.dilation[0]) // a.stride[0]
        ow = (iw + a.padding[1] - tap % a.S * a.dilation[1]) // a.stride[1]
        if 0 <= oh < a.OH and 0 <= ow < a.OW:
            load_pixels(&gradient, ((n * a.OH + oh) * a.OW + ow) * a.K, target, 1, a.KG)
        else:
            memset(target, 0, a.KG * sizeof(float))
        target += a.KG
        taps += 1
    return taps


cdef inline void multiply_phase(const FusedConv2dBackwardData *a, int64_t g, int64_t phase_h, int64_t phase_w,
                                int64_t taps, const float *columns, int64_t run, float *target) noexcept nogil:
    """`run` pixels of dx, stride[1] apart: one product if all taps take part or none, else one for each that does."""
    cdef const float *packed = a.packed + g * a.TAPS * a.KG * a.CG
    cdef int64_t tap, t = 0
    if taps == a.TAPS or taps == 0:
        gemm(run, a.CG, taps * a.KG, columns, a.DEPTH, 1, packed, a.CG, target, a.stride[1] * a.C, False)
        return
    for tap in range(a.TAPS):
        if meets(a, phase_h, phase_w, tap):
            gemm(run, a.CG, a.KG, columns + t * a.KG, a.DEPTH, 1, packed + tap * a.KG * a.CG, a.CG, target,
                 a.stride[1] * a.C, t > 0)
            t += 1


cdef void fused_conv2d_backward_data(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """A task computes ROWS pixels of dx of one phase, the same position modulo the stride, image row by image row."""
    cdef const FusedConv2dBackwardData *a = <const FusedConv2dBackwardData *> args
    cdef int64_t task, phase_h, phase_w, high, wide, first, rows, g, i, n, ih, iw, pixel, done, run, place, taps
    cdef finish_t finish = finished(a.x, a.scale, a.shift, a.P > 0, a.activation, a.centre, NULL)
    for task in range(begin, end):
        finish.sums = own_sums(a.task_sums, task, a.E)
        phase_h = task // a.RUNS // a.stride[1]
        phase_w = task // a.RUNS % a.stride[1]
        high = (a.H - phase_h + a.stride[0] - 1) // a.stride[0]
        wide = (a.W - phase_w + a.stride[1] - 1) // a.stride[1]
        first = task % a.RUNS * a.ROWS
        if phase_h >= a.H or phase_w >= a.W or first >= a.N * high * wide:
            continue
        rows = min(a.ROWS, a.N * high * wide - first)
        for g in range(a.GROUPS):
            taps = 0
            for i in range(rows):
                pixel = first + i
                taps = gather_loaded(a, g, pixel // (high * wide), phase_h + pixel // wide % high * a.stride[0],
                                     phase_w + pixel % wide * a.stride[1], a.columns + i * a.DEPTH)
            done = 0
            while done < rows:
                pixel = first + done
                n = pixel // (high * wide)
                ih = phase_h + pixel // wide % high * a.stride[0]
                iw = phase_w + pixel % wide * a.stride[1]
                run = min(rows - done, wide - pixel % wide)
                multiply_phase(a, g, phase_h, phase_w, taps, a.columns + done * a.DEPTH, run,
                               a.dx + ((n * a.H + ih) * a.W + iw) * a.C + g * a.CG)
                done += run
        for pixel in range(first, first + rows):
            n = pixel // (high * wide)
            ih = phase_h + pixel // wide % high * a.stride[0]
            iw = phase_w + pixel % wide * a.stride[1]
            place = ((n * a.H + ih) * a.W + iw) * a.C
            finish_pixels(&finish, a.dx + place, place, 1, a.C)


cdef void fused_conv2d_backward_data_sums(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """sums = the tasks' sums added in order, in one task."""
    cdef const FusedConv2dBackwardData *a = <const FusedConv2dBackwardData *> args
    add_tasks(a.task_sums, a.sums, a.BLOCKS, 2 * a.E)


cdef void fused_conv2d_backward_weight(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """A task sums gradients^T @ columns, both loaded, over one run of pixels for one kernel row r and one group."""
    cdef const FusedConv2dBackwardWeight *a = <const FusedConv2dBackwardWeight *> args
    cdef int64_t total = (a.PIXELS + a.ROWS - 1) // a.ROWS
    cdef int64_t task, part, g, k, r, block, start, first, rows, i, pixel, n, oh, ow, ih
    cdef source_t image, gradient
    for task in range(begin, end):
        part = task // (a.GROUPS * a.R)
        g = task // a.R % a.GROUPS
        r = task % a.R
        image = activated(a.x + g * a.CG, a.scale + g * a.CG, a.shift + g * a.CG, a.P > 0, a.activation)
        k = g * a.KG
        gradient = composed(a.dy + k, a.z + k, a.slope + k, a.factor + k, a.offset + k, a.G > 0)
        start = part * total // a.PARTS
        for block in range(start, max((part + 1) * total // a.PARTS, start + 1)):  # no pixels at all: a block of zeros
            first = block * a.ROWS
            rows = min(a.ROWS, a.PIXELS - first)
            for i in range(rows):
                pixel = first + i
                n = pixel // (a.OH * a.OW)
                oh = pixel // a.OW % a.OH
                ow = pixel % a.OW
                ih = oh * a.stride[0] - a.padding[0] + r * a.dilation[0]
                unfold_loaded(&image, (n * a.H + ih) * a.W * a.C, 0 <= ih < a.H, ow * a.stride[1] - a.padding[1], a.W,
                              a.C, a.columns + i * a.DEPTH, a.S, a.dilation[1], a.CG)
                load_pixels(&gradient, pixel * a.K, a.gradients + i * a.KG, 1, a.KG)
            gemm(a.KG, a.DEPTH, rows, a.gradients, 1, a.KG, a.columns, a.DEPTH,
                 a.partial + ((part * a.K + g * a.KG) * a.R + r) * a.DEPTH, a.R * a.DEPTH, block > start)


cdef void fused_conv2d_backward_weight_reduce(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """dw = the partial sums added in order; a task adds BLOCK elements."""
    cdef const FusedConv2dBackwardWeight *a = <const FusedConv2dBackwardWeight *> args
    cdef int64_t size = a.K * a.R * a.DEPTH
    add_parts(a.partial, a.dw, size, a.PARTS, begin * BLOCK, min(end * BLOCK, size))


ADDRESSES = DIRECT | NARROW | WINOGRAD | {
    "fused_conv2d_forward_pack": <size_t> <void *> &fused_conv2d_forward_pack,
    "fused_conv2d_forward": <size_t> <void *> &fused_conv2d_forward,
    "fused_conv2d_forward_sums": <size_t> <void *> &fused_conv2d_forward_sums,
    "fused_conv2d_backward_data_pack": <size_t> <void *> &fused_conv2d_backward_data_pack,
    "fused_conv2d_backward_data": <size_t> <void *> &fused_conv2d_backward_data,
    "fused_conv2d_backward_data_sums": <size_t> <void *> &fused_conv2d_backward_data_sums,
    "fused_conv2d_backward_weight": <size_t> <void *> &fused_conv2d_backward_weight,
    "fused_conv2d_backward_weight_reduce": <size_t> <void *> &fused_conv2d_backward_weight_reduce,
} | FUSED_DEPTHWISE
