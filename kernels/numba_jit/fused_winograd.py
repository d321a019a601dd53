"""Winograd's convolution between batch norms: see `winograd.py`, `winograd_weight.py` and `kernels/fused.py`.

What changes on load goes through a strip, the pixels of up to STRIP neighbouring tiles; what is added up on store is
read again from the tile that has just been written. Task sums are a block's; each panel adds its own columns.
"""

from __future__ import annotations

from ..blocking import PANEL
from ..fused import NO_ACTIVATION
from ..winograd import DEPTH, INPUT, OUTPUT, PLANES, SHORT, STRIP
from .compiler import inline, kernel
from .exponential import ONE, ZERO
from .fused_winograd_tiles import add_moments, flush, mask_gradients, stage_gradients, stage_pixels
from .fusion import add_tasks
from .memory import at, at_most, copy, fill, floats
from .simd import LANES
from .winograd import fill_rows, multiply_planes, transform_kernels, transform_turned_kernels
from .winograd_tiles import EARLY, following, multiply, pixel, place
from .winograd_transforms import (
    transform_gradients,
    transform_inputs,
    transform_outputs,
    transform_weight_gradients,
)
from .winograd_weight import add_parts

SUMMED = 16  # tiles, of 16 pixels each, that float32 numbers sum before they are added to doubles
SUMS = 2 * PANEL


@kernel
def fused_winograd_conv2d_forward_weights(w, transformed, K, C, WEIGHTS, begin, end):  # type: ignore[no-untyped-def]
    """As `winograd_conv2d_forward_weights`."""
    transform_kernels(w, transformed, K, C, WEIGHTS, begin, end)


@kernel
def fused_winograd_conv2d_backward_data_weights(w, transformed, K, C, WEIGHTS, begin, end):  # type: ignore[no-untyped-def]
    """As `winograd_conv2d_backward_data_weights`."""
    transform_turned_kernels(w, transformed, K, C, WEIGHTS, begin, end)


@inline
def _strip_length(tile, stop, TW):  # type: ignore[no-untyped-def]
    """How many tiles from `tile` on, before `stop`, are loaded together: neighbours in a row of tiles."""
    return at_most(at_most(STRIP, stop - tile), TW - tile % TW)


@inline
def _transform_strip(  # type: ignore[no-untyped-def]
    corner, down, right, row, high, column, wide, tiles, channels, ahead, planes, pitch, plane
):
    """Transform the inputs of neighbouring tiles, from a strip or from where they stand."""
    for i in range(tiles):
        transform_inputs(at(corner, i * OUTPUT * right), down, right, row, high, column + i * OUTPUT, wide, channels,
                         ahead, at(planes, i * pitch), plane)  # fmt: skip


@inline
def _ahead(tile, tiles, TH, TW, high, wide):  # type: ignore[no-untyped-def]
    """How many pixels of the images there are from a tile to the one that is `tiles` later: what to fetch early."""
    n, th, tw = place(tile, TH, TW)
    later_n, later_th, later_tw = place(tile + tiles, TH, TW)
    return pixel(later_n, later_th, later_tw, high, wide) - pixel(n, th, tw, high, wide)


@inline
def _padded(source, target, absent, count, there):  # type: ignore[no-untyped-def]
    """target = a panel of per-channel numbers, `absent` where there are none."""
    fill(target, absent, PANEL)
    if there > 0:
        copy(source, target, count)


@kernel
def fused_winograd_conv2d_forward(  # type: ignore[no-untyped-def]
    x, b, scale, shift, centre, transformed, task_sums, inputs, products, strip, y, activation, padding, N, H,
    W, C, OH, OW, K, B, P, E, TH, TW, TILES, ROW, INPUTS, PRODUCTS, WEIGHTS, PANELS, GROUP, SPLIT, begin, end,
):  # fmt: skip
    """A task computes a block of tiles of y for one of SPLIT runs of groups of panels."""
    bias, middle, totals = floats(PANEL), floats(PANEL), floats(SUMS)
    groups = (PANELS + GROUP - 1) // GROUP
    for task in range(begin, end):
        block, run = task // SPLIT, task % SPLIT
        first = block * TILES
        tiles = at_most(TILES, N * TH * TW - first)
        i = 0
        while i < tiles:
            n, th, tw = place(first + i, TH, TW)
            row, column = th * OUTPUT - padding[0], tw * OUTPUT - padding[1]
            count = _strip_length(first + i, first + tiles, TW)
            high, wide, right = H, W, C
            corner = at(x, ((n * H + row) * W + column) * C)
            ahead = C * _ahead(first + i, EARLY, TH, TW, H, W)
            if P > 0 or activation != NO_ACTIVATION:
                high, wide, right = INPUT, count * OUTPUT + 2, ROW
                later = C * _ahead(first + i, count, TH, TW, H, W)
                stage_pixels(at(x, 0), later, at(strip, 0), H, W, C, n, row, column, high, wide, C, ROW, P,
                             at(scale, 0), at(shift, 0), activation)  # fmt: skip
                corner, row, column, ahead = at(strip, 0), 0, 0, 0
            _transform_strip(corner, wide * right, right, row, high, column, wide, count, C, ahead,
                             at(inputs, i * ROW), ROW, INPUTS)  # fmt: skip
            i += count
        rows = fill_rows(tiles, inputs, ROW, INPUTS)
        for group in range(run * groups // SPLIT, (run + 1) * groups // SPLIT):
            start, stop = group * GROUP, at_most((group + 1) * GROUP, PANELS)
            multiply_planes(rows, K, start, stop, C, inputs, ROW, INPUTS, transformed, WEIGHTS, products, PRODUCTS)
            for panel in range(start, stop):
                k = panel * PANEL
                columns = at_most(PANEL, K - k)
                _padded(at(b, k), bias, ZERO, columns, B)
                _padded(at(centre, k), middle, ZERO, columns, E)
                fill(totals, ZERO, SUMS)
                sums = at(task_sums, block * 2 * E + k)
                if E > 0:
                    fill(sums, 0.0, columns)
                    fill(at(sums, E), 0.0, columns)
                n, th, tw = place(first, TH, TW)
                later_n, later_th, later_tw = place(first + EARLY, TH, TW)
                for i in range(tiles):
                    row, column = th * OUTPUT, tw * OUTPUT
                    begins = pixel(n, th, tw, OH, OW)
                    ahead = K * (pixel(later_n, later_th, later_tw, OH, OW) - begins)
                    corner = at(y, begins * K + k)
                    transform_outputs(at(products, (panel - start) * PLANES * PRODUCTS + i * PANEL), PRODUCTS, columns,
                                      bias, corner, OW * K, K, row, OH, column, OW, ahead)  # fmt: skip
                    if E > 0:
                        add_moments(corner, OW * K, K, row, OH, column, OW, columns, middle, totals)
                        if i % SUMMED == SUMMED - 1 or i == tiles - 1:
                            flush(totals, sums, columns, E)
                    n, th, tw = following(n, th, tw, TH, TW)
                    later_n, later_th, later_tw = following(later_n, later_th, later_tw, TH, TW)


@kernel
def fused_winograd_conv2d_backward_data(  # type: ignore[no-untyped-def]
    dy, z, slope, factor, offset, x, scale, shift, centre, transformed, task_sums, inputs, products, strip, dx,
    activation, padding, N, H, W, C, OH, OW, K, G, P, E, TH, TW, TILES, ROW, INPUTS, PRODUCTS, WEIGHTS, PANELS, GROUP,
    SPLIT, begin, end,
):  # fmt: skip
    """The same for a block of tiles of dx."""
    bias, middle, totals = floats(PANEL), floats(PANEL), floats(SUMS)
    scales, shifts = floats(PANEL), floats(PANEL)
    fill(bias, ZERO, PANEL)
    groups = (PANELS + GROUP - 1) // GROUP
    for task in range(begin, end):
        block, run = task // SPLIT, task % SPLIT
        first = block * TILES
        tiles = at_most(TILES, N * TH * TW - first)
        i = 0
        while i < tiles:
            n, th, tw = place(first + i, TH, TW)
            row, column = th * OUTPUT - 2 + padding[0], tw * OUTPUT - 2 + padding[1]
            count = _strip_length(first + i, first + tiles, TW)
            high, wide, right = OH, OW, K
            corner = at(dy, ((n * OH + row) * OW + column) * K)
            ahead = K * _ahead(first + i, EARLY, TH, TW, OH, OW)
            if G > 0:
                high, wide, right = INPUT, count * OUTPUT + 2, ROW
                later = K * _ahead(first + i, count, TH, TW, OH, OW)
                stage_gradients(at(dy, 0), at(z, 0), later, at(strip, 0), OH, OW, K, n, row, column, high, wide, K,
                                ROW, at(slope, 0), at(factor, 0), at(offset, 0))  # fmt: skip
                corner, row, column, ahead = at(strip, 0), 0, 0, 0
            _transform_strip(corner, wide * right, right, row, high, column, wide, count, K, ahead,
                             at(inputs, i * ROW), ROW, INPUTS)  # fmt: skip
            i += count
        rows = fill_rows(tiles, inputs, ROW, INPUTS)
        for group in range(run * groups // SPLIT, (run + 1) * groups // SPLIT):
            start, stop = group * GROUP, at_most((group + 1) * GROUP, PANELS)
            multiply_planes(rows, C, start, stop, K, inputs, ROW, INPUTS, transformed, WEIGHTS, products, PRODUCTS)
            for panel in range(start, stop):
                c = panel * PANEL
                columns = at_most(PANEL, C - c)
                _padded(at(centre, c), middle, ZERO, columns, E)
                _padded(at(scale, c), scales, ONE, columns, P)
                _padded(at(shift, c), shifts, ZERO, columns, P)
                fill(totals, ZERO, SUMS)
                sums = at(task_sums, block * 2 * E + c)
                if E > 0:
                    fill(sums, 0.0, columns)
                    fill(at(sums, E), 0.0, columns)
                n, th, tw = place(first, TH, TW)
                later_n, later_th, later_tw = place(first + EARLY, TH, TW)
                for i in range(tiles):
                    row, column = th * OUTPUT, tw * OUTPUT
                    begins = pixel(n, th, tw, H, W)
                    ahead = C * (pixel(later_n, later_th, later_tw, H, W) - begins)
                    corner = at(dx, begins * C + c)
                    transform_outputs(at(products, (panel - start) * PLANES * PRODUCTS + i * PANEL), PRODUCTS, columns,
                                      bias, corner, W * C, C, row, H, column, W, ahead)  # fmt: skip
                    if E > 0 or activation != NO_ACTIVATION:
                        mask_gradients(corner, at(x, begins * C + c), W * C, C, row, H, column, W, ahead, columns,
                                       scales, shifts, activation, middle, totals)  # fmt: skip
                        if E > 0 and (i % SUMMED == SUMMED - 1 or i == tiles - 1):
                            flush(totals, sums, columns, E)
                    n, th, tw = following(n, th, tw, TH, TW)
                    later_n, later_th, later_tw = following(later_n, later_th, later_tw, TH, TW)


@kernel
def fused_winograd_conv2d_forward_sums(task_sums, sums, BLOCKS, E, begin, end):  # type: ignore[no-untyped-def]
    """sums = those of all blocks, added in order, in one task."""
    for _ in range(begin, end):
        add_tasks(at(task_sums, 0), at(sums, 0), BLOCKS, E)


@kernel
def fused_winograd_conv2d_backward_data_sums(task_sums, sums, BLOCKS, E, begin, end):  # type: ignore[no-untyped-def]
    """sums = those of all blocks, added in order, in one task."""
    for _ in range(begin, end):
        add_tasks(at(task_sums, 0), at(sums, 0), BLOCKS, E)


@kernel
def fused_winograd_conv2d_backward_weight(  # type: ignore[no-untyped-def]
    x, dy, scale, shift, z, slope, factor, offset, partial, inputs, gradients, products, strip, activation,
    padding, H, W, C, OH, OW, K, P, G, N, TH, TW, TILES, BLOCKS, PANELS, RUNS, PARTS, INPUTS, GRADIENTS, PRODUCTS,
    begin, end,
):  # fmt: skip
    """A task sums one part of the blocks for PANEL input and DEPTH output channels."""
    for task in range(begin, end):
        part, run, panel = task // (RUNS * PANELS), task // PANELS % RUNS, task % PANELS
        k, c = run * DEPTH, panel * PANEL
        rows, columns = at_most(DEPTH, K - k), at_most(PANEL, C - c)
        whole = (rows + SHORT - 1) // SHORT * SHORT
        start, stop = part * BLOCKS // PARTS, (part + 1) * BLOCKS // PARTS
        if start == stop:
            fill(at(products, 0), ZERO, PLANES * PRODUCTS)
        for block in range(start, stop):
            first = block * TILES
            tiles = at_most(TILES, N * TH * TW - first)
            i = 0
            while i < tiles:
                n, th, tw = place(first + i, TH, TW)
                row, column = th * OUTPUT, tw * OUTPUT
                count = _strip_length(first + i, first + tiles, TW)
                above, left = row - padding[0], column - padding[1]
                high, wide, right = H, W, C
                corner = at(x, ((n * H + above) * W + left) * C + c)
                ahead = C * _ahead(first + i, count, TH, TW, H, W)
                if P > 0 or activation != NO_ACTIVATION:
                    high, wide, right = INPUT, count * OUTPUT + 2, PANEL
                    stage_pixels(at(x, c), ahead, at(strip, 0), H, W, C, n, above, left, high, wide, columns, PANEL, P,
                                 at(scale, c), at(shift, c), activation)  # fmt: skip
                    corner, above, left, ahead = at(strip, 0), 0, 0, 0
                _transform_strip(corner, wide * right, right, above, high, left, wide, count, columns, ahead,
                                 at(inputs, i * PANEL), PANEL, INPUTS)  # fmt: skip
                high, wide, right = OH, OW, K
                corner = at(dy, ((n * OH + row) * OW + column) * K + k)
                ahead = K * _ahead(first + i, count, TH, TW, OH, OW)
                if G > 0:
                    high, wide, right = OUTPUT, count * OUTPUT, DEPTH
                    stage_gradients(at(dy, k), at(z, k), ahead, at(strip, 0), OH, OW, K, n, row, column, high, wide,
                                    rows, DEPTH, at(slope, k), at(factor, k), at(offset, k))  # fmt: skip
                    corner, row, column, ahead = at(strip, 0), 0, 0, 0
                for j in range(count):
                    transform_gradients(at(corner, j * OUTPUT * right), wide * right, right, row, high,
                                        column + j * OUTPUT, wide, rows, ahead, at(gradients, (i + j) * DEPTH),
                                        GRADIENTS)  # fmt: skip
                i += count
            for plane in range(PLANES):
                multiply(0, whole, columns, tiles, at(gradients, plane * GRADIENTS), 1, DEPTH,
                         at(inputs, plane * INPUTS), at(products, plane * PRODUCTS), block - start)  # fmt: skip
        for i in range(rows):
            for j in range(0, columns, LANES):
                transform_weight_gradients(at(products, i * PANEL + j), PRODUCTS, columns - j,
                                           at(partial, (part * K + k + i) * 9 * C + c + j), C)  # fmt: skip


@kernel
def fused_winograd_conv2d_backward_weight_reduce(partial, dw, K, C, PARTS, begin, end):  # type: ignore[no-untyped-def]
    """As `winograd_conv2d_backward_weight_reduce`."""
    add_parts(partial, dw, K * 9 * C, PARTS, begin, end)
