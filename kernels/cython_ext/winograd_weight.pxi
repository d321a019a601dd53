"""The weight gradient of `winograd.pyx`: sums over tiles of products of transformed inputs and gradients."""


cdef struct Conv2dBackwardWeightWinograd:
    const float *x  # N H W C
    const float *dy  # N OH OW K
    float *dw  # K R S CG
    float *partial  # PARTS K 9 C
    float *inputs  # 36 INPUTS
    float *gradients  # 36 GRADIENTS
    float *products  # 2 36 PRODUCTS
    int64_t N, H, W, C, OH, OW, K, R, S, CG, PARTS, INPUTS, GRADIENTS, PRODUCTS, KG, TAPS, GROUPS, TH, TW, TILES
    int64_t BLOCKS, PANELS, PAIRS, RUNS
    int64_t kernel_size[2]
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]
    int64_t groups

cdef struct FusedConv2dBackwardWeightWinograd:
    const float *x  # N H W C
    const float *dy  # N OH OW K
    const float *scale  # P
    const float *shift  # P
    const float *z  # NZ OH OW K
    const float *slope  # G
    const float *factor  # G
    const float *offset  # G
    float *dw  # K R S CG
    float *partial  # PARTS K 9 C
    float *inputs  # 36 INPUTS
    float *gradients  # 36 GRADIENTS
    float *products  # 2 36 PRODUCTS
    int64_t N, H, W, C, OH, OW, K, P, NZ, G, R, S, CG, PARTS, INPUTS, GRADIENTS, PRODUCTS, KG, TAPS, GROUPS, TH, TW
    int64_t TILES, BLOCKS, PANELS, PAIRS, RUNS
    int64_t activation
    int64_t kernel_size[2]
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]
    int64_t groups


cdef struct Correlation:
    image_t image
    image_t gradient
    float *partial
    float *inputs
    float *gradients
    float *products
    int64_t N, PARTS, INPUTS, GRADIENTS, PRODUCTS, TH, TW, TILES, BLOCKS, PANELS, PAIRS, RUNS


cdef inline void store_taps(const Correlation *a, int64_t part, int64_t k, int64_t rows, int64_t c, int64_t columns,
                            const float *products) noexcept nogil:
    """partial[part, k + i, taps, c + j] = G^T u G of a panel of products."""
    cdef int64_t i, j, C = a.image.channels, K = a.gradient.channels
    for i in range(rows):
        for j in range((columns + LANES - 1) // LANES):
            transform_weight_gradients(products + i * PANEL + j * LANES, a.PRODUCTS, columns - j * LANES,
                                       a.partial + (part * K + k + i) * 9 * C + c + j * LANES, C)


cdef inline void sum_tiles(const Correlation *a, int64_t begin, int64_t end) noexcept nogil:
    """A task sums one part of the blocks for PAIR panels of input and DEPTH output channels."""
    cdef int64_t task, part, run, pair, k, panels, rows, whole, start, stop, block, first, tiles, panel, c, columns
    cdef int64_t plane
    cdef float *products
    for task in range(begin, end):
        part, run, pair = task // (a.RUNS * a.PAIRS), task // a.PAIRS % a.RUNS, task % a.PAIRS
        k, panels = run * DEPTH, min(PAIR, a.PANELS - pair * PAIR)
        rows = min(DEPTH, a.gradient.channels - k)
        whole = (rows + SHORT - 1) // SHORT * SHORT
        start, stop = part * a.BLOCKS // a.PARTS, (part + 1) * a.BLOCKS // a.PARTS
        if start == stop:
            memset(a.products, 0, panels * PLANES * a.PRODUCTS * sizeof(float))
        for block in range(start, stop):
            first = block * a.TILES
            tiles = min(a.TILES, a.N * a.TH * a.TW - first)
            load_tiles(transform_gradients, &a.gradient, k, rows, first, tiles, a.TH, a.TW, a.gradients, DEPTH,
                       a.GRADIENTS)
            for panel in range(panels):
                c = (pair * PAIR + panel) * PANEL
                columns = min(PANEL, a.image.channels - c)
                products = a.products + panel * PLANES * a.PRODUCTS
                load_tiles(transform_inputs, &a.image, c, columns, first, tiles, a.TH, a.TW, a.inputs, PANEL, a.INPUTS)
                for plane in range(PLANES):
                    multiply_gradients(whole, columns, tiles, a.gradients + plane * a.GRADIENTS, DEPTH,
                                       a.inputs + plane * a.INPUTS, products + plane * a.PRODUCTS, block > start)
        for panel in range(panels):
            c = (pair * PAIR + panel) * PANEL
            store_taps(a, part, k, rows, c, min(PANEL, a.image.channels - c), a.products + panel * PLANES * a.PRODUCTS)


cdef void winograd_conv2d_backward_weight(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """See `sum_tiles`."""
    cdef const Conv2dBackwardWeightWinograd *a = <const Conv2dBackwardWeightWinograd *> args
    cdef Correlation b
    b.image = image_of(unchanged(a.x), a.H, a.W, a.C, a.padding[0], a.padding[1])
    b.gradient = image_of(unchanged(a.dy), a.OH, a.OW, a.K, 0, 0)
    b.N, b.PARTS, b.INPUTS, b.GRADIENTS, b.PRODUCTS = a.N, a.PARTS, a.INPUTS, a.GRADIENTS, a.PRODUCTS
    b.TH, b.TW, b.TILES, b.BLOCKS, b.PANELS, b.PAIRS, b.RUNS = a.TH, a.TW, a.TILES, a.BLOCKS, a.PANELS, a.PAIRS, a.RUNS
    b.partial, b.inputs, b.gradients, b.products = a.partial, a.inputs, a.gradients, a.products
    sum_tiles(&b, begin, end)


cdef void winograd_conv2d_backward_weight_reduce(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """dw = the partial sums added in order; a task adds BLOCK elements."""
    cdef const Conv2dBackwardWeightWinograd *a = <const Conv2dBackwardWeightWinograd *> args
    cdef int64_t size = a.K * 9 * a.C
    add_parts(a.partial, a.dw, size, a.PARTS, begin * BLOCK, min(end * BLOCK, size))


cdef void fused_winograd_conv2d_backward_weight(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """See `sum_tiles`."""
    cdef const FusedConv2dBackwardWeightWinograd *a = <const FusedConv2dBackwardWeightWinograd *> args
    cdef Correlation b
    b.image = image_of(activated(a.x, a.scale, a.shift, a.P > 0, a.activation), a.H, a.W, a.C, a.padding[0],
                       a.padding[1])
    b.gradient = image_of(composed(a.dy, a.z, a.slope, a.factor, a.offset, a.G > 0), a.OH, a.OW, a.K, 0, 0)
    b.N, b.PARTS, b.INPUTS, b.GRADIENTS, b.PRODUCTS = a.N, a.PARTS, a.INPUTS, a.GRADIENTS, a.PRODUCTS
    b.TH, b.TW, b.TILES, b.BLOCKS, b.PANELS, b.PAIRS, b.RUNS = a.TH, a.TW, a.TILES, a.BLOCKS, a.PANELS, a.PAIRS, a.RUNS
    b.partial, b.inputs, b.gradients, b.products = a.partial, a.inputs, a.gradients, a.products
    sum_tiles(&b, begin, end)


cdef void fused_winograd_conv2d_backward_weight_reduce(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """dw = the partial sums added in order; a task adds BLOCK elements."""
    cdef const FusedConv2dBackwardWeightWinograd *a = <const FusedConv2dBackwardWeightWinograd *> args
    cdef int64_t size = a.K * 9 * a.C
    add_parts(a.partial, a.dw, size, a.PARTS, begin * BLOCK, min(end * BLOCK, size))
