# Depthwise convolution fused with what stands before and behind it: the plain kernels' tasks with other vectors.
#
# Each task adds its sums up in doubles of its own; the last stage adds those of all tasks in order.

from libc.string cimport memset

include "partials.pxi"

cdef struct FusedConv2dForwardDepthwise:
    const float *x  # N H W C
    const float *w  # K R S CG
    const float *b  # B
    const float *scale  # P
    const float *shift  # P
    const float *centre  # E
    float *y  # N OH OW K
    double *sums  # 2 E
    float *packed  # TAPS K
    double *task_sums  # BLOCKS 2 E
    int64_t N, H, W, C, K, R, S, CG, B, P, E, OH, OW, TAPS, BLOCKS, KG, GROUPS, IMAGES, BAND, BANDS
    int64_t activation
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]
    int64_t groups

cdef struct FusedConv2dBackwardDataDepthwise:
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
    float *packed  # TAPS K
    double *task_sums  # BLOCKS 2 E
    int64_t N, OH, OW, K, R, S, CG, NZ, G, NX, H, W, C, P, E, TAPS, BLOCKS, KG, GROUPS, IMAGES, BAND, BANDS
    int64_t activation
    int64_t size[2]
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]
    int64_t groups

cdef struct FusedConv2dBackwardWeightDepthwise:
    const float *x  # N H W C
    const float *dy  # N OH OW K
    const float *scale  # P
    const float *shift  # P
    const float *z  # NZ OH OW K
    const float *slope  # G
    const float *factor  # G
    const float *offset  # G
    float *dw  # K R S CG
    float *partial  # PARTS TAPS K
    int64_t N, H, W, C, OH, OW, K, P, NZ, G, R, S, CG, PARTS, TAPS, KG, GROUPS
    int64_t activation
    int64_t kernel_size[2]
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]
    int64_t groups


cdef inline void load_activated(images_t *images, const float *scale, const float *shift, int64_t P,
                                int64_t activation) noexcept nogil:
    """Loads are activation(x * scale + shift)."""
    if P > 0:
        images.scale = scale
        images.shift = shift
    images.activation = activation


cdef inline void load_composed(images_t *gradients, const float *z, const float *slope, const float *factor,
                               const float *offset, int64_t G) noexcept nogil:
    """Loads are slope * dy + factor * z + offset."""
    if G > 0:
        gradients.z = z
        gradients.scale = slope
        gradients.factor = factor
        gradients.shift = offset


cdef void fused_depthwise_conv2d_forward_pack(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """packed[(r, s), k] = w[k, r, s, 0], in one task."""
    cdef const FusedConv2dForwardDepthwise *a = <const FusedConv2dForwardDepthwise *> args
    pack(a.w, a.packed, a.K, a.TAPS, False)


cdef void fused_depthwise_conv2d_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """A task computes BAND rows of IMAGES images and their sums."""
    cdef const FusedConv2dForwardDepthwise *a = <const FusedConv2dForwardDepthwise *> args
    cdef int64_t task
    cdef window_t window = window_of(a.packed, a.b if a.B > 0 else NULL, a.R, a.S, a.stride, a.dilation)
    cdef images_t images = images_to_read(a.x, a.H, a.W, a.C)
    cdef results_t results = images_to_write(a.y, a.N, a.OH, a.OW, a.K, a.H * a.W)
    load_activated(&images, a.scale, a.shift, a.P, a.activation)
    results.centre = a.centre if a.E > 0 else NULL
    for task in range(begin, end):
        results.sums = own_sums(a.task_sums, task, a.E)
        sum_windows(FORWARD, images, window, results, a.padding[0], a.padding[1],
                    band_of(task, a.N, a.OH, a.IMAGES, a.BAND, a.BANDS))


cdef void fused_depthwise_conv2d_forward_sums(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """sums = the tasks' sums added in order, in one task."""
    cdef const FusedConv2dForwardDepthwise *a = <const FusedConv2dForwardDepthwise *> args
    add_tasks(a.task_sums, a.sums, a.BLOCKS, 2 * a.E)


cdef void fused_depthwise_conv2d_backward_data_pack(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """packed[(r, s), k] = w[k, r, s, 0], in one task; turned by half a turn for stride 1."""
    cdef const FusedConv2dBackwardDataDepthwise *a = <const FusedConv2dBackwardDataDepthwise *> args
    pack(a.w, a.packed, a.K, a.TAPS, a.stride[0] == 1 and a.stride[1] == 1)


cdef void fused_depthwise_conv2d_backward_data(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """A task computes BAND rows of dx of IMAGES images and their sums."""
    cdef const FusedConv2dBackwardDataDepthwise *a = <const FusedConv2dBackwardDataDepthwise *> args
    cdef int64_t task
    cdef window_t window = window_of(a.packed, NULL, a.R, a.S, a.stride, a.dilation)
    cdef images_t gradients = images_to_read(a.dy, a.OH, a.OW, a.K)
    cdef results_t results = images_to_write(a.dx, a.N, a.H, a.W, a.C, a.OH * a.OW)
    load_composed(&gradients, a.z, a.slope, a.factor, a.offset, a.G)
    if a.NX > 0:
        results.x = a.x
    if a.P > 0:
        results.scale = a.scale
        results.shift = a.shift
    results.activation = a.activation
    results.centre = a.centre if a.E > 0 else NULL
    for task in range(begin, end):
        results.sums = own_sums(a.task_sums, task, a.E)
        sum_gradients(BACKWARD, gradients, window, a.padding, results,
                      band_of(task, a.N, a.H, a.IMAGES, a.BAND, a.BANDS))


cdef void fused_depthwise_conv2d_backward_data_sums(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """sums = the tasks' sums added in order, in one task."""
    cdef const FusedConv2dBackwardDataDepthwise *a = <const FusedConv2dBackwardDataDepthwise *> args
    add_tasks(a.task_sums, a.sums, a.BLOCKS, 2 * a.E)


cdef void fused_depthwise_conv2d_backward_weight(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """A task sums over one run of fours of output rows."""
    cdef const FusedConv2dBackwardWeightDepthwise *a = <const FusedConv2dBackwardWeightDepthwise *> args
    cdef int64_t part, fours = a.N * ((a.OH + 3) // 4)
    cdef float *sums
    cdef window_t window = window_of(NULL, NULL, a.R, a.S, a.stride, a.dilation)
    cdef images_t images = images_to_read(a.x, a.H, a.W, a.C), gradients = images_to_read(a.dy, a.OH, a.OW, a.K)
    load_activated(&images, a.scale, a.shift, a.P, a.activation)
    load_composed(&gradients, a.z, a.slope, a.factor, a.offset, a.G)
    for part in range(begin, end):
        sums = a.partial + part * a.TAPS * a.K
        memset(sums, 0, a.TAPS * a.K * sizeof(float))
        sum_products(True, images, window, a.padding, gradients, sums, part * fours // a.PARTS,
                     (part + 1) * fours // a.PARTS)


cdef void fused_depthwise_conv2d_backward_weight_reduce(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """dw[k, r, s, 0] = the partial sums added in order, in one task."""
    cdef const FusedConv2dBackwardWeightDepthwise *a = <const FusedConv2dBackwardWeightDepthwise *> args
    add_turned(a.partial, a.dw, a.K, a.TAPS, a.PARTS)


FUSED = {
    "fused_depthwise_conv2d_forward_pack": <size_t> <void *> &fused_depthwise_conv2d_forward_pack,
    "fused_depthwise_conv2d_forward": <size_t> <void *> &fused_depthwise_conv2d_forward,
    "fused_depthwise_conv2d_forward_sums": <size_t> <void *> &fused_depthwise_conv2d_forward_sums,
    "fused_depthwise_conv2d_backward_data_pack": <size_t> <void *> &fused_depthwise_conv2d_backward_data_pack,
    "fused_depthwise_conv2d_backward_data": <size_t> <void *> &fused_depthwise_conv2d_backward_data,
    "fused_depthwise_conv2d_backward_data_sums": <size_t> <void *> &fused_depthwise_conv2d_backward_data_sums,
    "fused_depthwise_conv2d_backward_weight": <size_t> <void *> &fused_depthwise_conv2d_backward_weight,
    "fused_depthwise_conv2d_backward_weight_reduce": <size_t> <void *> &fused_depthwise_conv2d_backward_weight_reduce,
}
