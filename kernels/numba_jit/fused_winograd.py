"""Winograd's convolution between batch norms: see `winograd.py`, `winograd_weight.py` and `kernels/fused.py`.

What changes on load goes through a strip, the pixels of up to STRIP neighbouring tiles; what is added up on store is
read again from the tile that has just been written. Task sums are a block's; each panel adds its own columns.
"""

from __future__ import annotations

from ..blocking import PANEL
from ..fused import NO_ACTIVATION
from ..winograd import DEPTH, INPUT, OUTPUT, OUTPUTS, PLANES, STRIP
from .compiler import inline, kernel
from .exponential import ONE, ZERO
from .fused_winograd_tiles import add_moments, flush, mask_gradients, stage_gradients, stage_pixels
from .fusion import add_tasks
from .memory import at, at_most, copy, fill, floats
from .simd import LANES
from .winograd import fill_rows, multiply_planes, transform_kernels, transform_turned_kernels
from .winograd_tiles import EARLY, SHORT, address, integers, locate, multiply, pixels_ahead
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
    source, image, high, wide, step, row, column, outside, tiles, channels, ahead, planes, pitch, plane
):
    """Transform the inputs of neighbouring tiles, from a strip or from where they stand."""
    places = integers(PLANES)
    for i in range(tiles):
        locate(places, INPUT, source, image, high, wide, step, row, column + i * OUTPUT, outside)
        transform_inputs(places, channels, ahead, at(planes, i * pitch), plane)


@inline
def _place(tile, TH, TW):  # type: ignore[no-untyped-def]
    """Image, row and column of a tile's first output."""
    return tile // (TH * TW), tile // TW % TH * OUTPUT, tile % TW * OUTPUT


@inline
def _padded(source, target, absent, count, there):  # type: ignore[no-untyped-def]
    """target = a panel of per-channel numbers, `absent` where there are none."""
    fill(target, absent, PANEL)
    if there > 0:
        copy(source, target, count)


@kernel
def fused_winograd_conv2d_forward(  # type: ignore[no-untyped-def]
    x, b, scale, shift, centre, transformed, task_sums, inputs, products, outside, strip, y, activation, padding, N, H,
    W, C, OH, OW, K, B, P, E, TH, TW, TILES, ROW, INPUTS, PRODUCTS, WEIGHTS, PANELS, GROUP, SPLIT, begin, end,
):  # fmt: skip
    """A task computes a block of tiles of y for one of SPLIT runs of groups of panels."""
    outputs = integers(OUTPUTS)
    nowhere, bias, middle, totals = floats(PANEL), floats(PANEL), floats(PANEL), floats(SUMS)
    groups = (PANELS + GROUP - 1) // GROUP
    for task in range(begin, end):
        block, run = task // SPLIT, task % SPLIT
        first = block * TILES
        tiles = at_most(TILES, N * TH * TW - first)
        fill(at(outside, 0), ZERO, ROW)
        i = 0
        while i < tiles:
            n, row, column = _place(first + i, TH, TW)
            row, column = row - padding[0], column - padding[1]
            count = _strip_length(first + i, first + tiles, TW)
            wide = count * OUTPUT + 2
            source, high, step = address(at(x, 0)), H, C
            ahead = C * pixels_ahead(first + i, EARLY, TH, TW, H, W)
            if P > 0 or activation != NO_ACTIVATION:
                later = C * pixels_ahead(first + i, count, TH, TW, H, W)
                stage_pixels(at(x, 0), later, at(strip, 0), H, W, C, n, row, column, INPUT, wide, C, ROW, P,
                             at(scale, 0), at(shift, 0), activation)  # fmt: skip
                source, high, step, ahead, n, row, column = address(at(strip, 0)), INPUT, ROW, 0, 0, 0, 0
            else:
                wide = W
            _transform_strip(source, n, high, wide, step, row, column, address(at(outside, 0)), count, C, ahead,
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
                for i in range(tiles):
                    n, row, column = _place(first + i, TH, TW)
                    ahead = K * pixels_ahead(first + i, EARLY, TH, TW, OH, OW)
                    locate(outputs, OUTPUT, address(at(y, k)), n, OH, OW, K, row, column, address(nowhere))
                    transform_outputs(at(products, (panel - start) * PLANES * PRODUCTS + i * PANEL), PRODUCTS, columns,
                                      bias, outputs, ahead)  # fmt: skip
                    if E > 0:
                        copy(middle, nowhere, PANEL)  # what is no pixel adds nothing
                        add_moments(outputs, columns, middle, totals)
                        if i % SUMMED == SUMMED - 1 or i == tiles - 1:
                            flush(totals, sums, columns, E)


@kernel
def fused_winograd_conv2d_backward_data(  # type: ignore[no-untyped-def]
    dy, z, slope, factor, offset, x, scale, shift, centre, transformed, task_sums, inputs, products, outside, strip, dx,
    activation, padding, N, H, W, C, OH, OW, K, G, P, E, TH, TW, TILES, ROW, INPUTS, PRODUCTS, WEIGHTS, PANELS, GROUP,
    SPLIT, begin, end,
):  # fmt: skip
    """The same for a block of tiles of dx."""
    outputs, pixels = integers(OUTPUTS), integers(OUTPUTS)
    nowhere, bias, middle, totals = floats(PANEL), floats(PANEL), floats(PANEL), floats(SUMS)
    scales, shifts = floats(PANEL), floats(PANEL)
    fill(bias, ZERO, PANEL)
    groups = (PANELS + GROUP - 1) // GROUP
    for task in range(begin, end):
        block, run = task // SPLIT, task % SPLIT
        first = block * TILES
        tiles = at_most(TILES, N * TH * TW - first)
        fill(at(outside, 0), ZERO, ROW)
        i = 0
        while i < tiles:
            n, row, column = _place(first + i, TH, TW)
            row, column = row - 2 + padding[0], column - 2 + padding[1]
            count = _strip_length(first + i, first + tiles, TW)
            wide = count * OUTPUT + 2
            source, high, step = address(at(dy, 0)), OH, K
            ahead = K * pixels_ahead(first + i, EARLY, TH, TW, OH, OW)
            if G > 0:
                later = K * pixels_ahead(first + i, count, TH, TW, OH, OW)
                stage_gradients(at(dy, 0), at(z, 0), later, at(strip, 0), OH, OW, K, n, row, column, INPUT, wide, K,
                                ROW, at(slope, 0), at(factor, 0), at(offset, 0))  # fmt: skip
                source, high, step, ahead, n, row, column = address(at(strip, 0)), INPUT, ROW, 0, 0, 0, 0
            else:
                wide = OW
            _transform_strip(source, n, high, wide, step, row, column, address(at(outside, 0)), count, K, ahead,
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
                for i in range(tiles):
                    n, row, column = _place(first + i, TH, TW)
                    ahead = C * pixels_ahead(first + i, EARLY, TH, TW, H, W)
                    locate(outputs, OUTPUT, address(at(dx, c)), n, H, W, C, row, column, address(nowhere))
                    transform_outputs(at(products, (panel - start) * PLANES * PRODUCTS + i * PANEL), PRODUCTS, columns,
                                      bias, outputs, ahead)  # fmt: skip
                    if E > 0 or activation != NO_ACTIVATION:
                        fill(nowhere, ZERO, PANEL)  # what is no pixel adds nothing
                        locate(pixels, OUTPUT, address(at(x, c)), n, H, W, C, row, column, address(nowhere))
                        mask_gradients(outputs, pixels, ahead, columns, scales, shifts, activation, middle, totals)
                        if E > 0 and (i % SUMMED == SUMMED - 1 or i == tiles - 1):
                            flush(totals, sums, columns, E)


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
    x, dy, scale, shift, z, slope, factor, offset, partial, inputs, gradients, products, outside, strip, activation,
    padding, H, W, C, OH, OW, K, P, G, N, TH, TW, TILES, BLOCKS, PANELS, RUNS, PARTS, INPUTS, GRADIENTS, PRODUCTS,
    begin, end,
):  # fmt: skip
    """A task sums one part of the blocks for PANEL input and DEPTH output channels."""
    outputs = integers(OUTPUTS)
    nothing = address(at(outside, 0))
    for task in range(begin, end):
        part, run, panel = task // (RUNS * PANELS), task // PANELS % RUNS, task % PANELS
        k, c = run * DEPTH, panel * PANEL
        rows, columns = at_most(DEPTH, K - k), at_most(PANEL, C - c)
        whole = (rows + SHORT - 1) // SHORT * SHORT
        start, stop = part * BLOCKS // PARTS, (part + 1) * BLOCKS // PARTS
        fill(at(outside, 0), ZERO, DEPTH)
        if start == stop:
            fill(at(products, 0), ZERO, PLANES * PRODUCTS)
        for block in range(start, stop):
            first = block * TILES
            tiles = at_most(TILES, N * TH * TW - first)
            i = 0
            while i < tiles:
                n, row, column = _place(first + i, TH, TW)
                count = _strip_length(first + i, first + tiles, TW)
                above, left, wide = row - padding[0], column - padding[1], count * OUTPUT + 2
                source, image, high, step = address(at(x, c)), n, H, C
                ahead = C * pixels_ahead(first + i, count, TH, TW, H, W)
                if P > 0 or activation != NO_ACTIVATION:
                    stage_pixels(at(x, c), ahead, at(strip, 0), H, W, C, n, above, left, INPUT, wide, columns, PANEL, P,
                                 at(scale, c), at(shift, c), activation)  # fmt: skip
                    source, image, high, step, ahead, above, left = address(at(strip, 0)), 0, INPUT, PANEL, 0, 0, 0
                else:
                    wide = W
                _transform_strip(source, image, high, wide, step, above, left, nothing, count, columns, ahead,
                                 at(inputs, i * PANEL), PANEL, INPUTS)  # fmt: skip
                wide = count * OUTPUT
                source, high, step = address(at(dy, k)), OH, K
                ahead = K * pixels_ahead(first + i, count, TH, TW, OH, OW)
                if G > 0:
                    stage_gradients(at(dy, k), at(z, k), ahead, at(strip, 0), OH, OW, K, n, row, column, OUTPUT, wide,
                                    rows, DEPTH, at(slope, k), at(factor, k), at(offset, k))  # fmt: skip
                    source, high, step, ahead, n, row, column = address(at(strip, 0)), OUTPUT, DEPTH, 0, 0, 0, 0
                else:
                    wide = OW
                for j in range(count):
                    locate(outputs, OUTPUT, source, n, high, wide, step, row, column + j * OUTPUT, nothing)
                    transform_gradients(outputs, rows, ahead, at(gradients, (i + j) * DEPTH), GRADIENTS)
                i += count
            for plane in range(PLANES):
                multiply(whole, columns, tiles, at(gradients, plane * GRADIENTS), 1, DEPTH, at(inputs, plane * INPUTS),
                         at(products, plane * PRODUCTS), block - start)  # fmt: skip
        for i in range(rows):
            for j in range(0, columns, LANES):
                transform_weight_gradients(at(products, i * PANEL + j), PRODUCTS, columns - j,
                                           at(partial, (part * K + k + i) * 9 * C + c + j), C)  # fmt: skip


@kernel
def fused_winograd_conv2d_backward_weight_reduce(partial, dw, K, C, PARTS, begin, end):  # type: ignore[no-untyped-def]
    """As `winograd_conv2d_backward_weight_reduce`."""
    add_parts(partial, dw, K * 9 * C, PARTS, begin, end)
