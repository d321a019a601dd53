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
from .memory import at, at_most
from .winograd import load_tiles, store_panel, transform_panel, transform_turned_panel
from .winograd_tiles import multiply


@inline
def _transform_tiles(  # type: ignore[no-untyped-def]
    x, transformed, high, wide, channels, top, left, N, TH, TW, TILES, INPUTS, RUNS, begin, end
):
    """transformed[block, run, plane, tile, c] = B^T d B; a task transforms DEPTH channels of a block of tiles."""
    for task in range(begin, end):
        first, c = task // RUNS * TILES, task % RUNS * DEPTH
        planes = at(transformed, task * PLANES * INPUTS)
        load_tiles(at(x, c), high, wide, channels, at_most(DEPTH, channels - c), top, left, first,
                   at_most(TILES, N * TH * TW - first), TH, TW, planes, DEPTH, INPUTS)  # fmt: skip


@kernel
def wide_winograd_conv2d_forward_inputs(  # type: ignore[no-untyped-def]
    x, transformed, padding, N, H, W, C, TH, TW, TILES, INPUTS, RUNS, begin, end
):  # fmt: skip
    """See `_transform_tiles`."""
    _transform_tiles(x, transformed, H, W, C, padding[0], padding[1], N, TH, TW, TILES, INPUTS, RUNS,
                     begin, end)  # fmt: skip


@kernel
def wide_winograd_conv2d_backward_data_inputs(  # type: ignore[no-untyped-def]
    dy, transformed, padding, N, OH, OW, K, TH, TW, TILES, INPUTS, RUNS, begin, end
):  # fmt: skip
    """See `_transform_tiles`."""
    _transform_tiles(dy, transformed, OH, OW, K, 2 - padding[0], 2 - padding[1], N, TH, TW, TILES, INPUTS, RUNS,
                     begin, end)  # fmt: skip


@inline
def _multiply_run(tiles, columns, depth, transformed, INPUTS, weights, products, PRODUCTS, add):  # type: ignore[no-untyped-def]
    """products = (products if add) + those of a run of channels, plane by plane."""
    rows = (tiles + SHORT - 1) // SHORT * SHORT
    for plane in range(PLANES):
        multiply(1, rows, columns, depth, at(transformed, plane * INPUTS), DEPTH, 1, at(weights, plane * WIDE_WEIGHTS),
                 at(products, plane * PRODUCTS), add)  # fmt: skip


@kernel
def wide_winograd_conv2d_forward(  # type: ignore[no-untyped-def]
    w, b, transformed, weights, products, y, N, C, OH, OW, K, B, TH, TW, TILES, INPUTS, PRODUCTS, PANELS, RUNS,
    begin, end,
):  # fmt: skip
    """A task computes a panel of channels of a block of tiles of y."""
    for task in range(begin, end):
        block, panel = task // PANELS, task % PANELS
        tiles = at_most(TILES, N * TH * TW - block * TILES)
        for run in range(RUNS):
            c = run * DEPTH
            depth = at_most(DEPTH, C - c)
            transform_panel(w, at(weights, 0), panel, c, depth, K, C, WIDE_WEIGHTS, 0)
            _multiply_run(tiles, at_most(PANEL, K - panel * PANEL), depth,
                          at(transformed, (block * RUNS + run) * PLANES * INPUTS), INPUTS, weights, products,
                          PRODUCTS, run)  # fmt: skip
        store_panel(at(products, 0), PRODUCTS, b, B, y, OH, OW, K, panel, block * TILES, tiles, TH, TW)


@kernel
def wide_winograd_conv2d_backward_data(  # type: ignore[no-untyped-def]
    w, transformed, weights, products, dx, N, H, W, C, K, TH, TW, TILES, INPUTS, PRODUCTS, PANELS, RUNS, begin, end,
):  # fmt: skip
    """The same for dx."""
    for task in range(begin, end):
        block, panel = task // PANELS, task % PANELS
        tiles = at_most(TILES, N * TH * TW - block * TILES)
        for run in range(RUNS):
            k = run * DEPTH
            depth = at_most(DEPTH, K - k)
            transform_turned_panel(w, at(weights, 0), panel, k, depth, C, WIDE_WEIGHTS, 0)
            _multiply_run(tiles, at_most(PANEL, C - panel * PANEL), depth,
                          at(transformed, (block * RUNS + run) * PLANES * INPUTS), INPUTS, weights, products,
                          PRODUCTS, run)  # fmt: skip
        store_panel(at(products, 0), PRODUCTS, dx, 0, dx, H, W, C, panel, block * TILES, tiles, TH, TW)
