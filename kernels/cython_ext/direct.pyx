# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Direct convolution: windows, read where they stand, times panels of weights; the weight gradient is the same turned.

A task copies a block of images with their padding into scratch. There every window is the same pattern (`shifts`) from
a place of its own (`places`), which is what `window_gemm` multiplies. What needs no padding is read in place.

Each pass is written for the fused operation. The plain one is the same without what it changes on load and on store.
"""
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

cdef extern from "tiles.h" nogil:
    enum: PANEL, STORE, ACCUMULATE, ADD_BIAS
    ctypedef struct windows_t:
        const float *a
        const int64_t *places
        int64_t step, runs
        const int64_t *shifts
        int64_t length
    ctypedef struct rows_t:
        float *c
        const int64_t *places
        const float *bias
        int mode
    void window_gemm(int64_t m, int64_t n, windows_t windows, const float *b, int64_t panel, int64_t b_row,
                     rows_t out) noexcept

include "windows.pxi"


# ---------------------------------------------------------------- forward


cdef struct Conv2dForwardDirect:
    const float *x  # N H W C
    const float *w  # K R S CG
    const float *b  # B
    float *y  # N OH OW K
    float *packed  # GROUPS PANELS DEPTH PANEL
    float *staged  # IMAGES HP WP C
    int64_t *places  # 2 IMAGES BAND OW
    int64_t *shifts  # TAPS
    int64_t N, H, W, C, K, R, S, CG, B, OH, OW, GROUPS, PANELS, DEPTH, IMAGES, HP, WP, BAND, TAPS, KG, BANDS, BLOCKS
    int64_t TASKS
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]
    int64_t groups

cdef struct FusedConv2dForwardDirect:
    const float *x  # N H W C
    const float *w  # K R S CG
    const float *b  # B
    const float *scale  # P
    const float *shift  # P
    const float *centre  # E
    float *y  # N OH OW K
    double *sums  # 2 E
    float *packed  # GROUPS PANELS DEPTH PANEL
    double *task_sums  # TASKS 2 E
    float *staged  # IMAGES HP WP C
    int64_t *places  # 2 IMAGES BAND OW
    int64_t *shifts  # TAPS
    float *moments  # 2 E
    int64_t N, H, W, C, K, R, S, CG, B, P, E, OH, OW, GROUPS, PANELS, DEPTH, TASKS, IMAGES, HP, WP, BAND, TAPS, KG
    int64_t BANDS, BLOCKS
    int64_t activation
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]
    int64_t groups


cdef inline void pack_forward(const float *w, float *packed, int64_t K, int64_t KG, int64_t DEPTH, int64_t PANELS,
                              int64_t begin, int64_t end) noexcept nogil:
    """packed[g, panel, (r, s, c), j] = w[g * KG + panel * PANEL + j, r, s, c]; a task packs PACKED channels."""
    cdef int64_t k = begin * PACKED, last = min(end * PACKED, K), within, count
    while k < last:
        within = k % KG
        count = min(min(last - k, KG - within), PANEL - within % PANEL)
        transpose(w + k * DEPTH, DEPTH, packed + (k // KG * PANELS + within // PANEL) * DEPTH * PANEL + within % PANEL,
                  PANEL, count, DEPTH)
        k += count


cdef inline int64_t window_shifts(int64_t *shifts, const Window *w, int64_t CG, int64_t pitch,
                                  int64_t *length) noexcept nogil:
    """The runs of a window, given the elements of an image row; returns how many. Taps side by side are one run."""
    cdef int64_t r, s
    if CG == w.C and (w.dilation[1] == 1 or w.S == 1):
        length[0] = w.S * w.C
        for r in range(w.R):
            shifts[r] = r * w.dilation[0] * pitch
        return w.R
    length[0] = CG
    for r in range(w.R):
        for s in range(w.S):
            shifts[r * w.S + s] = r * w.dilation[0] * pitch + s * w.dilation[1] * w.C
    return w.R * w.S


cdef inline void convolve(const FusedConv2dForwardDirect *a, double *sums, int64_t begin, int64_t end) noexcept nogil:
    """Blocks `begin` to `end`; their sums are added to `sums`, if there are any."""
    cdef int64_t block, g, first, top, images, rows, pitch, image_step, pixels, image, row, column, start
    cdef int64_t down = a.stride[0], across = a.stride[1]
    cdef int64_t *a_places = a.places
    cdef int64_t *c_places = a.places + a.IMAGES * a.BAND * a.OW
    cdef Window w
    cdef source_t source
    cdef finish_t finish
    cdef windows_t windows
    cdef rows_t out
    memcpy(w.stride, a.stride, 6 * sizeof(int64_t))  # padding and dilation stand behind it
    w.R, w.S, w.H, w.W, w.C, w.HP, w.WP = a.R, a.S, a.H, a.W, a.C, a.HP, a.WP
    memset(&source, 0, sizeof(source))
    memset(&finish, 0, sizeof(finish))
    source.x, source.activation = a.x, a.activation
    if a.P > 0:
        source.scale, source.shift = a.scale, a.shift
    if a.E > 0:
        finish.centre, finish.sums = a.centre, sums
    out.mode, out.places = ADD_BIAS if a.B > 0 else STORE, c_places
    windows.step, windows.shifts, windows.places = 1, a.shifts, a_places
    for block in range(begin, end):
        first, top = block // a.BANDS * a.IMAGES, block % a.BANDS * a.BAND
        images, rows = min(a.IMAGES, a.N - first), min(a.BAND, a.OH - top)
        if a.padding[0] == 0 and a.padding[1] == 0 and not changes(&source):
            windows.a = a.x + (first * a.H + top * a.stride[0]) * a.W * a.C
            pitch, image_step = a.W * a.C, a.H * a.W * a.C
        else:
            stage_windows(&source, &w, a.staged, first, images, top, rows)
            windows.a = a.staged
            pitch, image_step = a.WP * a.C, a.HP * a.WP * a.C
            if sparse(&w):
                down = across = 1
        windows.runs = window_shifts(a.shifts, &w, a.CG, pitch, &windows.length)
        pixels = 0
        for image in range(images):
            for row in range(rows):
                for column in range(a.OW):
                    a_places[pixels] = image * image_step + row * down * pitch + column * across * a.C
                    c_places[pixels] = pixels * a.K
                    pixels += 1
        start = (first * a.OH + top) * a.OW * a.K
        for g in range(a.GROUPS):
            out.c, out.bias = a.y + start + g * a.KG, a.b + g * a.KG
            window_gemm(pixels, a.KG, windows, a.packed + g * a.PANELS * a.DEPTH * PANEL, a.DEPTH * PANEL, PANEL, out)
            windows.a += a.CG
        finish_pixels(&finish, a.y + start, start, pixels, a.K)


cdef void direct_conv2d_forward_pack(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Weights in panels of output channels."""
    cdef const Conv2dForwardDirect *a = <const Conv2dForwardDirect *> args
    pack_forward(a.w, a.packed, a.K, a.KG, a.DEPTH, a.PANELS, begin, end)


cdef void direct_conv2d_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """A task computes BAND output rows of IMAGES images."""
    cdef const Conv2dForwardDirect *a = <const Conv2dForwardDirect *> args
    cdef FusedConv2dForwardDirect f
    memset(&f, 0, sizeof(f))
    f.x, f.b, f.y, f.packed, f.staged, f.places, f.shifts = a.x, a.b, a.y, a.packed, a.staged, a.places, a.shifts
    f.N, f.H, f.W, f.C, f.K, f.R, f.S, f.CG, f.B = a.N, a.H, a.W, a.C, a.K, a.R, a.S, a.CG, a.B
    f.OH, f.OW, f.GROUPS, f.PANELS, f.DEPTH, f.KG = a.OH, a.OW, a.GROUPS, a.PANELS, a.DEPTH, a.KG
    f.IMAGES, f.HP, f.WP, f.BAND, f.BANDS = a.IMAGES, a.HP, a.WP, a.BAND, a.BANDS
    memcpy(f.stride, a.stride, 6 * sizeof(int64_t))  # padding and dilation stand behind it
    convolve(&f, NULL, begin, end)


cdef void fused_direct_conv2d_forward_pack(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Weights in panels of output channels."""
    cdef const FusedConv2dForwardDirect *a = <const FusedConv2dForwardDirect *> args
    pack_forward(a.w, a.packed, a.K, a.KG, a.DEPTH, a.PANELS, begin, end)


cdef void fused_direct_conv2d_forward(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """A task has a run of blocks; pixels are changed while they are copied, and added up while a block is in cache."""
    cdef const FusedConv2dForwardDirect *a = <const FusedConv2dForwardDirect *> args
    cdef int64_t task
    cdef double *sums
    for task in range(begin, end):
        sums = a.task_sums + task * 2 * a.E
        memset(sums, 0, 2 * a.E * sizeof(double))
        convolve(a, sums, task * a.BLOCKS // a.TASKS, (task + 1) * a.BLOCKS // a.TASKS)


cdef void fused_direct_conv2d_forward_sums(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One task adds the sums of all tasks in order."""
    cdef const FusedConv2dForwardDirect *a = <const FusedConv2dForwardDirect *> args
    add_tasks(a.task_sums, a.sums, a.TASKS, 2 * a.E)


# ---------------------------------------------------------------- data gradient


cdef struct Conv2dBackwardDataDirect:
    const float *dy  # N OH OW K
    const float *w  # K R S CG
    float *dx  # N H W C
    float *packed  # GROUPS PANELS DEPTH PANEL
    float *staged  # IMAGES HP WP K
    int64_t *places  # 2 IMAGES BAND PW
    int64_t *shifts  # TAPS
    int64_t N, OH, OW, K, R, S, CG, H, W, C, GROUPS, PANELS, DEPTH, IMAGES, HP, WP, BAND, PW, TAPS, KG, PH, BANDS
    int64_t BLOCKS, TASKS
    int64_t size[2]
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]
    int64_t groups

cdef struct FusedConv2dBackwardDataDirect:
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
    float *packed  # GROUPS PANELS DEPTH PANEL
    double *task_sums  # TASKS 2 E
    float *staged  # IMAGES HP WP K
    int64_t *places  # 2 IMAGES BAND PW
    int64_t *shifts  # TAPS
    float *moments  # 2 E
    int64_t N, OH, OW, K, R, S, CG, NZ, G, NX, H, W, C, P, E, GROUPS, PANELS, DEPTH, TASKS, IMAGES, HP, WP, BAND, PW
    int64_t TAPS, KG, PH, BANDS, BLOCKS
    int64_t activation
    int64_t size[2]
    int64_t stride[2]
    int64_t padding[2]
    int64_t dilation[2]
    int64_t groups


cdef inline bint meets(int64_t position, int64_t tap, int64_t stride, int64_t dilation) noexcept nogil:
    """Whether a tap takes a pixel at the padded `position` of dx to a pixel of dy."""
    return (position - tap * dilation) % stride == 0


cdef inline int64_t lowest(int64_t padding, int64_t taps, int64_t stride, int64_t dilation) noexcept nogil:
    """The first row of dy, relative to its own number, that a row of a phase may meet: a division rounded up."""
    cdef int64_t reach = padding - dilation * (taps - 1)
    return -(-reach // stride) if reach < 0 else (reach + stride - 1) // stride


cdef inline void pack_phases(const FusedConv2dBackwardDataDirect *a, int64_t begin, int64_t end) noexcept nogil:
    """packed[g, panel, tap, k, j] = w[g * KG + k, r, s, panel * PANEL + j], the taps of each phase one after the other.

    Taps of a row go from right to left, so that they meet dy from left to right. A task packs PACKED channels.
    """
    cdef int64_t k, g, within, tap, phase, above, left, r, s, panel
    cdef const float *source
    for k in range(begin * PACKED, min(end * PACKED, a.K)):
        g, within, tap = k // a.KG, k % a.KG, 0
        for phase in range(a.stride[0] * a.stride[1]):
            above, left = phase // a.stride[1] + a.padding[0], phase % a.stride[1] + a.padding[1]
            for r in range(a.R):
                if not meets(above, r, a.stride[0], a.dilation[0]):
                    continue
                for s in range(a.S - 1, -1, -1):
                    if not meets(left, s, a.stride[1], a.dilation[1]):
                        continue
                    source = a.w + ((k * a.R + r) * a.S + s) * a.CG
                    for panel in range(a.PANELS):
                        memcpy(a.packed + (((g * a.PANELS + panel) * a.TAPS + tap) * a.KG + within) * PANEL,
                               source + panel * PANEL, min(a.CG - panel * PANEL, PANEL) * sizeof(float))
                    tap += 1


cdef inline int64_t phase_shifts(const FusedConv2dBackwardDataDirect *a, int64_t above, int64_t left, int64_t low_h,
                                 int64_t low_w, int64_t pitch, int64_t *taps) noexcept nogil:
    """The runs with which a phase of dx meets the staged dy, and how many `taps` a run has; returns how many runs."""
    cdef bint merged = a.GROUPS == 1 and a.dilation[1] == 1
    cdef int64_t runs = 0, r, s, down, found
    taps[0] = 1
    for r in range(a.R):
        if not meets(above, r, a.stride[0], a.dilation[0]):
            continue
        down = ((above - r * a.dilation[0]) // a.stride[0] - low_h) * pitch
        found = 0
        for s in range(a.S - 1, -1, -1):
            if meets(left, s, a.stride[1], a.dilation[1]):
                if found == 0 or not merged:
                    a.shifts[runs] = down + ((left - s * a.dilation[1]) // a.stride[1] - low_w) * a.K
                    runs += 1
                found += 1
        taps[0] = found if merged else 1
    return runs


cdef inline int64_t phase_places(const FusedConv2dBackwardDataDirect *a, int64_t images, int64_t rows, int64_t columns,
                                 int64_t image_step, int64_t pitch) noexcept nogil:
    """Places of a phase's pixels in the staged dy and in dx; returns how many."""
    cdef int64_t *a_places = a.places
    cdef int64_t *c_places = a.places + a.IMAGES * a.BAND * a.PW
    cdef int64_t pixels = 0, image, row, column
    for image in range(images):
        for row in range(rows):
            for column in range(columns):
                a_places[pixels] = image * image_step + row * pitch + column * a.K
                c_places[pixels] = ((image * a.H + row * a.stride[0]) * a.W + column * a.stride[1]) * a.C
                pixels += 1
    return pixels


cdef inline void convolve_phases(const FusedConv2dBackwardDataDirect *a, const windows_t *staged, int64_t start,
                                 int64_t images, int64_t top, int64_t rows, int64_t low_h, int64_t low_w,
                                 int64_t pitch, int64_t image_step) noexcept nogil:
    """All phases of `rows` rows of phases of some images; dx of the first pixel stands `start` elements in."""
    cdef int64_t phase, down, across, high, wide, taps, pixels, g, done = 0
    cdef windows_t windows = staged[0]
    cdef rows_t out
    out.mode, out.places, out.bias = STORE, a.places + a.IMAGES * a.BAND * a.PW, a.dy
    for phase in range(a.stride[0] * a.stride[1]):
        down, across = phase // a.stride[1], phase % a.stride[1]
        high = min(rows, (a.H - down + a.stride[0] - 1) // a.stride[0] - top)
        wide = (a.W - across + a.stride[1] - 1) // a.stride[1]
        windows.runs = phase_shifts(a, down + a.padding[0], across + a.padding[1], low_h, low_w, pitch, &taps)
        windows.length = taps * a.KG
        if high > 0 and wide > 0:
            pixels = phase_places(a, images, high, wide, image_step, pitch)
            for g in range(a.GROUPS):
                windows.a = staged.a + g * a.KG
                out.c = a.dx + start + (down * a.W + across) * a.C + g * a.CG
                window_gemm(pixels, a.CG, windows, a.packed + (g * a.PANELS * a.TAPS + done) * a.KG * PANEL,
                            a.TAPS * a.KG * PANEL, PANEL, out)
        done += windows.runs * taps


cdef inline void convolve_back(const FusedConv2dBackwardDataDirect *a, double *sums, int64_t begin,
                               int64_t end) noexcept nogil:
    """Blocks `begin` to `end`; their sums are added to `sums`, if there are any."""
    cdef int64_t low_h = lowest(a.padding[0], a.R, a.stride[0], a.dilation[0])
    cdef int64_t low_w = lowest(a.padding[1], a.S, a.stride[1], a.dilation[1])
    cdef bint in_place = (a.G == 0 and low_h == 0 and low_w == 0 and a.HP == a.BAND and a.WP == a.PW and a.PH <= a.OH
                          and a.PW <= a.OW)
    cdef int64_t block, first, top, images, rows, image, row, oh, pitch, image_step, start, above, height
    cdef source_t source
    cdef finish_t finish
    cdef windows_t windows
    memset(&source, 0, sizeof(source))
    memset(&finish, 0, sizeof(finish))
    source.x = a.dy
    if a.G > 0:
        source.z, source.slope, source.factor, source.offset = a.z, a.slope, a.factor, a.offset
    finish.x, finish.activation = a.x, a.activation
    if a.P > 0:
        finish.scale, finish.shift = a.scale, a.shift
    if a.E > 0:
        finish.centre, finish.sums = a.centre, sums
    windows.step, windows.shifts, windows.places = 1, a.shifts, a.places
    for block in range(begin, end):
        first, top = block // a.BANDS * a.IMAGES, block % a.BANDS * a.BAND
        images, rows = min(a.IMAGES, a.N - first), min(a.BAND, a.PH - top)
        windows.a, pitch, image_step = a.dy + (first * a.OH + top) * a.OW * a.K, a.OW * a.K, a.OH * a.OW * a.K
        if not in_place:
            windows.a, pitch, image_step = a.staged, a.WP * a.K, a.HP * a.WP * a.K
            for image in range(images):
                for row in range(rows + a.HP - a.BAND):
                    oh = top + low_h + row
                    stage_row(&source, ((first + image) * a.OH + oh) * a.OW * a.K, 0 <= oh < a.OH,
                              a.staged + (image * a.HP + row) * pitch, low_w, a.WP, a.OW, a.K)
        above = top * a.stride[0]
        start = (first * a.H + above) * a.W * a.C
        convolve_phases(a, &windows, start, images, top, rows, low_h, low_w, pitch, image_step)
        height = min(rows * a.stride[0], a.H - above)
        for image in range(images):
            start = ((first + image) * a.H + above) * a.W * a.C
            finish_pixels(&finish, a.dx + start, start, height * a.W, a.C)


cdef inline FusedConv2dBackwardDataDirect as_fused(const Conv2dBackwardDataDirect *a) noexcept nogil:
    """The argument block of the fused operation that changes nothing."""
    cdef FusedConv2dBackwardDataDirect f
    memset(&f, 0, sizeof(f))
    f.dy, f.w, f.dx, f.packed, f.staged, f.places, f.shifts = a.dy, a.w, a.dx, a.packed, a.staged, a.places, a.shifts
    f.N, f.OH, f.OW, f.K, f.R, f.S, f.CG, f.H, f.W, f.C = a.N, a.OH, a.OW, a.K, a.R, a.S, a.CG, a.H, a.W, a.C
    f.GROUPS, f.PANELS, f.DEPTH, f.TAPS, f.KG, f.PH, f.PW = a.GROUPS, a.PANELS, a.DEPTH, a.TAPS, a.KG, a.PH, a.PW
    f.IMAGES, f.HP, f.WP, f.BAND, f.BANDS = a.IMAGES, a.HP, a.WP, a.BAND, a.BANDS
    memcpy(f.stride, a.stride, 6 * sizeof(int64_t))  # padding and dilation stand behind it
    return f


cdef void direct_conv2d_backward_data_pack(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Weights in panels of input channels, phase by phase."""
    cdef FusedConv2dBackwardDataDirect f = as_fused(<const Conv2dBackwardDataDirect *> args)
    pack_phases(&f, begin, end)


cdef void direct_conv2d_backward_data(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """A task computes BAND rows of every phase of IMAGES images: pixels of dx that meet the same taps."""
    cdef FusedConv2dBackwardDataDirect f = as_fused(<const Conv2dBackwardDataDirect *> args)
    convolve_back(&f, NULL, begin, end)


cdef void fused_direct_conv2d_backward_data_pack(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """Weights in panels of input channels, phase by phase."""
    pack_phases(<const FusedConv2dBackwardDataDirect *> args, begin, end)


cdef void fused_direct_conv2d_backward_data(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """A task has a run of blocks; gradients are composed while they are copied, finished while a block is in cache."""
    cdef const FusedConv2dBackwardDataDirect *a = <const FusedConv2dBackwardDataDirect *> args
    cdef int64_t task
    cdef double *sums
    for task in range(begin, end):
        sums = a.task_sums + task * 2 * a.E
        memset(sums, 0, 2 * a.E * sizeof(double))
        convolve_back(a, sums, task * a.BLOCKS // a.TASKS, (task + 1) * a.BLOCKS // a.TASKS)


cdef void fused_direct_conv2d_backward_data_sums(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One task adds the sums of all tasks in order."""
    cdef const FusedConv2dBackwardDataDirect *a = <const FusedConv2dBackwardDataDirect *> args
    add_tasks(a.task_sums, a.sums, a.TASKS, 2 * a.E)


# ---------------------------------------------------------------- weight gradient


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
                                  rows_t out) noexcept nogil:
    """Panel by panel: those of the result stand apart, those of gradients side by side."""
    cdef int64_t panel
    for panel in range((columns + PANEL - 1) // PANEL):
        window_gemm(DEPTH, min(columns - panel * PANEL, PANEL), windows, dy + panel * PANEL, PANEL, K, out)
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
    out.places, out.bias, out.mode = a.places + a.DEPTH, a.x, mode
    for g in range(a.GROUPS):
        out.c = total + g * a.PANELS * a.DEPTH * PANEL
        correlate_panels(a.DEPTH, columns, windows, dy + g * a.KG + low * PANEL, a.K, out)
        windows.a += a.CG


cdef inline void correlate(const FusedConv2dBackwardWeightDirect *a, int64_t begin, int64_t end) noexcept nogil:
    """A task sums some panels of output channels over one run of blocks."""
    cdef int64_t task, part, low, high, start, stop, block, g, r, s, c, i = 0
    cdef float *total
    cdef Window w
    cdef source_t image, gradient
    memcpy(w.stride, a.stride, 6 * sizeof(int64_t))  # padding and dilation stand behind it
    w.R, w.S, w.H, w.W, w.C, w.HP, w.WP = a.R, a.S, a.H, a.W, a.C, a.HP, a.WP
    memset(&image, 0, sizeof(image))
    memset(&gradient, 0, sizeof(gradient))
    image.x, image.activation, gradient.x = a.x, a.activation, a.dy
    if a.P > 0:
        image.scale, image.shift = a.scale, a.shift
    if a.G > 0:
        gradient.z, gradient.slope, gradient.factor, gradient.offset = a.z, a.slope, a.factor, a.offset
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


ADDRESSES = {
    "direct_conv2d_forward_pack": <size_t> <void *> &direct_conv2d_forward_pack,
    "direct_conv2d_forward": <size_t> <void *> &direct_conv2d_forward,
    "direct_conv2d_backward_data_pack": <size_t> <void *> &direct_conv2d_backward_data_pack,
    "direct_conv2d_backward_data": <size_t> <void *> &direct_conv2d_backward_data,
    "direct_conv2d_backward_weight": <size_t> <void *> &direct_conv2d_backward_weight,
    "direct_conv2d_backward_weight_reduce": <size_t> <void *> &direct_conv2d_backward_weight_reduce,
}
FUSED = {
    "fused_direct_conv2d_forward_pack": <size_t> <void *> &fused_direct_conv2d_forward_pack,
    "fused_direct_conv2d_forward": <size_t> <void *> &fused_direct_conv2d_forward,
    "fused_direct_conv2d_forward_sums": <size_t> <void *> &fused_direct_conv2d_forward_sums,
    "fused_direct_conv2d_backward_data_pack": <size_t> <void *> &fused_direct_conv2d_backward_data_pack,
    "fused_direct_conv2d_backward_data": <size_t> <void *> &fused_direct_conv2d_backward_data,
    "fused_direct_conv2d_backward_data_sums": <size_t> <void *> &fused_direct_conv2d_backward_data_sums,
    "fused_direct_conv2d_backward_weight": <size_t> <void *> &fused_direct_conv2d_backward_weight,
    "fused_direct_conv2d_backward_weight_reduce": <size_t> <void *> &fused_direct_conv2d_backward_weight_reduce,
}
"""Stages of the operations of `fused.pyx`."""
