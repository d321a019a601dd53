# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Depthwise convolution (one input and one output channel a group): the channels are the vector."""

from libc.stdint cimport int64_t

cdef extern from *:
    """
    /* y += x * w over channels; restrict tells the compiler that a vector of them can be done at once. */
    static inline void multiply_add(float *restrict y, const float *restrict x, const float *restrict w, int64_t count) {
        for (int64_t k = 0; k < count; k++) y[k] += x[k] * w[k];
    }
    """
    void multiply_add(float *y, const float *x, const float *w, int64_t count) noexcept nogil

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


cdef inline void pack(const float *w, float *packed, int64_t K, int64_t taps) noexcept nogil:
    """packed[(r, s), k] = w[k, r, s, 0]"""
    cdef int64_t t, k
    for t in range(taps):
        for k in range(K):
            packed[t * K + k] = w[k * taps + t]


cdef void depthwise_conv2d_forward_pack(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """packed[(r, s), k] = w[k, r, s, 0], in one task."""
    cdef const Conv2dForwardDepthwise *a = <const Conv2dForwardDepthwise *> args
    pack(a.w, a.packed, a.K, a.TAPS)


cdef void depthwise_conv2d_backward_data_pack(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """packed[(r, s), k] = w[k, r, s, 0], in one task."""
    cdef const Conv2dBackwardDataDepthwise *a = <const Conv2dBackwardDataDepthwise *> args
    pack(a.w, a.packed, a.K, a.TAPS)


cdef void depthwise_conv2d_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """A task computes BAND rows of IMAGES images; each pixel adds up its taps in place."""
    cdef const Conv2dForwardDepthwise *a = <const Conv2dForwardDepthwise *> args
    cdef int64_t task, image, band, n, oh
    for task in range(begin, end):
        image = task // a.BANDS * a.IMAGES
        band = task % a.BANDS * a.BAND
        for n in range(image, min(image + a.IMAGES, a.N)):
            for oh in range(band, min(band + a.BAND, a.OH)):
                output_row(a, n, oh)


cdef inline void output_row(const Conv2dForwardDepthwise *a, int64_t n, int64_t oh) noexcept nogil:
    cdef int64_t ow, r, s, ih, iw, k
    cdef float *y
    for ow in range(a.OW):
        y = a.y + ((n * a.OH + oh) * a.OW + ow) * a.K
        for k in range(a.K):
            y[k] = a.b[k] if a.B > 0 else 0
        for r in range(a.R):
            ih = oh * a.stride[0] - a.padding[0] + r * a.dilation[0]
            for s in range(a.S):
                iw = ow * a.stride[1] - a.padding[1] + s * a.dilation[1]
                if 0 <= ih < a.H and 0 <= iw < a.W:
                    multiply_add(y, a.x + ((n * a.H + ih) * a.W + iw) * a.K, a.packed + (r * a.S + s) * a.K, a.K)


cdef void depthwise_conv2d_backward_data(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """A task computes BAND rows of dx of IMAGES images; each pixel adds up the taps that fall on an output pixel."""
    cdef const Conv2dBackwardDataDepthwise *a = <const Conv2dBackwardDataDepthwise *> args
    cdef int64_t task, image, band, n, ih
    for task in range(begin, end):
        image = task // a.BANDS * a.IMAGES
        band = task % a.BANDS * a.BAND
        for n in range(image, min(image + a.IMAGES, a.N)):
            for ih in range(band, min(band + a.BAND, a.H)):
                gradient_row(a, n, ih)


cdef inline void gradient_row(const Conv2dBackwardDataDepthwise *a, int64_t n, int64_t ih) noexcept nogil:
    cdef int64_t iw, r, s, above, left, oh, ow, k
    cdef float *dx
    for iw in range(a.W):
        dx = a.dx + ((n * a.H + ih) * a.W + iw) * a.K
        for k in range(a.K):
            dx[k] = 0
        for r in range(a.R):
            above = ih + a.padding[0] - r * a.dilation[0]
            oh = above // a.stride[0]
            for s in range(a.S):
                left = iw + a.padding[1] - s * a.dilation[1]
                ow = left // a.stride[1]
                if (above % a.stride[0] == 0 and left % a.stride[1] == 0 and 0 <= oh < a.OH and 0 <= ow < a.OW):
                    multiply_add(dx, a.dy + ((n * a.OH + oh) * a.OW + ow) * a.K,
                                 a.packed + (r * a.S + s) * a.K, a.K)


cdef void depthwise_conv2d_backward_weight(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """A task sums one run of output rows into its own partial result."""
    cdef const Conv2dBackwardWeightDepthwise *a = <const Conv2dBackwardWeightDepthwise *> args
    cdef int64_t part, row, n, oh, ow, r, s, ih, iw, k, rows = a.N * a.OH
    cdef float *partial
    for part in range(begin, end):
        partial = a.partial + part * a.TAPS * a.K
        for k in range(a.TAPS * a.K):
            partial[k] = 0
        for row in range(part * rows // a.PARTS, (part + 1) * rows // a.PARTS):
            n = row // a.OH
            oh = row % a.OH
            for ow in range(a.OW):
                for r in range(a.R):
                    ih = oh * a.stride[0] - a.padding[0] + r * a.dilation[0]
                    for s in range(a.S):
                        iw = ow * a.stride[1] - a.padding[1] + s * a.dilation[1]
                        if 0 <= ih < a.H and 0 <= iw < a.W:
                            multiply_add(partial + (r * a.S + s) * a.K, a.x + ((n * a.H + ih) * a.W + iw) * a.K,
                                         a.dy + (row * a.OW + ow) * a.K, a.K)


cdef void depthwise_conv2d_backward_weight_reduce(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """dw[k, r, s, 0] = the partial sums added in order, in one task."""
    cdef const Conv2dBackwardWeightDepthwise *a = <const Conv2dBackwardWeightDepthwise *> args
    cdef int64_t t, k, part
    cdef float total
    for t in range(a.TAPS):
        for k in range(a.K):
            total = a.partial[t * a.K + k]
            for part in range(1, a.PARTS):
                total += a.partial[(part * a.TAPS + t) * a.K + k]
            a.dw[k * a.TAPS + t] = total


ADDRESSES = {
    "depthwise_conv2d_forward_pack": <size_t> <void *> &depthwise_conv2d_forward_pack,
    "depthwise_conv2d_forward": <size_t> <void *> &depthwise_conv2d_forward,
    "depthwise_conv2d_backward_data_pack": <size_t> <void *> &depthwise_conv2d_backward_data_pack,
    "depthwise_conv2d_backward_data": <size_t> <void *> &depthwise_conv2d_backward_data,
    "depthwise_conv2d_backward_weight": <size_t> <void *> &depthwise_conv2d_backward_weight,
    "depthwise_conv2d_backward_weight_reduce": <size_t> <void *> &depthwise_conv2d_backward_weight_reduce,
}
