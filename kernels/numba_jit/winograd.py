"""Winograd's convolution, forward and data gradient: the data gradient is the forward pass with the kernel turned.

A task transforms a block of tiles to 36 planes, multiplies each plane with the transformed weights of one group of
panels of output channels after the other, and transforms the products back while they are in the second cache.
"""

from __future__ import annotations

from ..blocking import PANEL
from ..winograd import DEPTH, OUTPUT, PLANES, SHORT
from .compiler import inline, kernel
from .exponential import ZERO
from .memory import at, at_most, copy, fill, floats, number, streams
from .simd import LANES
from .winograd_tiles import EARLY, SOON, following, further, multiply_tiles, pixel, place
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
def transform_turned_panel(w, planes, panel, first, count, K, C, WEIGHTS, around):  # type: ignore[no-untyped-def]
    """planes[plane, k - first, c] = the same of the turned kernel w[k, ::-1, ::-1, c] for c of a panel."""
    for k in range(count):
        for j in range(0, PANEL, LANES):
            c = panel * PANEL + j
            transform_weights(at(w, ((first + k) * 9 + 8) * C + c), -C, 9 * SOON * C, C - c,
                              at(planes, k * PANEL + j), WEIGHTS, around)  # fmt: skip


@inline
def transform_kernels(transform, w, transformed, depth, K, C, WEIGHTS, PANELS, begin, end):  # type: ignore[no-untyped-def]
    """transformed[panel, plane, row, column] by one of the above; a task writes DEPTH of `depth` rows."""
    around = streams(transformed, PANELS * PLANES * WEIGHTS, PANEL)
    runs = (depth + DEPTH - 1) // DEPTH
    for task in range(begin, end):
        panel, first = task // runs, task % runs * DEPTH
        transform(w, at(transformed, panel * PLANES * WEIGHTS + first * PANEL), panel, first,
                  at_most(DEPTH, depth - first), K, C, WEIGHTS, around)  # fmt: skip


@kernel
def winograd_conv2d_forward_weights(w, transformed, K, C, WEIGHTS, PANELS, begin, end):  # type: ignore[no-untyped-def]
    """See `transform_kernels`."""
    transform_kernels(transform_panel, w, transformed, C, K, C, WEIGHTS, PANELS, begin, end)


@kernel
def winograd_conv2d_backward_data_weights(w, transformed, K, C, WEIGHTS, PANELS, begin, end):  # type: ignore[no-untyped-def]
    """See `transform_kernels`."""
    transform_kernels(transform_turned_panel, w, transformed, K, K, C, WEIGHTS, PANELS, begin, end)


@inline
def load_tiles(  # type: ignore[no-untyped-def]
    transform, given, early, image, c, count, n, th, tw, tiles, TH, TW, planes, ROW, PLANE
):
    """Transform `count` channels, from c on, of `tiles` tiles of (x, high, wide, channels, top, left).

    The first stands at (n, th, tw). Pixels are fetched into the cache `early` tiles before. ``transform(given, c,
    corner, square, count, ahead, planes, PLANE)`` transforms one, whose `Square` stands `corner` elements behind x.
    """
    x, high, wide, channels, top, left = image
    later_n, later_th, later_tw = further(n, th, tw, early, TH, TW)
    for i in range(tiles):
        start = pixel(n, th, tw, high, wide)
        ahead = pixel(later_n, later_th, later_tw, high, wide) - start
        corner = (start - top * wide - left) * channels + c
        square = at(x, corner), wide * channels, channels, th * OUTPUT - top, high, tw * OUTPUT - left, wide
        transform(given, c, corner, square, count, ahead * channels, at(planes, i * ROW), PLANE)
        n, th, tw = following(n, th, tw, TH, TW)
        later_n, later_th, later_tw = following(later_n, later_th, later_tw, TH, TW)


@inline
def to_inputs(given, c, corner, square, count, ahead, planes, PLANE):  # type: ignore[no-untyped-def]
    """`transform_inputs` for `load_tiles`."""
    transform_inputs(*square, count, ahead, planes, PLANE)


@inline
def load_inputs(image, change, c, count, first, tiles, TH, TW, inputs, ROW, INPUTS):  # type: ignore[no-untyped-def]
    """inputs[plane, tile, channel] = B^T d B."""
    n, th, tw = place(first, TH, TW)
    load_tiles(to_inputs, 0, number(EARLY), image, c, count, n, th, tw, tiles, TH, TW, inputs, ROW, INPUTS)


@inline
def fill_rows(tiles, inputs, ROW, INPUTS):  # type: ignore[no-untyped-def]
    """Zeros behind the last of the transformed tiles, up to a multiple of SHORT; returns that."""
    rows = (tiles + SHORT - 1) // SHORT * SHORT
    if rows > tiles:
        for plane in range(PLANES):
            fill(at(inputs, plane * INPUTS + tiles * ROW), ZERO, (rows - tiles) * ROW)
    return rows


@inline
def padded(source, target, absent, count, there):  # type: ignore[no-untyped-def]
    """target = a panel of `count` per-channel numbers, `absent` behind them, and everywhere if they are not `there`."""
    fill(target, absent, PANEL)
    if there > 0:
        copy(source, target, count)


@inline
def store_tiles(transform, given, result, products, PRODUCTS, panel, first, tiles, TH, TW):  # type: ignore[no-untyped-def]
    """Transform the products of a panel back to pixels of (y, high, wide, channels, bias, its length).

    Those outside the image go nowhere. ``transform(given, start, source, square, ahead)`` does so for a tile, whose
    `Square` stands `start` elements behind the first of y; `source` is what `transform_outputs` takes before it.
    """
    y, high, wide, channels, bias, biased = result
    columns = at_most(PANEL, channels - panel * PANEL)
    added = floats(PANEL)
    padded(at(bias, panel * PANEL), added, ZERO, columns, biased)
    n, th, tw = place(first, TH, TW)
    later_n, later_th, later_tw = further(n, th, tw, SOON, TH, TW)
    for i in range(tiles):
        row, column, start = th * OUTPUT, tw * OUTPUT, pixel(n, th, tw, high, wide)
        ahead = (pixel(later_n, later_th, later_tw, high, wide) - start) * channels
        start = start * channels + panel * PANEL
        source = at(products, i * PANEL), PRODUCTS, columns, added
        square = at(y, start), wide * channels, channels, row, high, column, wide
        transform(given, start, source, square, ahead)
        n, th, tw = following(n, th, tw, TH, TW)
        later_n, later_th, later_tw = following(later_n, later_th, later_tw, TH, TW)


@inline
def to_outputs(given, start, source, square, ahead):  # type: ignore[no-untyped-def]
    """`transform_outputs` for `store_tiles`."""
    transform_outputs(*source, *square, ahead)


@inline
def store_panel(result, products, PRODUCTS, block, panel, first, tiles, TH, TW):  # type: ignore[no-untyped-def]
    """The products of a panel of the tiles of `block` as pixels of the image."""
    store_tiles(to_outputs, 0, result, products, PRODUCTS, panel, first, tiles, TH, TW)


@inline
def convolve_tiles(  # type: ignore[no-untyped-def]
    load, image, change, depth, store, result, outputs, transformed, inputs, products, N, TH, TW, TILES, ROW, INPUTS,
    PRODUCTS, WEIGHTS, PANELS, GROUP, SPLIT, begin, end,
):  # fmt: skip
    """A task computes a block of tiles of `outputs` channels for one of SPLIT runs of groups of panels.

    `load` is `load_inputs` of an `image` of `depth` channels, or what replaces it; `store` is `store_panel` or so.
    """
    groups = (PANELS + GROUP - 1) // GROUP
    for task in range(begin, end):
        block, run = task // SPLIT, task % SPLIT
        first = block * TILES
        tiles = at_most(TILES, N * TH * TW - first)
        load(image, change, number(0), depth, first, tiles, TH, TW, inputs, ROW, INPUTS)
        rows = fill_rows(tiles, inputs, ROW, INPUTS)
        for group in range(run * groups // SPLIT, (run + 1) * groups // SPLIT):
            start, stop = group * GROUP, at_most((group + 1) * GROUP, PANELS)
            for plane in range(PLANES):
                for panel in range(start, stop):
                    multiply_tiles(rows, at_most(PANEL, outputs - panel * PANEL), depth, at(inputs, plane * INPUTS),
                                   ROW, at(transformed, (panel * PLANES + plane) * WEIGHTS),
                                   at(products, ((panel - start) * PLANES + plane) * PRODUCTS))  # fmt: skip
            for panel in range(start, stop):
                store(result, at(products, (panel - start) * PLANES * PRODUCTS), PRODUCTS, block, panel, first, tiles,
                      TH, TW)  # fmt: skip


@kernel
def winograd_conv2d_forward(  # type: ignore[no-untyped-def]
    x, b, transformed, inputs, products, y, padding, N, H, W, C, OH, OW, K, B, TH, TW, TILES, ROW, INPUTS,
    PRODUCTS, WEIGHTS, PANELS, GROUP, SPLIT, begin, end,
):  # fmt: skip
    """See `convolve_tiles`."""
    image, result = (at(x, 0), H, W, C, padding[0], padding[1]), (at(y, 0), OH, OW, K, at(b, 0), B)
    convolve_tiles(load_inputs, image, 0, C, store_panel, result, K, transformed, at(inputs, 0), at(products, 0), N, TH,
                   TW, TILES, ROW, INPUTS, PRODUCTS, WEIGHTS, PANELS, GROUP, SPLIT, begin, end)  # fmt: skip


@kernel
def winograd_conv2d_backward_data(  # type: ignore[no-untyped-def]
    dy, transformed, inputs, products, dx, padding, N, H, W, C, OH, OW, K, TH, TW, TILES, ROW, INPUTS,
    PRODUCTS, WEIGHTS, PANELS, GROUP, SPLIT, begin, end,
):  # fmt: skip
    """See `convolve_tiles`."""
    image = at(dy, 0), OH, OW, K, 2 - padding[0], 2 - padding[1]
    result = at(dx, 0), H, W, C, at(dx, 0), number(0)
    convolve_tiles(load_inputs, image, 0, K, store_panel, result, C, transformed, at(inputs, 0), at(products, 0), N, TH,
                   TW, TILES, ROW, INPUTS, PRODUCTS, WEIGHTS, PANELS, GROUP, SPLIT, begin, end)  # fmt: skip
