# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Winograd's convolution F(4x4, 3x3): planes of tiles times planes of weights, see `kernels/winograd.py`.

A task of `winograd` transforms a block of tiles to 36 planes, multiplies each with the transformed weights of one group
of panels of output channels after the other, and transforms the products back while they are in the second cache.
`wide_winograd`, for many channels, transforms the inputs first, and weights where they are used: they are more than the
caches hold. Data gradients are the forward pass with the kernel turned by half a turn.

Loops are those of the fused operations; plain ones change nothing on load and on store.
"""
from libc.stdint cimport int64_t
from libc.string cimport memset

from ...blocking import BLOCK as _BLOCK

cdef extern from "winograd.h" nogil:
    enum: TILE_OUT, PLANES, PANEL, LANES
    ctypedef struct source_t:
        const float *x
        const float *scale
        const float *shift
        int64_t activation
        const float *z
        const float *slope
        const float *factor
        const float *offset
    ctypedef struct finish_t:
        const float *x
        const float *scale
        const float *shift
        int64_t activation
        const float *centre
    ctypedef struct image_t:
        source_t source
        int64_t high, wide, channels, top, left
    ctypedef struct result_t:
        float *y
        int64_t high, wide, channels
        const float *bias
        finish_t finish
        float *totals
    void transform_inputs(const image_t *image, int64_t n, int64_t row, int64_t column, int64_t c, int64_t count,
                          int64_t ahead, float *planes, int64_t plane) noexcept
    void transform_gradients(const image_t *image, int64_t n, int64_t row, int64_t column, int64_t c, int64_t count,
                             int64_t ahead, float *planes, int64_t plane) noexcept
    void store_tile(const result_t *out, int64_t n, int64_t row, int64_t column, int64_t c, int64_t count,
                    const float *planes, int64_t plane) noexcept
    void transform_weights(const float *taps, int64_t tap, int64_t count, float *planes, int64_t plane) noexcept
    void transform_weight_gradients(const float *planes, int64_t plane, int64_t count, float *taps, int64_t tap) noexcept
    void multiply_tiles(int64_t tiles, int64_t columns, int64_t depth, const float *inputs, int64_t row,
                        const float *weights, float *products) noexcept
    void multiply_run(int64_t tiles, int64_t columns, int64_t depth, const float *inputs, int64_t row,
                      const float *weights, float *products, bint add) noexcept
    void multiply_gradients(int64_t rows, int64_t columns, int64_t tiles, const float *gradients, int64_t row,
                            const float *inputs, float *products, bint add) noexcept
    void add_tasks(const double *task_sums, double *sums, int64_t tasks, int64_t count) noexcept

cdef extern from "transpose.h" nogil:
    void transpose(const float *source, int64_t source_row, float *target, int64_t target_row, int64_t rows,
                   int64_t columns) noexcept

cdef int64_t BLOCK = _BLOCK
cdef enum:
    SHORT = 4  # rows of the smallest register tile: blocks of tiles are filled up to a multiple of it
    DEPTH = 64  # rows of transformed weights that a task writes, output channels of a weight gradient that it sums
    PAIR = 2  # panels of input channels that such a task sums
    WIDE_WEIGHTS = DEPTH * 32 + 16
    EARLY = 6  # tiles between the one that is transformed and the one whose pixels are fetched meanwhile
    SUMMED = 16  # tiles, of 16 pixels each, that are added in float32 before their sum is added in double


# ---------------------------------------------------------------- tiles


cdef struct Place:
    int64_t n, th, tw


cdef inline Place place_of(int64_t tile, int64_t TH, int64_t TW) noexcept nogil:
    """Image, row and column, in tiles, of a tile."""
    cdef Place place
    place.n, place.th, place.tw = tile // (TH * TW), tile // TW % TH, tile % TW
    return place


cdef inline void advance(Place *place, int64_t TH, int64_t TW) noexcept nogil:
    """On to the next tile."""
    place.tw += 1
    if place.tw == TW:
        place.tw = 0
        place.th += 1
    if place.th == TH:
        place.th = 0
        place.n += 1


cdef inline int64_t pixel(const Place *place, int64_t high, int64_t wide) noexcept nogil:
    """How many pixels stand before a tile's first output in images of high x wide pixels."""
    return (place.n * high + place.th * TILE_OUT) * wide + place.tw * TILE_OUT


ctypedef void (*transform_t)(const image_t *image, int64_t n, int64_t row, int64_t column, int64_t c, int64_t count,
                             int64_t ahead, float *planes, int64_t plane) noexcept nogil


cdef inline void load_tiles(transform_t transform, const image_t *image, int64_t c, int64_t count, int64_t first,
                            int64_t tiles, int64_t TH, int64_t TW, float *planes, int64_t row,
                            int64_t plane) noexcept nogil:
    """planes[plane, tile, channel] of `count` channels, from c on, of `tiles` tiles from `first` on."""
    cdef Place place = place_of(first, TH, TW), later = place_of(first + EARLY, TH, TW)
    cdef int64_t tile, ahead
    for tile in range(tiles):
        ahead = pixel(&later, image.high, image.wide) - pixel(&place, image.high, image.wide)
        transform(image, place.n, place.th * TILE_OUT - image.top, place.tw * TILE_OUT - image.left, c, count,
                  ahead * image.channels, planes + tile * row, plane)
        advance(&place, TH, TW)
        advance(&later, TH, TW)


cdef inline int64_t fill_rows(int64_t tiles, float *inputs, int64_t row, int64_t plane) noexcept nogil:
    """Zeros behind the last of the transformed tiles, up to a multiple of SHORT; returns that."""
    cdef int64_t rows = (tiles + SHORT - 1) // SHORT * SHORT, i
    if rows > tiles:
        for i in range(PLANES):
            memset(inputs + i * plane + tiles * row, 0, (rows - tiles) * row * sizeof(float))
    return rows


cdef inline void store_panel(const result_t *result, int64_t E, double *sums, const float *products, int64_t plane,
                             int64_t panel, int64_t first, int64_t tiles, int64_t TH, int64_t TW) noexcept nogil:
    """The products of a panel of channels of some tiles as pixels, with their sums if E is not 0."""
    cdef float totals[2 * 32]
    cdef result_t out = result[0]
    cdef Place place = place_of(first, TH, TW)
    cdef int64_t tile, i, c = panel * PANEL, columns = min(PANEL, result.channels - panel * PANEL)
    out.totals = totals if E > 0 else NULL
    if E > 0:
        memset(totals, 0, sizeof(totals))
        memset(sums + c, 0, columns * sizeof(double))
        memset(sums + E + c, 0, columns * sizeof(double))
    for tile in range(tiles):
        store_tile(&out, place.n, place.th * TILE_OUT, place.tw * TILE_OUT, c, columns, products + tile * PANEL, plane)
        advance(&place, TH, TW)
        if E > 0 and (tile % SUMMED == SUMMED - 1 or tile == tiles - 1):
            for i in range(columns):
                sums[c + i] += totals[i]
                sums[E + c + i] += totals[PANEL + i]
            memset(totals, 0, sizeof(totals))


# ---------------------------------------------------------------- weights


cdef inline void transform_panel(const float *w, float *planes, int64_t plane, int64_t panel, int64_t first,
                                 int64_t count, int64_t K, int64_t C) noexcept nogil:
    """planes[plane, c - first, k] = G w[k, :, :, c] G^T for k of a panel of channels and `count` c from `first` on."""
    cdef float taps[9 * LANES * LANES]
    cdef int64_t c, i, j, k, t, kernels, channels
    for c in range((count + LANES - 1) // LANES):
        channels = min(LANES, count - c * LANES)
        for j in range(PANEL // LANES):
            k = panel * PANEL + j * LANES
            kernels = max(0, min(LANES, K - k))
            memset(taps, 0, sizeof(taps))
            for t in range(9):
                transpose(w + (k * 9 + t) * C + first + c * LANES, 9 * C, taps + t * LANES * LANES, LANES, kernels,
                          channels)
            for i in range(channels):
                transform_weights(taps + i * LANES, LANES * LANES, LANES,
                                  planes + (c * LANES + i) * PANEL + j * LANES, plane)


cdef inline void transform_turned_panel(const float *w, float *planes, int64_t plane, int64_t panel, int64_t first,
                                        int64_t count, int64_t K, int64_t C) noexcept nogil:
    """planes[plane, k - first, c] = the same of the turned kernel w[k, ::-1, ::-1, c] for c of a panel."""
    cdef int64_t k, j, c
    for k in range(count):
        for j in range(PANEL // LANES):
            c = panel * PANEL + j * LANES
            transform_weights(w + ((first + k) * 9 + 8) * C + c, -C, C - c, planes + k * PANEL + j * LANES, plane)


ctypedef void (*weights_t)(const float *w, float *planes, int64_t plane, int64_t panel, int64_t first, int64_t count,
                           int64_t K, int64_t C) noexcept nogil


cdef inline void transform_kernels(weights_t transform, const float *w, float *transformed, int64_t depth, int64_t K,
                                   int64_t C, int64_t WEIGHTS, int64_t begin, int64_t end) noexcept nogil:
    """transformed[panel, plane, row, column] by one of the above; a task writes DEPTH of `depth` rows."""
    cdef int64_t task, panel, first, runs = (depth + DEPTH - 1) // DEPTH
    for task in range(begin, end):
        panel, first = task // runs, task % runs * DEPTH
        transform(w, transformed + panel * PLANES * WEIGHTS + first * PANEL, WEIGHTS, panel, first,
                  min(DEPTH, depth - first), K, C)


# ---------------------------------------------------------------- convolution


cdef struct Blocks:
    image_t image  # that is read
    result_t result  # that is written
    const float *transformed
    double *task_sums
    float *inputs
    float *products
    int64_t N, E, PANELS, WEIGHTS, INPUTS, GROUP, PRODUCTS, TH, TW, ROW, TILES, SPLIT


cdef inline image_t image_of(const float *x, int64_t high, int64_t wide, int64_t channels, int64_t top,
                             int64_t left) noexcept nogil:
    """An image whose pixels are read as they are."""
    cdef image_t image
    memset(&image, 0, sizeof(image))
    image.source.x, image.high, image.wide, image.channels, image.top, image.left = x, high, wide, channels, top, left
    return image


cdef inline image_t activated(image_t image, int64_t P, const float *scale, const float *shift,
                              int64_t activation) noexcept nogil:
    """The image as activation(x * scale + shift)."""
    image.source.activation = activation
    if P > 0:
        image.source.scale, image.source.shift = scale, shift
    return image


cdef inline image_t composed(image_t image, int64_t G, const float *z, const float *slope, const float *factor,
                             const float *offset) noexcept nogil:
    """The image as slope * x + factor * z + offset."""
    if G > 0:
        image.source.z, image.source.slope, image.source.factor, image.source.offset = z, slope, factor, offset
    return image


cdef inline result_t result_of(float *y, int64_t high, int64_t wide, int64_t channels, int64_t B,
                               const float *bias) noexcept nogil:
    """An image whose pixels are written as they are."""
    cdef result_t result
    memset(&result, 0, sizeof(result))
    result.y, result.high, result.wide, result.channels = y, high, wide, channels
    result.bias = bias if B > 0 else NULL
    return result


cdef inline result_t masked(result_t result, const float *x, int64_t P, const float *scale, const float *shift,
                            int64_t activation, const float *centre) noexcept nogil:
    """The image masked by the activation's derivative at x * scale + shift."""
    result.finish.x, result.finish.activation, result.finish.centre = x, activation, centre
    if P > 0:
        result.finish.scale, result.finish.shift = scale, shift
    return result


cdef inline void convolve_tiles(const Blocks *a, int64_t begin, int64_t end) noexcept nogil:
    """A task computes a block of tiles for one of SPLIT runs of groups of panels."""
    cdef int64_t task, block, run, first, tiles, rows, group, start, stop, plane, panel
    cdef int64_t groups = (a.PANELS + a.GROUP - 1) // a.GROUP, depth = a.image.channels
    for task in range(begin, end):
        block, run = task // a.SPLIT, task % a.SPLIT
        first = block * a.TILES
        tiles = min(a.TILES, a.N * a.TH * a.TW - first)
        load_tiles(transform_inputs, &a.image, 0, depth, first, tiles, a.TH, a.TW, a.inputs, a.ROW, a.INPUTS)
        rows = fill_rows(tiles, a.inputs, a.ROW, a.INPUTS)
        for group in range(run * groups // a.SPLIT, (run + 1) * groups // a.SPLIT):
            start, stop = group * a.GROUP, min((group + 1) * a.GROUP, a.PANELS)
            for plane in range(PLANES):
                for panel in range(start, stop):
                    multiply_tiles(rows, min(PANEL, a.result.channels - panel * PANEL), depth,
                                   a.inputs + plane * a.INPUTS, a.ROW,
                                   a.transformed + (panel * PLANES + plane) * a.WEIGHTS,
                                   a.products + ((panel - start) * PLANES + plane) * a.PRODUCTS)
            for panel in range(start, stop):
                store_panel(&a.result, a.E, a.task_sums + block * 2 * a.E,
                            a.products + (panel - start) * PLANES * a.PRODUCTS, a.PRODUCTS, panel, first, tiles, a.TH,
                            a.TW)


cdef struct Wide:
    result_t result
    const float *w
    const float *transformed
    double *task_sums
    float *weights
    float *products
    int64_t N, C, K, E, depth, PANELS, RUNS, INPUTS, PRODUCTS, TH, TW, TILES


cdef inline void transform_blocks(const image_t *image, float *transformed, int64_t N, int64_t TH, int64_t TW,
                                  int64_t TILES, int64_t INPUTS, int64_t RUNS, int64_t begin,
                                  int64_t end) noexcept nogil:
    """transformed[block, run, plane, tile, c] = B^T d B; a task transforms DEPTH channels of a block of tiles."""
    cdef int64_t task, first, c, tiles
    cdef float *planes
    for task in range(begin, end):
        first, c = task // RUNS * TILES, task % RUNS * DEPTH
        tiles = min(TILES, N * TH * TW - first)
        planes = transformed + task * PLANES * INPUTS
        load_tiles(transform_inputs, image, c, min(DEPTH, image.channels - c), first, tiles, TH, TW, planes, DEPTH,
                   INPUTS)
        fill_rows(tiles, planes, DEPTH, INPUTS)


cdef inline void convolve_wide(weights_t transform, const Wide *a, int64_t begin, int64_t end) noexcept nogil:
    """A task computes a panel of channels of a block of tiles, a run of channels of the image after the other."""
    cdef int64_t task, block, panel, first, tiles, rows, columns, run, count, plane
    cdef const float *inputs
    for task in range(begin, end):
        block, panel = task // a.PANELS, task % a.PANELS
        first = block * a.TILES
        tiles = min(a.TILES, a.N * a.TH * a.TW - first)
        rows = (tiles + SHORT - 1) // SHORT * SHORT
        columns = min(PANEL, a.result.channels - panel * PANEL)
        for run in range(a.RUNS):
            count = min(DEPTH, a.depth - run * DEPTH)
            transform(a.w, a.weights, WIDE_WEIGHTS, panel, run * DEPTH, count, a.K, a.C)
            inputs = a.transformed + (block * a.RUNS + run) * PLANES * a.INPUTS
            for plane in range(PLANES):
                multiply_run(rows, columns, count, inputs + plane * a.INPUTS, DEPTH,
                             a.weights + plane * WIDE_WEIGHTS, a.products + plane * a.PRODUCTS, run > 0)
        store_panel(&a.result, a.E, a.task_sums + block * 2 * a.E, a.products, a.PRODUCTS, panel, first, tiles, a.TH,
                    a.TW)


# ---------------------------------------------------------------- forward


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
    b.image = image_of(a.x, a.H, a.W, a.C, a.padding[0], a.padding[1])
    b.result = result_of(a.y, a.OH, a.OW, a.K, a.B, a.b)
    b.N, b.PANELS, b.WEIGHTS, b.INPUTS, b.GROUP = a.N, a.PANELS, a.WEIGHTS, a.INPUTS, a.GROUP
    b.PRODUCTS, b.TH, b.TW, b.ROW, b.TILES, b.SPLIT = a.PRODUCTS, a.TH, a.TW, a.ROW, a.TILES, a.SPLIT
    b.transformed, b.inputs, b.products = a.transformed, a.inputs, a.products
    b.task_sums, b.E = NULL, 0
    convolve_tiles(&b, begin, end)



cdef void wide_winograd_conv2d_forward_inputs(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """See `transform_blocks`."""
    cdef const Conv2dForwardWide *a = <const Conv2dForwardWide *> args
    cdef image_t image = image_of(a.x, a.H, a.W, a.C, a.padding[0], a.padding[1])
    transform_blocks(&image, a.transformed, a.N, a.TH, a.TW, a.TILES, a.INPUTS, a.RUNS, begin, end)



cdef void wide_winograd_conv2d_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """See `convolve_wide`."""
    cdef const Conv2dForwardWide *a = <const Conv2dForwardWide *> args
    cdef Wide b
    b.result = result_of(a.y, a.OH, a.OW, a.K, a.B, a.b)
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
    b.image = activated(image_of(a.x, a.H, a.W, a.C, a.padding[0], a.padding[1]), a.P, a.scale, a.shift,
                        a.activation)
    b.result = result_of(a.y, a.OH, a.OW, a.K, a.B, a.b)
    b.N, b.PANELS, b.WEIGHTS, b.INPUTS, b.GROUP = a.N, a.PANELS, a.WEIGHTS, a.INPUTS, a.GROUP
    b.PRODUCTS, b.TH, b.TW, b.ROW, b.TILES, b.SPLIT = a.PRODUCTS, a.TH, a.TW, a.ROW, a.TILES, a.SPLIT
    b.transformed, b.inputs, b.products = a.transformed, a.inputs, a.products
    b.result.finish.centre, b.task_sums, b.E = a.centre, a.task_sums, a.E
    convolve_tiles(&b, begin, end)



cdef void fused_wide_winograd_conv2d_forward_inputs(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """See `transform_blocks`."""
    cdef const FusedConv2dForwardWide *a = <const FusedConv2dForwardWide *> args
    cdef image_t image = activated(image_of(a.x, a.H, a.W, a.C, a.padding[0], a.padding[1]), a.P, a.scale, a.shift,
                                  a.activation)
    transform_blocks(&image, a.transformed, a.N, a.TH, a.TW, a.TILES, a.INPUTS, a.RUNS, begin, end)



cdef void fused_wide_winograd_conv2d_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """See `convolve_wide`."""
    cdef const FusedConv2dForwardWide *a = <const FusedConv2dForwardWide *> args
    cdef Wide b
    b.result = result_of(a.y, a.OH, a.OW, a.K, a.B, a.b)
    b.N, b.C, b.K, b.PANELS, b.RUNS, b.INPUTS = a.N, a.C, a.K, a.PANELS, a.RUNS, a.INPUTS
    b.PRODUCTS, b.TH, b.TW, b.TILES = a.PRODUCTS, a.TH, a.TW, a.TILES
    b.w, b.transformed, b.weights, b.products = a.w, a.transformed, a.weights, a.products
    b.depth = a.C
    b.result.finish.centre, b.task_sums, b.E = a.centre, a.task_sums, a.E
    convolve_wide(transform_panel, &b, begin, end)



cdef void fused_winograd_conv2d_forward_sums(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """sums = those of all blocks, added in order, in one task."""
    cdef const FusedConv2dForwardWinograd *a = <const FusedConv2dForwardWinograd *> args
    add_tasks(a.task_sums, a.sums, a.BLOCKS, 2 * a.E)



cdef void fused_wide_winograd_conv2d_forward_sums(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """sums = those of all blocks, added in order, in one task."""
    cdef const FusedConv2dForwardWide *a = <const FusedConv2dForwardWide *> args
    add_tasks(a.task_sums, a.sums, a.BLOCKS, 2 * a.E)



# ---------------------------------------------------------------- data gradient


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
    b.image = image_of(a.dy, a.OH, a.OW, a.K, 2 - a.padding[0], 2 - a.padding[1])
    b.result = result_of(a.dx, a.H, a.W, a.C, 0, NULL)
    b.N, b.PANELS, b.WEIGHTS, b.INPUTS, b.GROUP = a.N, a.PANELS, a.WEIGHTS, a.INPUTS, a.GROUP
    b.PRODUCTS, b.TH, b.TW, b.ROW, b.TILES, b.SPLIT = a.PRODUCTS, a.TH, a.TW, a.ROW, a.TILES, a.SPLIT
    b.transformed, b.inputs, b.products = a.transformed, a.inputs, a.products
    b.task_sums, b.E = NULL, 0
    convolve_tiles(&b, begin, end)



cdef void wide_winograd_conv2d_backward_data_inputs(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """See `transform_blocks`."""
    cdef const Conv2dBackwardDataWide *a = <const Conv2dBackwardDataWide *> args
    cdef image_t image = image_of(a.dy, a.OH, a.OW, a.K, 2 - a.padding[0], 2 - a.padding[1])
    transform_blocks(&image, a.transformed, a.N, a.TH, a.TW, a.TILES, a.INPUTS, a.RUNS, begin, end)



cdef void wide_winograd_conv2d_backward_data(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """See `convolve_wide`."""
    cdef const Conv2dBackwardDataWide *a = <const Conv2dBackwardDataWide *> args
    cdef Wide b
    b.result = result_of(a.dx, a.H, a.W, a.C, 0, NULL)
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
    b.image = composed(image_of(a.dy, a.OH, a.OW, a.K, 2 - a.padding[0], 2 - a.padding[1]), a.G, a.z,
                       a.slope, a.factor, a.offset)
    b.result = masked(result_of(a.dx, a.H, a.W, a.C, 0, NULL), a.x, a.P, a.scale, a.shift, a.activation, a.centre)
    b.N, b.PANELS, b.WEIGHTS, b.INPUTS, b.GROUP = a.N, a.PANELS, a.WEIGHTS, a.INPUTS, a.GROUP
    b.PRODUCTS, b.TH, b.TW, b.ROW, b.TILES, b.SPLIT = a.PRODUCTS, a.TH, a.TW, a.ROW, a.TILES, a.SPLIT
    b.transformed, b.inputs, b.products = a.transformed, a.inputs, a.products
    b.task_sums, b.E = a.task_sums, a.E
    convolve_tiles(&b, begin, end)



cdef void fused_wide_winograd_conv2d_backward_data_inputs(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """See `transform_blocks`."""
    cdef const FusedConv2dBackwardDataWide *a = <const FusedConv2dBackwardDataWide *> args
    cdef image_t image = composed(image_of(a.dy, a.OH, a.OW, a.K, 2 - a.padding[0], 2 - a.padding[1]), a.G, a.z,
                                 a.slope, a.factor, a.offset)
    transform_blocks(&image, a.transformed, a.N, a.TH, a.TW, a.TILES, a.INPUTS, a.RUNS, begin, end)



cdef void fused_wide_winograd_conv2d_backward_data(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """See `convolve_wide`."""
    cdef const FusedConv2dBackwardDataWide *a = <const FusedConv2dBackwardDataWide *> args
    cdef Wide b
    b.result = masked(result_of(a.dx, a.H, a.W, a.C, 0, NULL), a.x, a.P, a.scale, a.shift, a.activation, a.centre)
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



# ---------------------------------------------------------------- weight gradient


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
    cdef int64_t task, part, run, pair, k, panels, rows, whole, start, stop, block, first, tiles, panel, c, columns, plane
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


cdef inline void add_parts(const float *partial, float *dw, int64_t size, int64_t PARTS, int64_t begin,
                           int64_t end) noexcept nogil:
    """dw = the partial sums added in order; a task adds BLOCK elements."""
    cdef int64_t first = begin * BLOCK, last = min(end * BLOCK, size), part, i
    for i in range(first, last):
        dw[i] = partial[i]
    for part in range(1, PARTS):
        for i in range(first, last):
            dw[i] += partial[part * size + i]


cdef void winograd_conv2d_backward_weight(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """See `sum_tiles`."""
    cdef const Conv2dBackwardWeightWinograd *a = <const Conv2dBackwardWeightWinograd *> args
    cdef Correlation b
    b.image = image_of(a.x, a.H, a.W, a.C, a.padding[0], a.padding[1])
    b.gradient = image_of(a.dy, a.OH, a.OW, a.K, 0, 0)
    b.N, b.PARTS, b.INPUTS, b.GRADIENTS, b.PRODUCTS = a.N, a.PARTS, a.INPUTS, a.GRADIENTS, a.PRODUCTS
    b.TH, b.TW, b.TILES, b.BLOCKS, b.PANELS, b.PAIRS, b.RUNS = a.TH, a.TW, a.TILES, a.BLOCKS, a.PANELS, a.PAIRS, a.RUNS
    b.partial, b.inputs, b.gradients, b.products = a.partial, a.inputs, a.gradients, a.products
    sum_tiles(&b, begin, end)



cdef void winograd_conv2d_backward_weight_reduce(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """See `add_parts`."""
    cdef const Conv2dBackwardWeightWinograd *a = <const Conv2dBackwardWeightWinograd *> args
    add_parts(a.partial, a.dw, a.K * 9 * a.C, a.PARTS, begin, end)



cdef void fused_winograd_conv2d_backward_weight(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """See `sum_tiles`."""
    cdef const FusedConv2dBackwardWeightWinograd *a = <const FusedConv2dBackwardWeightWinograd *> args
    cdef Correlation b
    b.image = activated(image_of(a.x, a.H, a.W, a.C, a.padding[0], a.padding[1]), a.P, a.scale, a.shift,
                        a.activation)
    b.gradient = composed(image_of(a.dy, a.OH, a.OW, a.K, 0, 0), a.G, a.z, a.slope, a.factor, a.offset)
    b.N, b.PARTS, b.INPUTS, b.GRADIENTS, b.PRODUCTS = a.N, a.PARTS, a.INPUTS, a.GRADIENTS, a.PRODUCTS
    b.TH, b.TW, b.TILES, b.BLOCKS, b.PANELS, b.PAIRS, b.RUNS = a.TH, a.TW, a.TILES, a.BLOCKS, a.PANELS, a.PAIRS, a.RUNS
    b.partial, b.inputs, b.gradients, b.products = a.partial, a.inputs, a.gradients, a.products
    sum_tiles(&b, begin, end)



cdef void fused_winograd_conv2d_backward_weight_reduce(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """See `add_parts`."""
    cdef const FusedConv2dBackwardWeightWinograd *a = <const FusedConv2dBackwardWeightWinograd *> args
    add_parts(a.partial, a.dw, a.K * 9 * a.C, a.PARTS, begin, end)



ADDRESSES = {
    "winograd_conv2d_forward_weights": <size_t> <void *> &winograd_conv2d_forward_weights,
    "winograd_conv2d_forward": <size_t> <void *> &winograd_conv2d_forward,
    "wide_winograd_conv2d_forward_inputs": <size_t> <void *> &wide_winograd_conv2d_forward_inputs,
    "wide_winograd_conv2d_forward": <size_t> <void *> &wide_winograd_conv2d_forward,
    "winograd_conv2d_backward_data_weights": <size_t> <void *> &winograd_conv2d_backward_data_weights,
    "winograd_conv2d_backward_data": <size_t> <void *> &winograd_conv2d_backward_data,
    "wide_winograd_conv2d_backward_data_inputs": <size_t> <void *> &wide_winograd_conv2d_backward_data_inputs,
    "wide_winograd_conv2d_backward_data": <size_t> <void *> &wide_winograd_conv2d_backward_data,
    "winograd_conv2d_backward_weight": <size_t> <void *> &winograd_conv2d_backward_weight,
    "winograd_conv2d_backward_weight_reduce": <size_t> <void *> &winograd_conv2d_backward_weight_reduce,
}
FUSED = {
    "fused_winograd_conv2d_forward_weights": <size_t> <void *> &fused_winograd_conv2d_forward_weights,
    "fused_winograd_conv2d_forward": <size_t> <void *> &fused_winograd_conv2d_forward,
    "fused_wide_winograd_conv2d_forward_inputs": <size_t> <void *> &fused_wide_winograd_conv2d_forward_inputs,
    "fused_wide_winograd_conv2d_forward": <size_t> <void *> &fused_wide_winograd_conv2d_forward,
    "fused_winograd_conv2d_forward_sums": <size_t> <void *> &fused_winograd_conv2d_forward_sums,
    "fused_wide_winograd_conv2d_forward_sums": <size_t> <void *> &fused_wide_winograd_conv2d_forward_sums,
    "fused_winograd_conv2d_backward_data_weights": <size_t> <void *> &fused_winograd_conv2d_backward_data_weights,
    "fused_winograd_conv2d_backward_data": <size_t> <void *> &fused_winograd_conv2d_backward_data,
    "fused_wide_winograd_conv2d_backward_data_inputs": <size_t> <void *> &fused_wide_winograd_conv2d_backward_data_inputs,
    "fused_wide_winograd_conv2d_backward_data": <size_t> <void *> &fused_wide_winograd_conv2d_backward_data,
    "fused_winograd_conv2d_backward_data_sums": <size_t> <void *> &fused_winograd_conv2d_backward_data_sums,
    "fused_wide_winograd_conv2d_backward_data_sums": <size_t> <void *> &fused_wide_winograd_conv2d_backward_data_sums,
    "fused_winograd_conv2d_backward_weight": <size_t> <void *> &fused_winograd_conv2d_backward_weight,
    "fused_winograd_conv2d_backward_weight_reduce": <size_t> <void *> &fused_winograd_conv2d_backward_weight_reduce,
}
"""Stages of the operations of `fused.pyx`."""
