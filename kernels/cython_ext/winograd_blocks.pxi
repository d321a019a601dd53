"""Blocks of tiles of `winograd.pyx`, which the forward pass and the data gradient share."""


cdef struct Blocks:
    image_t image  # that is read
    result_t result  # that is written
    const float *transformed
    double *task_sums
    float *inputs
    float *products
    int64_t N, E, PANELS, WEIGHTS, INPUTS, GROUP, PRODUCTS, TH, TW, ROW, TILES, SPLIT


cdef inline image_t image_of(source_t source, int64_t high, int64_t wide, int64_t channels, int64_t top,
                             int64_t left) noexcept nogil:
    """Images that are read, of which `top` rows and `left` columns of padding are seen."""
    cdef image_t image
    image.source, image.high, image.wide, image.channels = source, high, wide, channels
    image.top, image.left = top, left
    return image


cdef inline result_t result_of(float *y, int64_t high, int64_t wide, int64_t channels, int64_t B, const float *bias,
                               finish_t finish) noexcept nogil:
    """Images that are written."""
    cdef result_t result
    result.y, result.high, result.wide, result.channels = y, high, wide, channels
    result.bias, result.finish, result.totals = bias if B > 0 else NULL, finish, NULL
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
