"""Winograd's convolution, forward and data gradient: the data gradient is the forward pass with the kernel turned.

A task transforms a block of tiles to 36 planes, multiplies each plane with the transformed weights of one group of
panels of output channels after the other, and transforms the products back while they are in the second cache.
"""

from __future__ import annotations

from ..blocking import PANEL
from ..winograd import DEPTH, OUTPUT, PLANES, SHORT
from .compiler import inline, kernel
from .exponential import ZERO
from .memory import at, at_most, copy, fill, floats, streams
from .simd import LANES
from .winograd_tiles import EARLY, following, multiply_tiles, pixel, place
from .winograd_transforms import transform_inputs, transform_outputs, transform_weights, transpose_vectors

TAPS = 9 * LANES * LANES  # elements of a block of transposed taps


@inline
def transform_panel(w, planes, panel, first, count, K, C, WEIGHTS, around):  # type: ignore[no-untyped-def]
    """planes[plane, c - first, k] = G w[k, :, :, c] G^T for k of a panel of channels and `count` c from `first` on."""
    tile = floats(TAPS)
    for c in range(0, count, LANES):
        for j in range(0, PANEL, LANES):
            k = panel * PANEL + j
            for t in range(9):
                transpose_vectors(at(w, (k * 9 + t) * C + first + c), 9 * C, K - k, count - c,
                                  at(tile, t * LANES * LANES))  # fmt: skip
            for i in range(at_most(LANES, count - c)):
                transform_weights(at(tile, i * LANES), LANES * LANES, 0, LANES, at(planes, (c + i) * PANEL + j),
                                  WEIGHTS, around)  # fmt: skip


@inline
def transform_turned_panel(w, planes, panel, first, count, C, WEIGHTS, around):  # type: ignore[no-untyped-def]
    """planes[plane, k - first, c] = the same of the turned kernel w[k, ::-1, ::-1, c] for c of a panel."""
    for k in range(count):
        for j in range(0, PANEL, LANES):
            c = panel * PANEL + j
            transform_weights(at(w, ((first + k) * 9 + 8) * C + c), -C, 9 * EARLY * C, C - c,
                              at(planes, k * PANEL + j), WEIGHTS, around)  # fmt: skip


@inline
def transform_kernels(w, transformed, K, C, WEIGHTS, begin, end):  # type: ignore[no-untyped-def]
    """transformed[panel, plane, c, k]: a task writes DEPTH rows of a panel."""
    around = streams(transformed, (K + PANEL - 1) // PANEL * PLANES * WEIGHTS, PANEL)
    runs = (C + DEPTH - 1) // DEPTH
    for task in range(begin, end):
        panel, c = task // runs, task % runs * DEPTH
        transform_panel(w, at(transformed, panel * PLANES * WEIGHTS + c * PANEL), panel, c, at_most(DEPTH, C - c), K, C,
                        WEIGHTS, around)  # fmt: skip


@inline
def transform_turned_kernels(w, transformed, K, C, WEIGHTS, begin, end):  # type: ignore[no-untyped-def]
    """transformed[panel, plane, k, c] of the turned kernels."""
    around = streams(transformed, (C + PANEL - 1) // PANEL * PLANES * WEIGHTS, PANEL)
    runs = (K + DEPTH - 1) // DEPTH
    for task in range(begin, end):
        panel, k = task // runs, task % runs * DEPTH
        transform_turned_panel(w, at(transformed, panel * PLANES * WEIGHTS + k * PANEL), panel, k,
                               at_most(DEPTH, K - k), C, WEIGHTS, around)  # fmt: skip


@kernel
def winograd_conv2d_forward_weights(w, transformed, K, C, WEIGHTS, begin, end):  # type: ignore[no-untyped-def]
    """See `transform_kernels`."""
    transform_kernels(w, transformed, K, C, WEIGHTS, begin, end)


@kernel
def winograd_conv2d_backward_data_weights(w, transformed, K, C, WEIGHTS, begin, end):  # type: ignore[no-untyped-def]
    """See `transform_turned_kernels`."""
    transform_turned_kernels(w, transformed, K, C, WEIGHTS, begin, end)


@inline
def fill_rows(tiles, inputs, ROW, INPUTS):  # type: ignore[no-untyped-def]
    """Zeros behind the last of the transformed tiles, up to a multiple of SHORT; returns that."""
    rows = (tiles + SHORT - 1) // SHORT * SHORT
    if rows > tiles:
        for plane in range(PLANES):
            fill(at(inputs, plane * INPUTS + tiles * ROW), ZERO, (rows - tiles) * ROW)
    return rows


@inline
def load_tiles(  # type: ignore[no-untyped-def]
    x, high, wide, channels, count, top, left, first, tiles, TH, TW, inputs, ROW, INPUTS
):
    """Transform `count` of the channels of `tiles` tiles of x, and zeros behind them up to a multiple of SHORT."""
    n, th, tw = place(first, TH, TW)
    later_n, later_th, later_tw = place(first + EARLY, TH, TW)
    for i in range(tiles):
        start = pixel(n, th, tw, high, wide)
        ahead = pixel(later_n, later_th, later_tw, high, wide) - start
        row, column = th * OUTPUT - top, tw * OUTPUT - left
        transform_inputs(at(x, (start - top * wide - left) * channels), wide * channels, channels, row, high, column,
                         wide, count, ahead * channels, at(inputs, i * ROW), INPUTS)  # fmt: skip
        n, th, tw = following(n, th, tw, TH, TW)
        later_n, later_th, later_tw = following(later_n, later_th, later_tw, TH, TW)
    return fill_rows(tiles, inputs, ROW, INPUTS)


@inline
def store_panel(products, PRODUCTS, bias, count, y, high, wide, channels, panel, first, tiles, TH, TW):  # type: ignore[no-untyped-def]
    """Transform the products of a panel back to pixels of y; those outside the image go nowhere."""
    columns = at_most(PANEL, channels - panel * PANEL)
    added = floats(PANEL)
    fill(added, ZERO, PANEL)
    if count > 0:
        copy(at(bias, panel * PANEL), added, columns)
    n, th, tw = place(first, TH, TW)
    later_n, later_th, later_tw = place(first + EARLY, TH, TW)
    for i in range(tiles):
        start = pixel(n, th, tw, high, wide)
        ahead = pixel(later_n, later_th, later_tw, high, wide) - start
        corner = at(y, start * channels + panel * PANEL)
        transform_outputs(at(products, i * PANEL), PRODUCTS, columns, added, corner, wide * channels, channels,
                          th * OUTPUT, high, tw * OUTPUT, wide, ahead * channels)  # fmt: skip
        n, th, tw = following(n, th, tw, TH, TW)
        later_n, later_th, later_tw = following(later_n, later_th, later_tw, TH, TW)


@inline
def multiply_planes(tiles, outputs, first, last, depth, inputs, ROW, INPUTS, transformed, WEIGHTS, products, PRODUCTS):  # type: ignore[no-untyped-def]
    """The products of all planes with panels `first` to `last` - 1."""
    for plane in range(PLANES):
        for panel in range(first, last):
            multiply_tiles(tiles, at_most(PANEL, outputs - panel * PANEL), depth, at(inputs, plane * INPUTS), ROW,
                           at(transformed, (panel * PLANES + plane) * WEIGHTS),
                           at(products, ((panel - first) * PLANES + plane) * PRODUCTS))  # fmt: skip


@kernel
def winograd_conv2d_forward(  # type: ignore[no-untyped-def]
    x, b, transformed, inputs, products, y, padding, N, H, W, C, OH, OW, K, B, TH, TW, TILES, ROW, INPUTS,
    PRODUCTS, WEIGHTS, PANELS, GROUP, SPLIT, begin, end,
):  # fmt: skip
    """A task computes a block of tiles of y for one of SPLIT runs of groups of panels."""
    groups = (PANELS + GROUP - 1) // GROUP
    for task in range(begin, end):
        first, run = task // SPLIT * TILES, task % SPLIT
        tiles = at_most(TILES, N * TH * TW - first)
        rows = load_tiles(at(x, 0), H, W, C, C, padding[0], padding[1], first, tiles, TH, TW, inputs, ROW, INPUTS)
        for group in range(run * groups // SPLIT, (run + 1) * groups // SPLIT):
            start, stop = group * GROUP, at_most((group + 1) * GROUP, PANELS)
            multiply_planes(rows, K, start, stop, C, inputs, ROW, INPUTS, transformed, WEIGHTS, products, PRODUCTS)
            for panel in range(start, stop):
                store_panel(at(products, (panel - start) * PLANES * PRODUCTS), PRODUCTS, b, B, y, OH, OW, K, panel,
                            first, tiles, TH, TW)  # fmt: skip


@kernel
def winograd_conv2d_backward_data(  # type: ignore[no-untyped-def]
    dy, transformed, inputs, products, dx, padding, N, H, W, C, OH, OW, K, TH, TW, TILES, ROW, INPUTS,
    PRODUCTS, WEIGHTS, PANELS, GROUP, SPLIT, begin, end,
):  # fmt: skip
    """The same for a block of tiles of dx."""
    groups = (PANELS + GROUP - 1) // GROUP
    for task in range(begin, end):
        first, run = task // SPLIT * TILES, task % SPLIT
        tiles = at_most(TILES, N * TH * TW - first)
        rows = load_tiles(
            at(dy, 0), OH, OW, K, K, 2 - padding[0], 2 - padding[1], first, tiles, TH, TW, inputs, ROW, INPUTS
        )
        for group in range(run * groups // SPLIT, (run + 1) * groups // SPLIT):
            start, stop = group * GROUP, at_most((group + 1) * GROUP, PANELS)
            multiply_planes(rows, C, start, stop, K, inputs, ROW, INPUTS, transformed, WEIGHTS, products, PRODUCTS)
            for panel in range(start, stop):
                store_panel(at(products, (panel - start) * PLANES * PRODUCTS), PRODUCTS, dx, 0, dx, H, W, C, panel,
                            first, tiles, TH, TW)  # fmt: skip
