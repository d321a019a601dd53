"""The forward pass of `winograd.pyx`."""


cdef struct Conv2dForwardWinograd:
    const float *x  # N H W C
    const float *w  # K R S CG
    const float *b  # B
    float *y  # N OH OW K
    float *transformed  # PANELS 36 WEIGHTS
    float *inputs  # 36 INPUTS
    float *products  # GROUP 36 PRODUCTS
    int64_t N, H, W, C, K, R, S, CG, B, OH, OW, PANELS, WEIGHTS, INPUTS, GROUP, PRODUCTS, KG, TAPS, GROUPS, TH, TW
    int64_t ROW, TILES, BLOCKS, SPLIT
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]
    int64_t groups

cdef struct FusedConv2dForwardWinograd:
    const float *x  # N H W C
    const float *w  # K R S CG
    const float *b  # B
    const float *scale  # P
    const float *shift  # P
    const float *centre  # E
    float *y  # N OH OW K
    double *sums  # 2 E
    float *transformed  # PANELS 36 WEIGHTS
    double *task_sums  # BLOCKS 2 E
    float *inputs  # 36 INPUTS
    float *products  # GROUP 36 PRODUCTS
    int64_t N, H, W, C, K, R, S, CG, B, P, E, OH, OW, PANELS, WEIGHTS, BLOCKS, INPUTS, GROUP, PRODUCTS, KG, TAPS
    int64_t GROUPS, TH, TW, ROW, TILES, SPLIT
    int64_t activation
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]
    int64_t groups

cdef struct Conv2dForwardWide:
    const float *x  # N H W C
    const float *w  # K R S CG
    const float *b  # B
    float *y  # N OH OW K
    float *transformed  # BLOCKS RUNS 36 INPUTS
    float *weights  # 36 2064
    float *products  # 36 PRODUCTS
    int64_t N, H, W, C, K, R, S, CG, B, OH, OW, BLOCKS, RUNS, INPUTS, PRODUCTS, KG, TAPS, GROUPS, TH, TW, TILES
    int64_t PANELS
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]
    int64_t groups

cdef struct FusedConv2dForwardWide:
    const float *x  # N H W C
    const float *w  # K R S CG
    const float *b  # B
    const float *scale  # P
    const float *shift  # P
    const float *centre  # E
    float *y  # N OH OW K
    double *sums  # 2 E
    float *transformed  # BLOCKS RUNS 36 INPUTS
    double *task_sums  # BLOCKS 2 E
    float *weights  # 36 2064
    float *products  # 36 PRODUCTS
    int64_t N, H, W, C, K, R, S, CG, B, P, E, OH, OW, BLOCKS, RUNS, INPUTS, PRODUCTS, KG, TAPS, GROUPS, TH, TW, TILES
    int64_t PANELS
    int64_t activation
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]
    int64_t groups


cdef void winograd_conv2d_forward_weights(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """See `transform_kernels`."""
    cdef const Conv2dForwardWinograd *a = <const Conv2dForwardWinograd *> args
    transform_kernels(transform_panel, a.w, a.transformed, a.C, a.K, a.C, a.WEIGHTS, begin, end)


cdef void winograd_conv2d_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """See `convolve_tiles`."""
    cdef const Conv2dForwardWinograd *a = <const Conv2dForwardWinograd *> args
    cdef Blocks b
    b.image = image_of(unchanged(a.x), a.H, a.W, a.C, a.padding[0], a.padding[1])
    b.result = result_of(a.y, a.OH, a.OW, a.K, a.B, a.b, summed(NULL, NULL))
    b.N, b.PANELS, b.WEIGHTS, b.INPUTS, b.GROUP = a.N, a.PANELS, a.WEIGHTS, a.INPUTS, a.GROUP
    b.PRODUCTS, b.TH, b.TW, b.ROW, b.TILES, b.SPLIT = a.PRODUCTS, a.TH, a.TW, a.ROW, a.TILES, a.SPLIT
    b.transformed, b.inputs, b.products = a.transformed, a.inputs, a.products
    b.task_sums, b.E = NULL, 0
    convolve_tiles(&b, begin, end)


cdef void wide_winograd_conv2d_forward_inputs(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """See `transform_blocks`."""
    cdef const Conv2dForwardWide *a = <const Conv2dForwardWide *> args
    cdef image_t image = image_of(unchanged(a.x), a.H, a.W, a.C, a.padding[0], a.padding[1])
    transform_blocks(&image, a.transformed, a.N, a.TH, a.TW, a.TILES, a.INPUTS, a.RUNS, begin, end)


cdef void wide_winograd_conv2d_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """See `convolve_wide`."""
    cdef const Conv2dForwardWide *a = <const Conv2dForwardWide *> args
    cdef Wide b
    b.result = result_of(a.y, a.OH, a.OW, a.K, a.B, a.b, summed(NULL, NULL))
    b.N, b.C, b.K, b.PANELS, b.RUNS, b.INPUTS = a.N, a.C, a.K, a.PANELS, a.RUNS, a.INPUTS
    b.PRODUCTS, b.TH, b.TW, b.TILES = a.PRODUCTS, a.TH, a.TW, a.TILES
    b.w, b.transformed, b.weights, b.products = a.w, a.transformed, a.weights, a.products
    b.depth = a.C
    b.task_sums, b.E = NULL, 0
    convolve_wide(transform_panel, &b, begin, end)


cdef void fused_winograd_conv2d_forward_weights(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """See `transform_kernels`."""
    cdef const FusedConv2dForwardWinograd *a = <const FusedConv2dForwardWinograd *> args
    transform_kernels(transform_panel, a.w, a.transformed, a.C, a.K, a.C, a.WEIGHTS, begin, end)


cdef void fused_winograd_conv2d_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """See `convolve_tiles`."""
    cdef const FusedConv2dForwardWinograd *a = <const FusedConv2dForwardWinograd *> args
    cdef Blocks b
    b.image = image_of(activated(a.x, a.scale, a.shift, a.P > 0, a.activation), a.H, a.W, a.C, a.padding[0],
                       a.padding[1])
    b.result = result_of(a.y, a.OH, a.OW, a.K, a.B, a.b, summed(a.centre, NULL))
    b.N, b.PANELS, b.WEIGHTS, b.INPUTS, b.GROUP = a.N, a.PANELS, a.WEIGHTS, a.INPUTS, a.GROUP
    b.PRODUCTS, b.TH, b.TW, b.ROW, b.TILES, b.SPLIT = a.PRODUCTS, a.TH, a.TW, a.ROW, a.TILES, a.SPLIT
    b.transformed, b.inputs, b.products = a.transformed, a.inputs, a.products
    b.task_sums, b.E = a.task_sums, a.E
    convolve_tiles(&b, begin, end)


cdef void fused_wide_winograd_conv2d_forward_inputs(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """See `transform_blocks`."""
    cdef const FusedConv2dForwardWide *a = <const FusedConv2dForwardWide *> args
    cdef image_t image = image_of(activated(a.x, a.scale, a.shift, a.P > 0, a.activation), a.H, a.W, a.C,
                                  a.padding[0], a.padding[1])
    transform_blocks(&image, a.transformed, a.N, a.TH, a.TW, a.TILES, a.INPUTS, a.RUNS, begin, end)


cdef void fused_wide_winograd_conv2d_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """See `convolve_wide`."""
    cdef const FusedConv2dForwardWide *a = <const FusedConv2dForwardWide *> args
    cdef Wide b
    b.result = result_of(a.y, a.OH, a.OW, a.K, a.B, a.b, summed(a.centre, NULL))
    b.N, b.C, b.K, b.PANELS, b.RUNS, b.INPUTS = a.N, a.C, a.K, a.PANELS, a.RUNS, a.INPUTS
    b.PRODUCTS, b.TH, b.TW, b.TILES = a.PRODUCTS, a.TH, a.TW, a.TILES
    b.w, b.transformed, b.weights, b.products = a.w, a.transformed, a.weights, a.products
    b.depth = a.C
    b.task_sums, b.E = a.task_sums, a.E
    convolve_wide(transform_panel, &b, begin, end)


cdef void fused_winograd_conv2d_forward_sums(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """sums = those of all blocks, added in order, in one task."""
    cdef const FusedConv2dForwardWinograd *a = <const FusedConv2dForwardWinograd *> args
    add_tasks(a.task_sums, a.sums, a.BLOCKS, 2 * a.E)


cdef void fused_wide_winograd_conv2d_forward_sums(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """sums = those of all blocks, added in order, in one task."""
    cdef const FusedConv2dForwardWide *a = <const FusedConv2dForwardWide *> args
    add_tasks(a.task_sums, a.sums, a.BLOCKS, 2 * a.E)
