"""The weight gradient of `direct.pyx`: products of transposed windows with gradients, summed over runs of blocks."""


cdef struct Conv2dBackwardWeightDirect:
    const float *x  # N H W C
    const float *dy  # N OH OW K
    float *dw  # K R S CG
    float *partial  # PARTS GROUPS PANELS DEPTH PANEL
    float *staged  # IMAGES HP WP C
    int64_t *places  # 2 DEPTH
    int64_t *shifts  # IMAGES BAND
    int64_t N, H, W, C, OH, OW, K, R, S, CG, PARTS, GROUPS, PANELS, DEPTH, IMAGES, HP, WP, BAND, KG, TAPS, BANDS
    int64_t BLOCKS, SPLIT
    int64_t kernel_size[2]
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]
    int64_t groups

cdef struct FusedConv2dBackwardWeightDirect:
    const float *x  # N H W C
    const float *dy  # N OH OW K
    const float *scale  # P
    const float *shift  # P
    const float *z  # NZ OH OW K
    const float *slope  # G
    const float *factor  # G
    const float *offset  # G
    float *dw  # K R S CG
    float *partial  # PARTS GROUPS PANELS DEPTH PANEL
    float *staged  # IMAGES HP WP C
    int64_t *places  # 2 DEPTH
    int64_t *shifts  # IMAGES BAND
    float *gradients  # IMAGES BAND OW K
    int64_t N, H, W, C, OH, OW, K, P, NZ, G, R, S, CG, PARTS, GROUPS, PANELS, DEPTH, IMAGES, HP, WP, BAND, KG, TAPS
    int64_t BANDS, BLOCKS, SPLIT
    int64_t activation
    int64_t kernel_size[2]
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]
    int64_t groups


cdef inline void correlate_panels(int64_t DEPTH, int64_t columns, windows_t windows, const float *dy, int64_t K,
                                  rows_t out, later_t *later) noexcept nogil:
    """Panel by panel: those of the result stand apart, those of gradients side by side."""
    cdef int64_t panel
    for panel in range((columns + PANEL - 1) // PANEL):
        window_gemm(DEPTH, min(columns - panel * PANEL, PANEL), windows, dy + panel * PANEL, PANEL, K,
                    AHEAD * K, out, later)
        out.c += DEPTH * PANEL


cdef inline void correlate_block(const FusedConv2dBackwardWeightDirect *a, const source_t *image,
                                 const source_t *gradient, const Window *w, bint in_place, int64_t block, int64_t low,
                                 int64_t columns, float *total, int mode) noexcept nogil:
    """Products of a block's windows with `columns` columns of its gradients, from panel `low` on, into `total`."""
    cdef int64_t first = block // a.BANDS * a.IMAGES, top = block % a.BANDS * a.BAND
    cdef int64_t images = min(a.IMAGES, a.N - first), rows = min(a.BAND, a.OH - top)
    cdef int64_t down = 1 if sparse(w) else a.stride[0], across = 1 if sparse(w) else a.stride[1]
    cdef int64_t pitch = a.W * a.C if in_place else a.WP * a.C
    cdef int64_t image_step = a.H * a.W * a.C if in_place else a.HP * a.WP * a.C
    cdef int64_t i, g, start = (first * a.OH + top) * a.OW * a.K
    cdef const float *dy = gradient.x + start
    cdef windows_t windows
    cdef rows_t out
    cdef later_t later
    windows.a = a.x + (first * a.H + top * a.stride[0]) * a.W * a.C
    if not in_place:
        stage_windows(image, w, a.staged, first, images, top, rows)
        windows.a = a.staged
    for i in range(images * rows):
        a.shifts[i] = i // rows * image_step + i % rows * down * pitch
    windows.step, windows.runs, windows.length = across * a.C, images * rows, a.OW
    windows.places, windows.shifts = a.places, a.shifts
    if down * pitch == a.OW * across * a.C and (images == 1 or image_step == a.OH * down * pitch):
        windows.runs, windows.length = 1, images * rows * a.OW  # rows follow each other as pixels do
    if changes(gradient):
        load_pixels(gradient, start, a.gradients, images * rows * a.OW, a.K)
        dy = a.gradients
    i = (first + images) * a.H if top + rows == a.OH else first * a.H + (top + rows) * a.stride[0]
    later.from_, later.count = a.x + i * a.W * a.C, images * rows * a.stride[0] * a.W * a.C
    out.places, out.bias, out.mode, out.streams = a.places + a.DEPTH, a.x, mode, False
    for g in range(a.GROUPS):
        out.c = total + g * a.PANELS * a.DEPTH * PANEL
        correlate_panels(a.DEPTH, columns, windows, dy + g * a.KG + low * PANEL, a.K, out, &later)
        windows.a += a.CG


cdef inline void correlate(const FusedConv2dBackwardWeightDirect *a, int64_t begin, int64_t end) noexcept nogil:
    """A task sums some panels of output channels over one run of blocks."""
    cdef int64_t task, part, low, high, start, stop, block, g, r, s, c, i = 0
    cdef float *total
    cdef Window w = window_of(a.stride, a.R, a.S, a.H, a.W, a.C, a.HP, a.WP)
    cdef source_t image = activated(a.x, a.scale, a.shift, a.P > 0, a.activation)
    cdef source_t gradient = composed(a.dy, a.z, a.slope, a.factor, a.offset, a.G > 0)
    cdef bint in_place = a.padding[0] == 0 and a.padding[1] == 0 and not changes(&image) and not sparse(&w)
    cdef int64_t pitch = a.W * a.C if in_place else a.WP * a.C
    for r in range(a.R):
        for s in range(a.S):
            for c in range(a.CG):
                a.places[i] = r * a.dilation[0] * pitch + s * a.dilation[1] * a.C + c
                a.places[a.DEPTH + i] = i * PANEL
                i += 1
    for task in range(begin, end):
        part = task // a.SPLIT
        low, high = task % a.SPLIT * a.PANELS // a.SPLIT, (task % a.SPLIT + 1) * a.PANELS // a.SPLIT
        start, stop = part * a.BLOCKS // a.PARTS, (part + 1) * a.BLOCKS // a.PARTS
        total = a.partial + (part * a.GROUPS * a.PANELS + low) * a.DEPTH * PANEL
        if start == stop:
            for g in range(a.GROUPS):
                memset(total + g * a.PANELS * a.DEPTH * PANEL, 0, (high - low) * a.DEPTH * PANEL * sizeof(float))
        for block in range(start, stop):
            correlate_block(a, &image, &gradient, &w, in_place, block, low, min(a.KG, high * PANEL) - low * PANEL,
                            total, ACCUMULATE if block > start else STORE)


cdef void direct_conv2d_backward_weight(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """See `correlate`."""
    cdef const Conv2dBackwardWeightDirect *a = <const Conv2dBackwardWeightDirect *> args
    cdef FusedConv2dBackwardWeightDirect f
    memset(&f, 0, sizeof(f))
    f.x, f.dy, f.partial, f.staged, f.places, f.shifts = a.x, a.dy, a.partial, a.staged, a.places, a.shifts
    f.N, f.H, f.W, f.C, f.OH, f.OW, f.K, f.R, f.S, f.CG = a.N, a.H, a.W, a.C, a.OH, a.OW, a.K, a.R, a.S, a.CG
    f.PARTS, f.GROUPS, f.PANELS, f.DEPTH, f.KG, f.TAPS = a.PARTS, a.GROUPS, a.PANELS, a.DEPTH, a.KG, a.TAPS
    f.IMAGES, f.HP, f.WP, f.BAND, f.BANDS, f.BLOCKS, f.SPLIT = a.IMAGES, a.HP, a.WP, a.BAND, a.BANDS, a.BLOCKS, a.SPLIT
    memcpy(f.stride, a.stride, 6 * sizeof(int64_t))  # padding and dilation stand behind it
    correlate(&f, begin, end)


cdef void direct_conv2d_backward_weight_reduce(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """The sum of the partial results, turned."""
    cdef const Conv2dBackwardWeightDirect *a = <const Conv2dBackwardWeightDirect *> args
    reduce_parts(a.partial, a.dw, a.K, a.KG, a.DEPTH, a.PANELS, a.GROUPS, a.PARTS, begin, end)


cdef void fused_direct_conv2d_backward_weight(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """As the plain kernel; images and gradients are changed while they are copied."""
    correlate(<const FusedConv2dBackwardWeightDirect *> args, begin, end)


cdef void fused_direct_conv2d_backward_weight_reduce(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """The sum of the partial results, turned."""
    cdef const FusedConv2dBackwardWeightDirect *a = <const FusedConv2dBackwardWeightDirect *> args
    reduce_parts(a.partial, a.dw, a.K, a.KG, a.DEPTH, a.PANELS, a.GROUPS, a.PARTS, begin, end)
