"""Winograd's convolution of many channels, forward and data gradient: weights are transformed where they are used.

There transformed weights are more than the caches hold, and four times the weights: to write them once and to read them
for every block of tiles took longer than to transform them again. A task does so for a panel of output channels, a run
of input channels at a time, which stays in the second cache. Inputs are transformed first, a run of channels of all
tiles of a plane side by side, in the order in which tasks read them.
"""

from __future__ import annotations

from ..blocking import PANEL
from ..winograd import DEPTH, PLANES, SHORT, WIDE_WEIGHTS
from .compiler import inline, kernel
from .memory import at, at_most, number
from .winograd import fill_rows, load_inputs, store_panel, transform_panel, transform_turned_panel
from .winograd_tiles import multiply


@inline
def transform_blocks(load, image, change, depth, transformed, N, TH, TW, TILES, INPUTS, RUNS, begin, end):  # type: ignore[no-untyped-def]
    """transformed[block, run, plane, tile, c] = B^T d B; a task transforms DEPTH channels of a block of tiles."""
    for task in range(begin, end):
        first, c = task // RUNS * TILES, task % RUNS * DEPTH
        tiles = at_most(TILES, N * TH * TW - first)
        planes = at(transformed, task * PLANES * INPUTS)
        load(image, change, c, at_most(DEPTH, depth - c), first, tiles, TH, TW, planes, number(DEPTH), INPUTS)
        fill_rows(tiles, planes, number(DEPTH), INPUTS)


@inline
def convolve_blocks(  # type: ignore[no-untyped-def]
    transform, w, K, C, depth, store, result, outputs, transformed, weights, products, N, TH, TW, TILES, INPUTS,
    PRODUCTS, PANELS, RUNS, begin, end,
):  # fmt: skip
    """A task computes a panel of `outputs` channels of a block of tiles out of images of `depth` channels."""
    for task in range(begin, end):
        block, panel = task // PANELS, task % PANELS
        first = block * TILES
        tiles = at_most(TILES, N * TH * TW - first)
        rows = (tiles + SHORT - 1) // SHORT * SHORT
        columns = at_most(PANEL, outputs - panel * PANEL)
        for run in range(RUNS):
            count = at_most(DEPTH, depth - run * DEPTH)
            transform(w, weights, panel, run * DEPTH, count, K, C, number(WIDE_WEIGHTS), number(0))
            inputs = at(transformed, (block * RUNS + run) * PLANES * INPUTS)
            for plane in range(PLANES):
                multiply(1, rows, columns, count, at(inputs, plane * INPUTS), DEPTH, 1,
                         at(weights, plane * WIDE_WEIGHTS), at(products, plane * PRODUCTS), run)  # fmt: skip
        store(result, products, PRODUCTS, block, panel, first, tiles, TH, TW)


@kernel
def wide_winograd_conv2d_forward_inputs(  # type: ignore[no-untyped-def]
    x, transformed, padding, N, H, W, C, TH, TW, TILES, INPUTS, RUNS, begin, end
):  # fmt: skip
    """See `transform_blocks`."""
    image = at(x, 0), H, W, C, padding[0], padding[1]
    transform_blocks(load_inputs, image, 0, C, transformed, N, TH, TW, TILES, INPUTS, RUNS, begin, end)


@kernel
def wide_winograd_conv2d_backward_data_inputs(  # type: ignore[no-untyped-def]
    dy, transformed, padding, N, OH, OW, K, TH, TW, TILES, INPUTS, RUNS, begin, end
):  # fmt: skip
    """See `transform_blocks`."""
    image = at(dy, 0), OH, OW, K, 2 - padding[0], 2 - padding[1]
    transform_blocks(load_inputs, image, 0, K, transformed, N, TH, TW, TILES, INPUTS, RUNS, begin, end)


@kernel
def wide_winograd_conv2d_forward(  # type: ignore[no-untyped-def]
    w, b, transformed, weights, products, y, N, C, OH, OW, K, B, TH, TW, TILES, INPUTS, PRODUCTS, PANELS, RUNS,
    begin, end,
):  # fmt: skip
    """See `convolve_blocks`."""
    result = at(y, 0), OH, OW, K, at(b, 0), B
    convolve_blocks(transform_panel, w, K, C, C, store_panel, result, K, transformed, at(weights, 0), at(products, 0),
                    N, TH, TW, TILES, INPUTS, PRODUCTS, PANELS, RUNS, begin, end)  # fmt: skip


@kernel
def wide_winograd_conv2d_backward_data(  # type: ignore[no-untyped-def]
    w, transformed, weights, products, dx, N, H, W, C, K, TH, TW, TILES, INPUTS, PRODUCTS, PANELS, RUNS, begin, end,
):  # fmt: skip
    """See `convolve_blocks`."""
    result = at(dx, 0), H, W, C, at(dx, 0), number(0)
    convolve_blocks(transform_turned_panel, w, K, C, K, store_panel, result, C, transformed, at(weights, 0),
                    at(products, 0), N, TH, TW, TILES, INPUTS, PRODUCTS, PANELS, RUNS, begin, end)  # fmt: skip
