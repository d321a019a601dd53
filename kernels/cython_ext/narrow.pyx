# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Convolutions of stride 1 with few channels: tiles along a row of pixels, which share what they see.

The forward pass and the weight gradient take at most NARROW output channels, and copy the images that a task sees with
their padding. The data gradient takes few input channels: its vector are the taps and channels of a kernel row, which
stand side by side in dx too. Neighbouring pixels overlap there, so each adds to a row of its own; these are then added
up. Loops are those of the fused operations; plain ones change nothing on load and on store.
"""
include "windows.pxi"
include "vector.pxi"

cdef extern from "narrow.h" nogil:
    enum: NARROW, LANES, PLANES_OF_3, PLANES_OF_5
    ctypedef struct seen_t:
        const float *a
        int64_t pitch, R, C
        const float *w
    ctypedef struct pixels_t:
        float *y
        int64_t K, channels
        const float *bias
        bint streams
    ctypedef struct spread_t:
        const float *a
        int64_t above, R, K
        const float *packed
        int64_t width
        float *target
        int64_t turns, pitch, C
    ctypedef struct correlation_t:
        const float *a
        const int64_t *places
        int64_t C
        const int64_t *shifts
        const float *dy
        int64_t K, channels, rows, OW
        float *total
        const int64_t *to
        int64_t tap
        bint add
    void convolve_row_3(int64_t OW, seen_t seen, pixels_t out) noexcept
    void convolve_row_5(int64_t OW, seen_t seen, pixels_t out) noexcept
    void spread_row(int64_t OW, spread_t of) noexcept
    void gather_rows(int64_t rows, const float *source, int64_t pitch, float *target, int64_t count) noexcept
    void correlate_planes_3(int64_t m, const correlation_t *of) noexcept
    void correlate_planes_5(int64_t m, const correlation_t *of) noexcept


# ---------------------------------------------------------------- forward


cdef struct Conv2dForwardNarrow:
    const float *x  # N H W C
    const float *w  # K R S CG
    const float *b  # B
    float *y  # N OH OW K
    float *packed  # R C S 16
    float *staged  # STAGED
    int64_t N, H, W, C, K, R, S, CG, B, OH, OW, STAGED, KG, TAPS, GROUPS, IMAGES, BAND, BANDS, HP, WP, BLOCKS
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]
    int64_t groups

cdef struct FusedConv2dForwardNarrow:
    const float *x  # N H W C
    const float *w  # K R S CG
    const float *b  # B
    const float *scale  # P
    const float *shift  # P
    const float *centre  # E
    float *y  # N OH OW K
    double *sums  # 2 E
    float *packed  # R C S 16
    double *task_sums  # BLOCKS 2 E
    float *staged  # STAGED
    int64_t N, H, W, C, K, R, S, CG, B, P, E, OH, OW, BLOCKS, STAGED, KG, TAPS, GROUPS, IMAGES, BAND, BANDS, HP, WP
    int64_t activation
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]
    int64_t groups


cdef inline void pack_forward(const float *w, float *packed, int64_t C, int64_t K, int64_t R, int64_t S) noexcept nogil:
    """packed[r, c, s, k] = w[k, r, s, c]."""
    cdef int64_t r, s
    for r in range(R):
        for s in range(S):
            transpose(w + (r * S + s) * C, R * S * C, packed + (r * C * S + s) * NARROW, S * NARROW, K, C)


cdef inline void convolve(const FusedConv2dForwardNarrow *a, int64_t begin, int64_t end) noexcept nogil:
    """A task computes BAND output rows of IMAGES images."""
    cdef int64_t task, first, top, images, rows, image, row, j, start
    cdef Window w = window_of(a.stride, a.R, a.S, a.H, a.W, a.C, a.HP, a.WP)
    cdef source_t source = activated(a.x, a.scale, a.shift, a.P > 0, a.activation)
    cdef finish_t finish = summed(a.centre, NULL)
    cdef seen_t seen
    cdef pixels_t out
    seen.pitch, seen.R, seen.C, out.K = a.dilation[0] * a.WP * a.C, a.R, a.C, a.K
    out.streams = a.E == 0 and streams(a.y, a.N * a.OH * a.OW * a.K, a.K)
    for task in range(begin, end):
        first, top = task // a.BANDS * a.IMAGES, task % a.BANDS * a.BAND
        images, rows = min(a.IMAGES, a.N - first), min(a.BAND, a.OH - top)
        stage_windows(&source, &w, a.staged, first, images, top, rows)
        start = (first * a.OH + top) * a.OW * a.K
        for image in range(images):
            for row in range(rows):
                for j in range((a.K + LANES - 1) // LANES):
                    seen.a = a.staged + (image * a.HP + row * a.stride[0]) * a.WP * a.C
                    seen.w = a.packed + j * LANES
                    out.y = a.y + start + (image * a.OH + row) * a.OW * a.K + j * LANES
                    out.channels = a.K - j * LANES
                    out.bias = a.b + j * LANES if a.B > 0 else NULL
                    if a.S == 3:
                        convolve_row_3(a.OW, seen, out)
                    else:
                        convolve_row_5(a.OW, seen, out)
        finish.sums = own_sums(a.task_sums, task, a.E)
        finish_pixels(&finish, a.y + start, start, images * rows * a.OW, a.K)


cdef void narrow_conv2d_forward_pack(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One task turns the weights."""
    cdef const Conv2dForwardNarrow *a = <const Conv2dForwardNarrow *> args
    pack_forward(a.w, a.packed, a.C, a.K, a.R, a.S)


cdef void narrow_conv2d_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """See `convolve`."""
    cdef const Conv2dForwardNarrow *a = <const Conv2dForwardNarrow *> args
    cdef FusedConv2dForwardNarrow f
    memset(&f, 0, sizeof(f))
    f.x, f.b, f.y, f.packed, f.staged = a.x, a.b, a.y, a.packed, a.staged
    f.N, f.H, f.W, f.C, f.K, f.R, f.S, f.B, f.OH, f.OW = a.N, a.H, a.W, a.C, a.K, a.R, a.S, a.B, a.OH, a.OW
    f.IMAGES, f.BAND, f.BANDS, f.HP, f.WP = a.IMAGES, a.BAND, a.BANDS, a.HP, a.WP
    memcpy(f.stride, a.stride, 6 * sizeof(int64_t))
    convolve(&f, begin, end)


cdef void fused_narrow_conv2d_forward_pack(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One task turns the weights."""
    cdef const FusedConv2dForwardNarrow *a = <const FusedConv2dForwardNarrow *> args
    pack_forward(a.w, a.packed, a.C, a.K, a.R, a.S)


cdef void fused_narrow_conv2d_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Images are activated while they are copied, sums taken while the block is in cache."""
    convolve(<const FusedConv2dForwardNarrow *> args, begin, end)


cdef void fused_narrow_conv2d_forward_sums(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One task adds the sums of all blocks in order."""
    cdef const FusedConv2dForwardNarrow *a = <const FusedConv2dForwardNarrow *> args
    add_tasks(a.task_sums, a.sums, a.BLOCKS, 2 * a.E)


# ---------------------------------------------------------------- data gradient


cdef struct Conv2dBackwardDataNarrow:
    const float *dy  # N OH OW K
    const float *w  # K R S CG
    float *dx  # N H W C
    float *packed  # R K 32
    float *sums  # BAND S WIDTH
    int64_t N, OH, OW, K, R, S, CG, H, W, C, BAND, WIDTH, KG, TAPS, GROUPS, IMAGES, BANDS, BLOCKS
    int64_t size[2]
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]
    int64_t groups


cdef void narrow_conv2d_backward_data_pack(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """packed[r, k, (s, c)] = w[k, r, s, c] in rows of PANEL; one task."""
    cdef const Conv2dBackwardDataNarrow *a = <const Conv2dBackwardDataNarrow *> args
    cdef int64_t r, k
    memset(a.packed, 0, a.R * a.K * PANEL * sizeof(float))
    for r in range(a.R):
        for k in range(a.K):
            memcpy(a.packed + (r * a.K + k) * PANEL, a.w + (k * a.R + r) * a.S * a.C, a.S * a.C * sizeof(float))


cdef void narrow_conv2d_backward_data(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """A task computes BAND rows of IMAGES images."""
    cdef const Conv2dBackwardDataNarrow *a = <const Conv2dBackwardDataNarrow *> args
    cdef int64_t task, first, top, images, rows, image, row, low, skipped, apart = a.dilation[0]
    cdef spread_t of
    of.above, of.K, of.width = -apart * a.OW * a.K, a.K, a.S * a.C
    of.turns, of.pitch, of.C = a.S, a.WIDTH, a.C
    for task in range(begin, end):
        first, top = task // a.BANDS * a.IMAGES, task % a.BANDS * a.BAND
        images, rows = min(a.IMAGES, a.N - first), min(a.BAND, a.H - top)
        memset(a.sums, 0, rows * a.S * a.WIDTH * sizeof(float))  # what no pixel writes
        for image in range(first, first + images):
            for row in range(rows):
                low = top + row + a.padding[0]  # the row of dy that the first tap meets
                skipped = (low - a.OH + apart) // apart if low >= a.OH else 0
                of.R = min(a.R, low // apart + 1) - skipped
                of.a = a.dy + (image * a.OH + low - skipped * apart) * a.OW * a.K
                of.packed = a.packed + skipped * a.K * PANEL
                of.target = a.sums + row * a.S * a.WIDTH
                spread_row(a.OW, of)
            for row in range(rows):
                gather_rows(a.S, a.sums + row * a.S * a.WIDTH + a.padding[1] * a.C, a.WIDTH,
                            a.dx + (image * a.H + top + row) * a.W * a.C, a.W * a.C)


# ---------------------------------------------------------------- weight gradient


cdef struct Conv2dBackwardWeightNarrow:
    const float *x  # N H W C
    const float *dy  # N OH OW K
    float *dw  # K R S CG
    float *partial  # PARTS DEPTH 32
    float *staged  # IMAGES HP WP C
    int64_t *places  # 2 R C
    int64_t *shifts  # IMAGES BAND
    int64_t N, H, W, C, OH, OW, K, R, S, CG, PARTS, DEPTH, IMAGES, HP, WP, BAND, KG, TAPS, GROUPS, BANDS, BLOCKS
    int64_t kernel_size[2]
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]
    int64_t groups

cdef struct FusedConv2dBackwardWeightNarrow:
    const float *x  # N H W C
    const float *dy  # N OH OW K
    const float *scale  # P
    const float *shift  # P
    const float *z  # NZ OH OW K
    const float *slope  # G
    const float *factor  # G
    const float *offset  # G
    float *dw  # K R S CG
    float *partial  # PARTS DEPTH 32
    float *staged  # IMAGES HP WP C
    int64_t *places  # 2 R C
    int64_t *shifts  # IMAGES BAND
    float *gradients  # IMAGES BAND OW K
    int64_t N, H, W, C, OH, OW, K, P, NZ, G, R, S, CG, PARTS, DEPTH, IMAGES, HP, WP, BAND, KG, TAPS, GROUPS, BANDS
    int64_t BLOCKS
    int64_t activation
    int64_t kernel_size[2]
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]
    int64_t groups


cdef inline void correlate(const FusedConv2dBackwardWeightNarrow *a, int64_t begin, int64_t end) noexcept nogil:
    """A task sums over one run of blocks."""
    cdef int64_t task, block, start, stop, first, top, images, rows, i, j, planes, pixels, pitch = a.WP * a.C
    cdef int64_t count = a.R * a.C
    cdef float *total
    cdef const float *dy
    cdef Window w = window_of(a.stride, a.R, a.S, a.H, a.W, a.C, a.HP, a.WP)
    cdef source_t image = activated(a.x, a.scale, a.shift, a.P > 0, a.activation)
    cdef source_t gradient = composed(a.dy, a.z, a.slope, a.factor, a.offset, a.G > 0)
    cdef correlation_t of
    for i in range(count):
        a.places[i] = i // a.C * a.dilation[0] * pitch + i % a.C
        a.places[count + i] = (i // a.C * a.S * a.C + i % a.C) * PANEL
    planes = PLANES_OF_3 if a.S == 3 else PLANES_OF_5
    of.a, of.C, of.shifts, of.K, of.OW, of.tap = a.staged, a.C, a.shifts, a.K, a.OW, a.C * PANEL
    for task in range(begin, end):
        total = a.partial + task * a.DEPTH * PANEL
        start, stop = task * a.BLOCKS // a.PARTS, (task + 1) * a.BLOCKS // a.PARTS
        if start == stop:
            memset(total, 0, a.DEPTH * PANEL * sizeof(float))
        for block in range(start, stop):
            first, top = block // a.BANDS * a.IMAGES, block % a.BANDS * a.BAND
            images, rows = min(a.IMAGES, a.N - first), min(a.BAND, a.OH - top)
            stage_windows(&image, &w, a.staged, first, images, top, rows)
            for i in range(images * rows):
                a.shifts[i] = (i // rows * a.HP + i % rows * a.stride[0]) * pitch
            pixels = (first * a.OH + top) * a.OW
            dy = a.dy + pixels * a.K
            if a.G > 0:
                load_pixels(&gradient, pixels * a.K, a.gradients, images * rows * a.OW, a.K)
                dy = a.gradients
            of.rows, of.add = images * rows, block > start
            for j in range((a.K + LANES - 1) // LANES):
                of.dy, of.channels, of.total = dy + j * LANES, a.K - j * LANES, total + j * LANES
                i = 0
                while i < count:
                    of.places, of.to = a.places + i, a.places + count + i
                    if a.S == 3:
                        correlate_planes_3(count - i, &of)
                    else:
                        correlate_planes_5(count - i, &of)
                    i += planes


cdef void narrow_conv2d_backward_weight(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """See `correlate`."""
    cdef const Conv2dBackwardWeightNarrow *a = <const Conv2dBackwardWeightNarrow *> args
    cdef FusedConv2dBackwardWeightNarrow f
    memset(&f, 0, sizeof(f))
    f.x, f.dy, f.partial, f.staged, f.places, f.shifts = a.x, a.dy, a.partial, a.staged, a.places, a.shifts
    f.N, f.H, f.W, f.C, f.OH, f.OW, f.K, f.R, f.S = a.N, a.H, a.W, a.C, a.OH, a.OW, a.K, a.R, a.S
    f.PARTS, f.DEPTH, f.IMAGES, f.HP, f.WP, f.BAND = a.PARTS, a.DEPTH, a.IMAGES, a.HP, a.WP, a.BAND
    f.BANDS, f.BLOCKS = a.BANDS, a.BLOCKS
    memcpy(f.stride, a.stride, 6 * sizeof(int64_t))
    correlate(&f, begin, end)


cdef void narrow_conv2d_backward_weight_reduce(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """The sum of the partial results, turned."""
    cdef const Conv2dBackwardWeightNarrow *a = <const Conv2dBackwardWeightNarrow *> args
    reduce_parts(a.partial, a.dw, a.K, a.K, a.DEPTH, 1, 1, a.PARTS, begin, end)


cdef void fused_narrow_conv2d_backward_weight(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Images and gradients are changed while they are copied."""
    correlate(<const FusedConv2dBackwardWeightNarrow *> args, begin, end)


cdef void fused_narrow_conv2d_backward_weight_reduce(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """The sum of the partial results, turned."""
    cdef const FusedConv2dBackwardWeightNarrow *a = <const FusedConv2dBackwardWeightNarrow *> args
    reduce_parts(a.partial, a.dw, a.K, a.K, a.DEPTH, 1, 1, a.PARTS, begin, end)


ADDRESSES = {
    "narrow_conv2d_forward_pack": <size_t> <void *> &narrow_conv2d_forward_pack,
    "narrow_conv2d_forward": <size_t> <void *> &narrow_conv2d_forward,
    "narrow_conv2d_backward_data_pack": <size_t> <void *> &narrow_conv2d_backward_data_pack,
    "narrow_conv2d_backward_data": <size_t> <void *> &narrow_conv2d_backward_data,
    "narrow_conv2d_backward_weight": <size_t> <void *> &narrow_conv2d_backward_weight,
    "narrow_conv2d_backward_weight_reduce": <size_t> <void *> &narrow_conv2d_backward_weight_reduce,
}
FUSED = {
    "fused_narrow_conv2d_forward_pack": <size_t> <void *> &fused_narrow_conv2d_forward_pack,
    "fused_narrow_conv2d_forward": <size_t> <void *> &fused_narrow_conv2d_forward,
    "fused_narrow_conv2d_forward_sums": <size_t> <void *> &fused_narrow_conv2d_forward_sums,
    "fused_narrow_conv2d_backward_weight": <size_t> <void *> &fused_narrow_conv2d_backward_weight,
    "fused_narrow_conv2d_backward_weight_reduce": <size_t> <void *> &fused_narrow_conv2d_backward_weight_reduce,
}
"""Stages of the operations of `fused.pyx`."""
