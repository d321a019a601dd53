"""Direct convolution, weight gradient: transposed windows times gradients.

The transposed gradient of the weights, (taps and input channels) x (output channels), is a product over pixels: its
rows are places in a block of padded images, one for each tap and channel, and its runs are rows of output pixels.
"""

from __future__ import annotations

from ..blocking import PACKED, PANEL
from .compiler import inline, kernel
from .direct import sparse, stage_windows
from .exponential import ZERO
from .fusion import load_gradients
from .memory import at, at_most, fill
from .simd import LINE
from .tiles import ACCUMULATE, ASK_ALL, STORE
from .transpose import add_rows, transpose
from .window_gemm import Later, Panels, Rows, Store, Windows, few_rows, few_rows_gemm, window_gemm


@inline
def correlate(  # type: ignore[no-untyped-def]
    asks, x, dy, staged, gradients, places, shifts, partial, stride, padding, dilation, N, H, W, C, OH, OW, K, R, S, CG,
    KG, GROUPS, PANELS, DEPTH, IMAGES, BAND, BANDS, BLOCKS, HP, WP, PARTS, SPLIT, P, scale, shift, activation, z, G,
    slope, factor, offset, begin, end,
):  # fmt: skip
    """Weight gradient of tasks `begin` to `end`, with what `fused.py` declares on load."""
    row_places, c_places, row_shifts = at(places, 0), at(places, DEPTH), at(shifts, 0)
    (down, across), few = stride, sparse(R, S, stride)
    in_place = padding[0] == 0 and padding[1] == 0 and P == 0 and activation == 0 and not few
    pitch, image_step = (W * C, H * W * C) if in_place else (WP * C, HP * WP * C)
    if few:
        down = across = 1
    i = 0
    for r in range(R):
        for s in range(S):
            for c in range(CG):
                row_places[i] = r * dilation[0] * pitch + s * dilation[1] * C + c
                c_places[i] = i * PANEL
                i += 1
    for task in range(begin, end):
        part, split = task // SPLIT, task % SPLIT
        low, high = split * PANELS // SPLIT, (split + 1) * PANELS // SPLIT
        columns = at_most(KG, high * PANEL) - low * PANEL
        start, stop = part * BLOCKS // PARTS, (part + 1) * BLOCKS // PARTS
        total = at(partial, (part * GROUPS * PANELS + low) * DEPTH * PANEL)
        if start == stop:
            for g in range(GROUPS):
                fill(at(total, g * PANELS * DEPTH * PANEL), ZERO, (high - low) * DEPTH * PANEL)
        for block in range(start, stop):
            first, top = block // BANDS * IMAGES, block % BANDS * BAND
            images, rows = at_most(IMAGES, N - first), at_most(BAND, OH - top)
            if in_place:
                a = at(x, (first * H + top * stride[0]) * W * C)
            else:
                stage_windows(at(x, 0), staged, first, images, top, rows, H, W, C, HP, WP, R, S, stride, padding,
                              dilation, P, scale, shift, activation)  # fmt: skip
                a = at(staged, 0)
            runs = 0
            for image in range(images):
                for row in range(rows):
                    row_shifts[runs] = image * image_step + row * down * pitch
                    runs += 1
            pixels = runs * OW
            length = OW
            if down * pitch == OW * across * C and (images == 1 or image_step == OH * down * pitch):
                runs, length = 1, pixels  # rows follow each other as pixels do
            start_pixel = (first * OH + top) * OW
            gradient = at(dy, start_pixel * K)
            if G > 0:
                load_gradients(gradient, at(z, start_pixel * K), gradients, pixels, K, slope, factor, offset)
                gradient = gradients
            next_image = (first + images) * H * W if top + rows == OH else (first * H + (top + rows) * stride[0]) * W
            next_pixel, lines = (start_pixel + pixels) * K, pixels * K // LINE
            later = Later(at(dy, next_pixel), lines, at(x, next_image * C), images * rows * stride[0] * W * C // LINE,
                          at(z, next_pixel), lines if G > 0 else 0, 1)  # fmt: skip
            for g in range(GROUPS):
                windows = Windows(at(a, g * CG), row_places, across * C, runs, row_shifts, length)
                panels = Panels(at(gradient, g * KG + low * PANEL), PANEL, K)
                result = Rows(at(total, g * PANELS * DEPTH * PANEL), c_places, DEPTH * PANEL, 0, 0)
                store = Store(ACCUMULATE if block > start else STORE, 0, 0)
                if few_rows(DEPTH, columns, windows):
                    few_rows_gemm(DEPTH, columns, windows, panels, result, store, a, later)
                else:
                    window_gemm(asks, DEPTH, columns, windows, panels, result, store, a, (), later)


@inline
def reduce_parts(partial, dw, K, KG, DEPTH, PANELS, GROUPS, PARTS, begin, end):  # type: ignore[no-untyped-def]
    """dw = the transposed parts, added in order in the place of the first; a task adds PACKED output channels."""
    k, last = begin * PACKED, at_most(end * PACKED, K)
    size = GROUPS * PANELS * DEPTH * PANEL
    while k < last:
        g, within = k // KG, k % KG
        count = at_most(at_most(last - k, KG - within), PANEL - within % PANEL)
        total = at(partial, (g * PANELS + within // PANEL) * DEPTH * PANEL + within % PANEL)
        for part in range(1, PARTS):
            add_rows(at(total, part * size), total, PANEL, DEPTH, count)
        transpose(total, PANEL, at(dw, k * DEPTH), DEPTH, DEPTH, count)
        k += count


@kernel
def direct_conv2d_backward_weight(  # type: ignore[no-untyped-def]
    x, dy, staged, places, shifts, partial, stride, padding, dilation, N, H, W, C, OH, OW, K, R, S, CG, KG, GROUPS,
    PANELS, DEPTH, IMAGES, BAND, BANDS, BLOCKS, HP, WP, PARTS, SPLIT, begin, end,
):  # fmt: skip
    """A task sums some panels of output channels over one run of blocks."""
    none = at(x, 0)
    correlate(ASK_ALL, x, dy, staged, none, places, shifts, partial, stride, padding, dilation, N, H, W, C, OH, OW, K,
              R, S, CG, KG, GROUPS, PANELS, DEPTH, IMAGES, BAND, BANDS, BLOCKS, HP, WP, PARTS, SPLIT, 0, none, none, 0,
              none, 0, none, none, none, begin, end)  # fmt: skip


@kernel
def direct_conv2d_backward_weight_reduce(  # type: ignore[no-untyped-def]
    partial, dw, K, KG, DEPTH, PANELS, GROUPS, PARTS, begin, end
):  # fmt: skip
    """The sum of the partial results, turned."""
    reduce_parts(partial, dw, K, KG, DEPTH, PANELS, GROUPS, PARTS, begin, end)
