"""Direct convolution, forward and data gradient: windows, read where they stand, times panels of weights.

A task copies a block of images with their padding into scratch. There every window is the same pattern (`shifts`) from
a place of its own (`places`), which is what `window_gemm` multiplies. What needs no padding is read in place.
"""

from __future__ import annotations

from ..blocking import PACKED, PANEL
from .compiler import inline, kernel
from .exponential import ZERO
from .finishing import add_block
from .fusion import load_gradients, load_pixels
from .memory import at, at_most, copy, doubles, fill, number, streams
from .simd import LINE
from .tiles import ACCUMULATE, ADD_BIAS, ASK_LATER, STORE
from .transpose import copy_rows, transpose
from .window_gemm import Later, Panels, Rows, Store, Windows, window_gemm

DEEP = 2048  # rows of a panel: 256 KB


@inline
def _extent(inside, start, count, size):  # type: ignore[no-untyped-def]
    """Of `count` pixels from coordinate `start` on: those before the row, those of the row skipped, those found."""
    before = at_most(-start, count) if start < 0 else 0
    skipped = start if start > 0 else 0
    found = at_most(size - skipped, count - before)
    if not inside or found < 0:
        before, found = count, 0
    return before, skipped, found


@inline
def stage_row(row, inside, target, start, count, size, channels, P, scale, shift, activation):  # type: ignore[no-untyped-def]
    """`count` pixels of an image row of `size` pixels from coordinate `start` on, activated; zeros outside."""
    before, skipped, found = _extent(inside, start, count, size)
    fill(target, ZERO, before * channels)
    if P > 0 or activation > 0:
        load_pixels(at(row, skipped * channels), at(target, before * channels), found, channels, P, scale, shift,
                    activation)  # fmt: skip
    else:
        copy(at(row, skipped * channels), at(target, before * channels), found * channels)
    fill(at(target, (before + found) * channels), ZERO, (count - before - found) * channels)


@inline
def stage_gradient_row(dy, z, inside, target, start, count, size, channels, G, slope, factor, offset):  # type: ignore[no-untyped-def]
    """The same of a gradient, composed on load where G is there."""
    if G == 0:
        stage_row(dy, inside, target, start, count, size, channels, 0, slope, offset, 0)
        return
    before, skipped, found = _extent(inside, start, count, size)
    fill(target, ZERO, before * channels)
    load_gradients(at(dy, skipped * channels), at(z, skipped * channels), at(target, before * channels), found,
                   channels, slope, factor, offset)  # fmt: skip
    fill(at(target, (before + found) * channels), ZERO, (count - before - found) * channels)


@inline
def multiply_windows(asks, m, n, windows, packed, depth, rows, store, bias, epilogue, later):  # type: ignore[no-untyped-def]
    """`window_gemm` over as many runs at a time as leave their part of a panel in the second cache."""
    several = DEEP // windows.length if 0 < windows.length < DEEP else 1
    first = 0
    while first == 0 or first < windows.runs:  # without runs C is set to 0
        runs = at_most(windows.runs - first, several)
        part = Windows(windows.a, windows.places, windows.step, runs, at(windows.shifts, first), windows.length)
        panels = Panels(at(packed, first * windows.length * PANEL), depth * PANEL, PANEL)
        part_store = Store(store.mode if first == 0 else ACCUMULATE, store.streams if runs == windows.runs else 0,
                           store.finishes if first + runs == windows.runs else 0)  # fmt: skip
        window_gemm(asks, m, n, part, panels, rows, part_store, bias, epilogue, later)
        first += several


# ---------------------------------------------------------------- forward


@inline
def pack_forward(w, packed, K, KG, DEPTH, PANELS, begin, end):  # type: ignore[no-untyped-def]
    """packed[g, panel, (r, s, c), j] = w[g * KG + panel * PANEL + j, r, s, c]; a task packs PACKED channels."""
    k, last = begin * PACKED, at_most(end * PACKED, K)
    while k < last:
        g, within = k // KG, k % KG
        count = at_most(at_most(last - k, KG - within), PANEL - within % PANEL)
        target = at(packed, (g * PANELS + within // PANEL) * DEPTH * PANEL + within % PANEL)
        transpose(at(w, k * DEPTH), DEPTH, target, PANEL, count, DEPTH)
        k += count


@inline
def window_shifts(shifts, R, S, C, CG, pitch, dilation):  # type: ignore[no-untyped-def]
    """The runs of a window, given the elements of an image row: (how many, their length); taps side by side are one."""
    if CG == C and (dilation[1] == 1 or S == 1):
        for r in range(R):
            shifts[r] = r * dilation[0] * pitch
        return R, S * C
    for r in range(R):
        for s in range(S):
            shifts[r * S + s] = r * dilation[0] * pitch + s * dilation[1] * C
    return R * S, CG


@inline
def sparse(R, S, stride):  # type: ignore[no-untyped-def]
    """Whether a kernel leaves out pixels between those that it sees."""
    return R * S == 1 and (stride[0] > 1 or stride[1] > 1)


@inline
def _stage_pixels(  # type: ignore[no-untyped-def]
    x, staged, first, images, top, rows, H, W, C, HP, WP, stride, padding, P, scale, shift, activation
):  # fmt: skip
    """Copy the pixels that a 1x1 kernel sees."""
    plain = P == 0 and activation == 0 and padding[0] == 0 and padding[1] == 0
    for image in range(images):
        for row in range(rows):
            h = (top + row) * stride[0] - padding[0]
            source, target = at(x, ((first + image) * H + h) * W * C), at(staged, (image * HP + row) * WP * C)
            if plain:
                copy_rows(source, stride[1] * C, target, C, WP, C)
            else:
                for ow in range(WP):
                    stage_row(source, 0 <= h < H, at(target, ow * C), ow * stride[1] - padding[1], 1, W, C, P, scale,
                              shift, activation)  # fmt: skip


@inline
def stage_windows(  # type: ignore[no-untyped-def]
    x, staged, first, images, top, rows, H, W, C, HP, WP, R, S, stride, padding, dilation, P, scale, shift, activation
):  # fmt: skip
    """Copy what `rows` output rows from `top` on of some images see: HP x WP pixels of each."""
    if sparse(R, S, stride):
        _stage_pixels(
            x, staged, first, images, top, rows, H, W, C, HP, WP, stride, padding, P, scale, shift, activation
        )
        return
    for image in range(images):
        for row in range((rows - 1) * stride[0] + (R - 1) * dilation[0] + 1):
            h = top * stride[0] - padding[0] + row
            stage_row(at(x, ((first + image) * H + h) * W * C), 0 <= h < H, at(staged, (image * HP + row) * WP * C),
                      -padding[1], WP, W, C, P, scale, shift, activation)  # fmt: skip


@inline
def convolve(  # type: ignore[no-untyped-def]
    asks, x, b, packed, staged, places, shifts, y, stride, padding, dilation, N, H, W, C, K, R, S, CG, KG, B, OH, OW,
    GROUPS, PANELS, DEPTH, IMAGES, BAND, BANDS, HP, WP, P, scale, shift, activation, epilogue, E, sums, total,
    begin, end,
):  # fmt: skip
    """Forward convolution of blocks `begin` to `end`, with what `fused.py` declares on load and store.

    Its sums over a block, there are 2 E of them, are added to `total`.
    """
    at_c, around = IMAGES * BAND * OW, streams(y, N * OH * OW * K, K) if GROUPS == 1 else 0
    store = Store(ADD_BIAS if B > 0 else STORE, around, E)
    for block in range(begin, end):
        first, top = block // BANDS * IMAGES, block % BANDS * BAND
        images, rows = at_most(IMAGES, N - first), at_most(BAND, OH - top)
        down, across = stride
        if padding[0] == 0 and padding[1] == 0 and P == 0 and activation == 0:
            a, pitch, image_step = at(x, (first * H + top * stride[0]) * W * C), W * C, H * W * C
        else:
            stage_windows(at(x, 0), staged, first, images, top, rows, H, W, C, HP, WP, R, S, stride, padding, dilation,
                          P, scale, shift, activation)  # fmt: skip
            a, pitch, image_step = at(staged, 0), WP * C, HP * WP * C
            if sparse(R, S, stride):
                down = across = 1
        runs, length = window_shifts(at(shifts, 0), R, S, C, CG, pitch, dilation)
        a_places, c_places = at(places, 0), at(places, at_c)
        pixels = number(0)
        for image in range(images):
            for row in range(rows):
                from_a = image * image_step + row * down * pitch
                for ow in range(OW):
                    a_places[pixels] = from_a + ow * across * C
                    c_places[pixels] = pixels * K
                    pixels += 1
        start = (first * OH + top) * OW * K
        result = at(y, start)
        following = (first + images) * H * W if top + rows == OH else (first * H + (top + rows) * stride[0]) * W
        later = Later(at(x, following * C), images * rows * stride[0] * W * C // LINE, a, 0, a, 0, 1)
        for g in range(GROUPS):
            multiply_windows(
                asks, pixels, KG, Windows(at(a, g * CG), a_places, 1, runs, at(shifts, 0), length),
                at(packed, g * PANELS * DEPTH * PANEL), DEPTH,
                Rows(at(result, g * KG), c_places, PANEL, start, g * KG), store, at(b, g * KG), epilogue,
                later)  # fmt: skip
        add_block(sums, total, E)


@kernel
def direct_conv2d_forward_pack(w, packed, K, KG, DEPTH, PANELS, begin, end):  # type: ignore[no-untyped-def]
    """Weights in panels of output channels."""
    pack_forward(w, packed, K, KG, DEPTH, PANELS, begin, end)


@kernel
def direct_conv2d_forward(  # type: ignore[no-untyped-def]
    x, b, packed, staged, places, shifts, y, stride, padding, dilation, N, H, W, C, K, R, S, CG, KG, B, OH, OW, GROUPS,
    PANELS, DEPTH, IMAGES, BAND, BANDS, HP, WP, begin, end,
):  # fmt: skip
    """A task computes BAND output rows of IMAGES images."""
    none = at(b, 0)
    convolve(ASK_LATER, x, b, packed, staged, places, shifts, y, stride, padding, dilation, N, H, W, C, K, R, S, CG, KG,
             B, OH, OW, GROUPS, PANELS, DEPTH, IMAGES, BAND, BANDS, HP, WP, 0, none, none, 0, (), 0,
             none, doubles(1), begin, end)  # fmt: skip


# ---------------------------------------------------------------- data gradient


@inline
def _meets(position, tap, stride, dilation):  # type: ignore[no-untyped-def]
    """Whether a tap takes a pixel at the padded `position` of dx to a pixel of dy."""
    return (position - tap * dilation) % stride == 0


@inline
def pack_backward_data(w, packed, K, R, S, CG, KG, TAPS, PANELS, stride, padding, dilation, begin, end):  # type: ignore[no-untyped-def]
    """packed[g, panel, tap, k, j] = w[g * KG + k, r, s, panel * PANEL + j], the taps of each phase one after the other.

    Taps of a row go from right to left, so that they meet dy from left to right. A task packs PACKED channels.
    """
    for k in range(begin * PACKED, at_most(end * PACKED, K)):
        g, within = k // KG, k % KG
        tap = 0
        for phase in range(stride[0] * stride[1]):
            above, left = phase // stride[1] + padding[0], phase % stride[1] + padding[1]
            for r in range(R):
                if _meets(above, r, stride[0], dilation[0]):
                    for mirrored in range(S):
                        s = S - 1 - mirrored
                        if _meets(left, s, stride[1], dilation[1]):
                            source = at(w, ((k * R + r) * S + s) * CG)
                            for panel in range(PANELS):
                                row = ((g * PANELS + panel) * TAPS + tap) * KG + within
                                copy(at(source, panel * PANEL), at(packed, row * PANEL),
                                     at_most(CG - panel * PANEL, PANEL))  # fmt: skip
                            tap += 1


@inline
def _phase_shifts(shifts, above, left, low_h, low_w, R, S, K, GROUPS, pitch, stride, dilation):  # type: ignore[no-untyped-def]
    """The runs with which a phase of dx meets the staged dy, and how many taps a run has: (runs, taps of a run)."""
    merged = GROUPS == 1 and dilation[1] == 1
    runs, taps = 0, 1
    for r in range(R):
        if _meets(above, r, stride[0], dilation[0]):
            down = ((above - r * dilation[0]) // stride[0] - low_h) * pitch
            found = 0
            for mirrored in range(S):
                s = S - 1 - mirrored
                if _meets(left, s, stride[1], dilation[1]):
                    if found == 0 or not merged:
                        shifts[runs] = down + ((left - s * dilation[1]) // stride[1] - low_w) * K
                        runs += 1
                    found += 1
            taps = found if merged else 1
    return runs, taps


@inline
def _lowest(padding, taps, stride, dilation):  # type: ignore[no-untyped-def]
    """The first row of dy, relative to its own number, that a row of a phase may meet: a division rounded up."""
    return -((dilation * (taps - 1) - padding) // stride)


@inline
def _phase_places(places, at_c, images, count, wide, a_image, a_row, K, c_image, c_row, c_step):  # type: ignore[no-untyped-def]
    """Places of a phase's pixels in the staged dy and in dx; returns how many."""
    a_places, c_places = at(places, 0), at(places, at_c)
    pixels = number(0)
    for image in range(images):
        for row in range(count):
            for column in range(wide):
                a_places[pixels] = image * a_image + row * a_row + column * K
                c_places[pixels] = image * c_image + row * c_row + column * c_step
                pixels += 1
    return pixels


@inline
def convolve_back(  # type: ignore[no-untyped-def]
    asks, dy, packed, staged, places, shifts, dx, stride, padding, dilation, N, H, W, C, OH, OW, K, R, S, CG, KG,
    GROUPS, TAPS, PANELS, PH, PW, IMAGES, BAND, BANDS, HP, WP, z, G, slope, factor, offset, x, finishes, epilogue, E,
    sums, total, begin, end,
):  # fmt: skip
    """Data gradient of blocks `begin` to `end`, with what `fused.py` declares on load and store; see `convolve`.

    If it `finishes`, the epilogue is applied, for which x is needed.
    """
    low_h, low_w = _lowest(padding[0], R, stride[0], dilation[0]), _lowest(padding[1], S, stride[1], dilation[1])
    in_place = G == 0 and low_h == 0 and low_w == 0 and HP == BAND and WP == PW and PH <= OH and PW <= OW
    store = Store(STORE, streams(dx, N * H * W * C, C) if GROUPS == 1 else 0, finishes)
    for block in range(begin, end):
        first, top = block // BANDS * IMAGES, block % BANDS * BAND
        images, rows = at_most(IMAGES, N - first), at_most(BAND, PH - top)
        a, pitch, image_step = at(dy, (first * OH + top) * OW * K), OW * K, OH * OW * K
        if not in_place:
            a, pitch, image_step = at(staged, 0), WP * K, HP * WP * K
            for image in range(images):
                for row in range(rows + HP - BAND):
                    oh = top + low_h + row
                    start = ((first + image) * OH + oh) * OW * K
                    target = at(staged, (image * HP + row) * pitch)
                    stage_gradient_row(at(dy, start), at(z, start), 0 <= oh < OH, target, low_w, WP, OW, K, G,
                                       slope, factor, offset)  # fmt: skip
        start = (first * H + top * stride[0]) * W * C
        pixels_of_x = ((images - 1) * H + at_most(rows * stride[0], H - top * stride[0])) * W
        if top + rows == PH:
            following, next_start = (first + images) * OH * OW, (first + images) * H * W * C
        else:
            following, next_start = (first * OH + top + rows) * OW, (first * H + (top + rows) * stride[0]) * W * C
        lines = images * rows * OW * K // LINE
        later = Later(at(x, next_start), pixels_of_x * C // LINE if finishes > 0 else 0, at(dy, following * K), lines,
                      at(z, following * K), lines if G > 0 else 0, 1)  # fmt: skip
        done = 0
        for phase in range(stride[0] * stride[1]):
            down, across = phase // stride[1], phase % stride[1]
            count = at_most(rows, (H - down + stride[0] - 1) // stride[0] - top)
            wide = (W - across + stride[1] - 1) // stride[1]
            runs, taps = _phase_shifts(at(shifts, 0), down + padding[0], across + padding[1], low_h, low_w, R, S, K,
                                       GROUPS, pitch, stride, dilation)  # fmt: skip
            if count > 0 and wide > 0:
                phase_start = start + (down * W + across) * C
                target = at(dx, phase_start)
                pixels = _phase_places(places, IMAGES * BAND * PW, images, count, wide, image_step, pitch, K, H * W * C,
                                       stride[0] * W * C, stride[1] * C)  # fmt: skip
                for g in range(GROUPS):
                    from_row = (g * PANELS * TAPS + done) * KG
                    multiply_windows(
                        asks, pixels, CG, Windows(at(a, g * KG), at(places, 0), 1, runs, at(shifts, 0), taps * KG),
                        at(packed, from_row * PANEL), TAPS * KG,
                        Rows(at(target, g * CG), at(places, IMAGES * BAND * PW), PANEL, phase_start, g * CG), store,
                        target, epilogue, later)  # fmt: skip
            done += runs * taps
        add_block(sums, total, E)


@kernel
def direct_conv2d_backward_data_pack(  # type: ignore[no-untyped-def]
    w, packed, K, R, S, CG, KG, TAPS, PANELS, stride, padding, dilation, begin, end
):  # fmt: skip
    """Weights in panels of input channels, phase by phase."""
    pack_backward_data(w, packed, K, R, S, CG, KG, TAPS, PANELS, stride, padding, dilation, begin, end)


@kernel
def direct_conv2d_backward_data(  # type: ignore[no-untyped-def]
    dy, packed, staged, places, shifts, dx, stride, padding, dilation, N, H, W, C, OH, OW, K, R, S, CG, KG, GROUPS,
    TAPS, PANELS, PH, PW, IMAGES, BAND, BANDS, HP, WP, begin, end,
):  # fmt: skip
    """A task computes BAND rows of every phase of IMAGES images: pixels of dx that meet the same taps."""
    none = at(dy, 0)
    convolve_back(ASK_LATER, dy, packed, staged, places, shifts, dx, stride, padding, dilation, N, H, W, C, OH, OW, K,
                  R, S, CG, KG, GROUPS, TAPS, PANELS, PH, PW, IMAGES, BAND, BANDS, HP, WP, none, 0, none, none, none,
                  none, 0, (), 0, none, doubles(1), begin, end)  # fmt: skip
