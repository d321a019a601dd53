"""The data gradient of `direct.pyx`: the same with dy as the image, phase by phase of the stride."""


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
                                 int64_t pitch, int64_t image_step, later_t *later) noexcept nogil:
    """All phases of `rows` rows of phases of some images; dx of the first pixel stands `start` elements in."""
    cdef int64_t phase, down, across, high, wide, taps, pixels, g, done = 0
    cdef windows_t windows = staged[0]
    cdef rows_t out
    out.mode, out.places, out.bias = STORE, a.places + a.IMAGES * a.BAND * a.PW, a.dy
    out.streams = a.GROUPS == 1 and a.activation == 0 and a.E == 0 and streams(a.dx, a.N * a.H * a.W * a.C, a.C)
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
                            a.TAPS * a.KG * PANEL, PANEL, 0, out, later)
        done += windows.runs * taps


cdef inline void convolve_back(const FusedConv2dBackwardDataDirect *a, double *sums, int64_t begin,
                               int64_t end) noexcept nogil:
    """Blocks `begin` to `end`; their sums are added to `sums`, NULL without any."""
    cdef int64_t low_h = lowest(a.padding[0], a.R, a.stride[0], a.dilation[0])
    cdef int64_t low_w = lowest(a.padding[1], a.S, a.stride[1], a.dilation[1])
    cdef bint in_place = (a.G == 0 and low_h == 0 and low_w == 0 and a.HP == a.BAND and a.WP == a.PW and a.PH <= a.OH
                          and a.PW <= a.OW)
    cdef int64_t block, first, top, images, rows, image, row, oh, pitch, image_step, start, above, height
    cdef source_t source = composed(a.dy, a.z, a.slope, a.factor, a.offset, a.G > 0)
    cdef finish_t finish = finished(a.x, a.scale, a.shift, a.P > 0, a.activation, a.centre, sums)
    cdef windows_t windows
    cdef later_t later
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
        row = (first + images) * a.OH if top + rows == a.PH else first * a.OH + top + rows
        later.from_, later.count = a.dy + row * a.OW * a.K, images * rows * a.OW * a.K
        convolve_phases(a, &windows, start, images, top, rows, low_h, low_w, pitch, image_step, &later)
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
    for task in range(begin, end):
        convolve_back(a, own_sums(a.task_sums, task, a.E), task * a.BLOCKS // a.TASKS,
                      (task + 1) * a.BLOCKS // a.TASKS)


cdef void fused_direct_conv2d_backward_data_sums(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One task adds the sums of all tasks in order."""
    cdef const FusedConv2dBackwardDataDirect *a = <const FusedConv2dBackwardDataDirect *> args
    add_tasks(a.task_sums, a.sums, a.TASKS, 2 * a.E)
