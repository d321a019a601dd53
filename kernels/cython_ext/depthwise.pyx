# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Depthwise convolution (one input and one output channel a group), plain and fused: the channels are the vector.

`depthwise_tasks.pxi` passes over the images, `depthwise_rows.h` and `depthwise_gradients.h` compute.
"""

from libc.string cimport memset

include "depthwise_tasks.pxi"
include "fused_depthwise.pxi"

cdef struct Conv2dForwardDepthwise:
    const float *x  # N H W C
    const float *w  # K R S CG
    const float *b  # B
    float *y  # N OH OW K
    float *packed  # TAPS K
    int64_t N, H, W, C, K, R, S, CG, B, OH, OW, TAPS, KG, GROUPS, IMAGES, BAND, BANDS, BLOCKS
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]
    int64_t groups

cdef struct Conv2dBackwardDataDepthwise:
    const float *dy  # N OH OW K
    const float *w  # K R S CG
    float *dx  # N H W C
    float *packed  # TAPS K
    int64_t N, OH, OW, K, R, S, CG, H, W, C, TAPS, KG, GROUPS, IMAGES, BAND, BANDS, BLOCKS
    int64_t size[2]
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]
    int64_t groups

cdef struct Conv2dBackwardWeightDepthwise:
    const float *x  # N H W C
    const float *dy  # N OH OW K
    float *dw  # K R S CG
    float *partial  # PARTS TAPS K
    int64_t N, H, W, C, OH, OW, K, R, S, CG, PARTS, TAPS, KG, GROUPS
    int64_t kernel_size[2]
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]
    int64_t groups


cdef void depthwise_conv2d_forward_pack(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """packed[(r, s), k] = w[k, r, s, 0], in one task."""
    cdef const Conv2dForwardDepthwise *a = <const Conv2dForwardDepthwise *> args
    pack(a.w, a.packed, a.K, a.TAPS, False)


cdef void depthwise_conv2d_backward_data_pack(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """packed[(r, s), k] = w[k, r, s, 0], in one task; turned by half a turn for stride 1."""
    cdef const Conv2dBackwardDataDepthwise *a = <const Conv2dBackwardDataDepthwise *> args
    pack(a.w, a.packed, a.K, a.TAPS, a.stride[0] == 1 and a.stride[1] == 1)


cdef void depthwise_conv2d_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """A task computes BAND rows of IMAGES images."""
    cdef const Conv2dForwardDepthwise *a = <const Conv2dForwardDepthwise *> args
    cdef int64_t task
    cdef window_t window = window_of(a.packed, a.b if a.B > 0 else NULL, a.R, a.S, a.stride, a.dilation)
    cdef images_t images = images_to_read(a.x, a.H, a.W, a.C)
    cdef results_t results = images_to_write(a.y, a.N, a.OH, a.OW, a.K, a.H * a.W)
    for task in range(begin, end):
        sum_windows(PLAIN, images, window, results, a.padding[0], a.padding[1],
                    band_of(task, a.N, a.OH, a.IMAGES, a.BAND, a.BANDS))


cdef void depthwise_conv2d_backward_data(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """A task computes BAND rows of dx of IMAGES images."""
    cdef const Conv2dBackwardDataDepthwise *a = <const Conv2dBackwardDataDepthwise *> args
    cdef int64_t task
    cdef window_t window = window_of(a.packed, NULL, a.R, a.S, a.stride, a.dilation)
    cdef images_t gradients = images_to_read(a.dy, a.OH, a.OW, a.K)
    cdef results_t results = images_to_write(a.dx, a.N, a.H, a.W, a.C, a.OH * a.OW)
    for task in range(begin, end):
        sum_gradients(PLAIN, gradients, window, a.padding, results,
                      band_of(task, a.N, a.H, a.IMAGES, a.BAND, a.BANDS))


cdef void depthwise_conv2d_backward_weight(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """A task sums over one run of fours of output rows."""
    cdef const Conv2dBackwardWeightDepthwise *a = <const Conv2dBackwardWeightDepthwise *> args
    cdef int64_t part, fours = a.N * ((a.OH + 3) // 4)
    cdef float *sums
    cdef window_t window = window_of(NULL, NULL, a.R, a.S, a.stride, a.dilation)
    cdef images_t images = images_to_read(a.x, a.H, a.W, a.C), gradients = images_to_read(a.dy, a.OH, a.OW, a.K)
    for part in range(begin, end):
        sums = a.partial + part * a.TAPS * a.K
        memset(sums, 0, a.TAPS * a.K * sizeof(float))
        sum_products(False, images, window, a.padding, gradients, sums, part * fours // a.PARTS,
                     (part + 1) * fours // a.PARTS)


cdef void depthwise_conv2d_backward_weight_reduce(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """dw[k, r, s, 0] = the partial sums added in order, in one task."""
    cdef const Conv2dBackwardWeightDepthwise *a = <const Conv2dBackwardWeightDepthwise *> args
    add_turned(a.partial, a.dw, a.K, a.TAPS, a.PARTS)


ADDRESSES = {
    "depthwise_conv2d_forward_pack": <size_t> <void *> &depthwise_conv2d_forward_pack,
    "depthwise_conv2d_forward": <size_t> <void *> &depthwise_conv2d_forward,
    "depthwise_conv2d_backward_data_pack": <size_t> <void *> &depthwise_conv2d_backward_data_pack,
    "depthwise_conv2d_backward_data": <size_t> <void *> &depthwise_conv2d_backward_data,
    "depthwise_conv2d_backward_weight": <size_t> <void *> &depthwise_conv2d_backward_weight,
    "depthwise_conv2d_backward_weight_reduce": <size_t> <void *> &depthwise_conv2d_backward_weight_reduce,
}
