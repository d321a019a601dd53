"""The data gradient of `winograd.pyx`: the same with dy as the image and the kernels turned by half a turn."""


cdef struct Conv2dBackwardDataWinograd:
    const float *dy  # N OH OW K
    const float *w  # K R S CG
    float *dx  # N H W C
    float *transformed  # PANELS 36 WEIGHTS
    float *inputs  # 36 INPUTS
    float *products  # GROUP 36 PRODUCTS
    int64_t N, OH, OW, K, R, S, CG, H, W, C, PANELS, WEIGHTS, INPUTS, GROUP, PRODUCTS, KG, TAPS, GROUPS, TH, TW, ROW
    int64_t TILES, BLOCKS, SPLIT
    int64_t size[2]
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]
    int64_t groups

cdef struct FusedConv2dBackwardDataWinograd:
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
    float *transformed  # PANELS 36 WEIGHTS
    double *task_sums  # BLOCKS 2 E
    float *inputs  # 36 INPUTS
    float *products  # GROUP 36 PRODUCTS
    int64_t N, OH, OW, K, R, S, CG, NZ, G, NX, H, W, C, P, E, PANELS, WEIGHTS, BLOCKS, INPUTS, GROUP, PRODUCTS, KG
    int64_t TAPS, GROUPS, TH, TW, ROW, TILES, SPLIT
    int64_t activation
    int64_t size[2]
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]
    int64_t groups

cdef struct Conv2dBackwardDataWide:
    const float *dy  # N OH OW K
    const float *w  # K R S CG
    float *dx  # N H W C
    float *transformed  # BLOCKS RUNS 36 INPUTS
    float *weights  # 36 2064
    float *products  # 36 PRODUCTS
    int64_t N, OH, OW, K, R, S, CG, H, W, C, BLOCKS, RUNS, INPUTS, PRODUCTS, KG, TAPS, GROUPS, TH, TW, TILES, PANELS
    int64_t size[2]
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]
    int64_t groups

cdef struct FusedConv2dBackwardDataWide:
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
    float *transformed  # BLOCKS RUNS 36 INPUTS
    double *task_sums  # BLOCKS 2 E
    float *weights  # 36 2064
    float *products  # 36 PRODUCTS
    int64_t N, OH, OW, K, R, S, CG, NZ, G, NX, H, W, C, P, E, BLOCKS, RUNS, INPUTS, PRODUCTS, KG, TAPS, GROUPS, TH, TW
    int64_t TILES, PANELS
    int64_t activation
    int64_t size[2]
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]
    int64_t groups


cdef void winograd_conv2d_backward_data_weights(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """See `transform_kernels`."""
    cdef const Conv2dBackwardDataWinograd *a = <const Conv2dBackwardDataWinograd *> args
    transform_kernels(transform_turned_panel, a.w, a.transformed, a.K, a.K, a.C, a.WEIGHTS, begin, end)


cdef void winograd_conv2d_backward_data(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """See `convolve_tiles`."""
    cdef const Conv2dBackwardDataWinograd *a = <const Conv2dBackwardDataWinograd *> args
    cdef Blocks b
    b.image = image_of(unchanged(a.dy), a.OH, a.OW, a.K, 2 - a.padding[0], 2 - a.padding[1])
    b.result = result_of(a.dx, a.H, a.W, a.C, 0, NULL, summed(NULL, NULL))
    b.N, b.PANELS, b.WEIGHTS, b.INPUTS, b.GROUP = a.N, a.PANELS, a.WEIGHTS, a.INPUTS, a.GROUP
    b.PRODUCTS, b.TH, b.TW, b.ROW, b.TILES, b.SPLIT = a.PRODUCTS, a.TH, a.TW, a.ROW, a.TILES, a.SPLIT
    b.transformed, b.inputs, b.products = a.transformed, a.inputs, a.products
    b.task_sums, b.E = NULL, 0
    convolve_tiles(&b, begin, end)


cdef void wide_winograd_conv2d_backward_data_inputs(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """See `transform_blocks`."""
    cdef const Conv2dBackwardDataWide *a = <const Conv2dBackwardDataWide *> args
    cdef image_t image = image_of(unchanged(a.dy), a.OH, a.OW, a.K, 2 - a.padding[0], 2 - a.padding[1])
    transform_blocks(&image, a.transformed, a.N, a.TH, a.TW, a.TILES, a.INPUTS, a.RUNS, begin, end)


cdef void wide_winograd_conv2d_backward_data(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """See `convolve_wide`."""
    cdef const Conv2dBackwardDataWide *a = <const Conv2dBackwardDataWide *> args
    cdef Wide b
    b.result = result_of(a.dx, a.H, a.W, a.C, 0, NULL, summed(NULL, NULL))
    b.N, b.C, b.K, b.PANELS, b.RUNS, b.INPUTS = a.N, a.C, a.K, a.PANELS, a.RUNS, a.INPUTS
    b.PRODUCTS, b.TH, b.TW, b.TILES = a.PRODUCTS, a.TH, a.TW, a.TILES
    b.w, b.transformed, b.weights, b.products = a.w, a.transformed, a.weights, a.products
    b.depth = a.K
    b.task_sums, b.E = NULL, 0
    convolve_wide(transform_turned_panel, &b, begin, end)


cdef void fused_winograd_conv2d_backward_data_weights(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """See `transform_kernels`."""
    cdef const FusedConv2dBackwardDataWinograd *a = <const FusedConv2dBackwardDataWinograd *> args
    transform_kernels(transform_turned_panel, a.w, a.transformed, a.K, a.K, a.C, a.WEIGHTS, begin, end)


cdef void fused_winograd_conv2d_backward_data(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """See `convolve_tiles`."""
    cdef const FusedConv2dBackwardDataWinograd *a = <const FusedConv2dBackwardDataWinograd *> args
    cdef Blocks b
    b.image = image_of(composed(a.dy, a.z, a.slope, a.factor, a.offset, a.G > 0), a.OH, a.OW, a.K, 2 - a.padding[0],
                       2 - a.padding[1])
    b.result = result_of(a.dx, a.H, a.W, a.C, 0, NULL, finished(a.x, a.scale, a.shift, a.P > 0, a.activation, a.centre,
                                                                NULL))
    b.N, b.PANELS, b.WEIGHTS, b.INPUTS, b.GROUP = a.N, a.PANELS, a.WEIGHTS, a.INPUTS, a.GROUP
    b.PRODUCTS, b.TH, b.TW, b.ROW, b.TILES, b.SPLIT = a.PRODUCTS, a.TH, a.TW, a.ROW, a.TILES, a.SPLIT
    b.transformed, b.inputs, b.products = a.transformed, a.inputs, a.products
    b.task_sums, b.E = a.task_sums, a.E
    convolve_tiles(&b, begin, end)


cdef void fused_wide_winograd_conv2d_backward_data_inputs(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """See `transform_blocks`."""
    cdef const FusedConv2dBackwardDataWide *a = <const FusedConv2dBackwardDataWide *> args
    cdef image_t image = image_of(composed(a.dy, a.z, a.slope, a.factor, a.offset, a.G > 0), a.OH, a.OW, a.K,
                                  2 - a.padding[0], 2 - a.padding[1])
    transform_blocks(&image, a.transformed, a.N, a.TH, a.TW, a.TILES, a.INPUTS, a.RUNS, begin, end)


cdef void fused_wide_winograd_conv2d_backward_data(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """See `convolve_wide`."""
    cdef const FusedConv2dBackwardDataWide *a = <const FusedConv2dBackwardDataWide *> args
    cdef Wide b
    b.result = result_of(a.dx, a.H, a.W, a.C, 0, NULL, finished(a.x, a.scale, a.shift, a.P > 0, a.activation, a.centre,
                                                                NULL))
    b.N, b.C, b.K, b.PANELS, b.RUNS, b.INPUTS = a.N, a.C, a.K, a.PANELS, a.RUNS, a.INPUTS
    b.PRODUCTS, b.TH, b.TW, b.TILES = a.PRODUCTS, a.TH, a.TW, a.TILES
    b.w, b.transformed, b.weights, b.products = a.w, a.transformed, a.weights, a.products
    b.depth = a.K
    b.task_sums, b.E = a.task_sums, a.E
    convolve_wide(transform_turned_panel, &b, begin, end)


cdef void fused_winograd_conv2d_backward_data_sums(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """sums = those of all blocks, added in order, in one task."""
    cdef const FusedConv2dBackwardDataWinograd *a = <const FusedConv2dBackwardDataWinograd *> args
    add_tasks(a.task_sums, a.sums, a.BLOCKS, 2 * a.E)


cdef void fused_wide_winograd_conv2d_backward_data_sums(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """sums = those of all blocks, added in order, in one task."""
    cdef const FusedConv2dBackwardDataWide *a = <const FusedConv2dBackwardDataWide *> args
    add_tasks(a.task_sums, a.sums, a.BLOCKS, 2 * a.E)
