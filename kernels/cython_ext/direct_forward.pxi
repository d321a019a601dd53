"""The forward pass of `direct.pyx`."""


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
    """Blocks `begin` to `end`; their sums are added to `sums`, NULL without any."""
    cdef int64_t block, g, first, top, images, rows, pitch, image_step, pixels, image, row, column, start
    cdef int64_t down = a.stride[0], across = a.stride[1]
    cdef int64_t *a_places = a.places
    cdef int64_t *c_places = a.places + a.IMAGES * a.BAND * a.OW
    cdef Window w = window_of(a.stride, a.R, a.S, a.H, a.W, a.C, a.HP, a.WP)
    cdef source_t source = activated(a.x, a.scale, a.shift, a.P > 0, a.activation)
    cdef finish_t finish = summed(a.centre, sums)
    cdef windows_t windows
    cdef rows_t out
    cdef later_t later
    out.mode, out.places = ADD_BIAS if a.B > 0 else STORE, c_places
    out.streams = a.GROUPS == 1 and not finishes(&finish) and streams(a.y, a.N * a.OH * a.OW * a.K, a.K)
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
        row = (first + images) * a.H if top + rows == a.OH else first * a.H + (top + rows) * a.stride[0]
        later.from_, later.count = a.x + row * a.W * a.C, images * rows * a.stride[0] * a.W * a.C
        for g in range(a.GROUPS):
            out.c, out.bias = a.y + start + g * a.KG, a.b + g * a.KG
            window_gemm(pixels, a.KG, windows, a.packed + g * a.PANELS * a.DEPTH * PANEL, a.DEPTH * PANEL, PANEL, 0, out,
                        &later)
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
    for task in range(begin, end):
        convolve(a, own_sums(a.task_sums, task, a.E), task * a.BLOCKS // a.TASKS, (task + 1) * a.BLOCKS // a.TASKS)


cdef void fused_direct_conv2d_forward_sums(const int64_t *args, int64_t begin, int64_t end) noexcept nogil:
    """One task adds the sums of all tasks in order."""
    cdef const FusedConv2dForwardDirect *a = <const FusedConv2dForwardDirect *> args
    add_tasks(a.task_sums, a.sums, a.TASKS, 2 * a.E)
