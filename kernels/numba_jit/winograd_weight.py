"""Winograd's weight gradient: each plane of the kernel is a product of transposed gradients and inputs of all tiles."""

from __future__ import annotations

from ..blocking import BLOCK, PANEL
from ..winograd import DEPTH, OUTPUT, PAIR, PLANES, SHORT
from .compiler import inline, kernel
from .exponential import ZERO
from .memory import at, at_most, copy, fill, number
from .simd import LANES
from .winograd import load_inputs, load_tiles
from .winograd_tiles import EARLY, fetch_row, following, multiply, place
from .winograd_transforms import transform_gradients, transform_weight_gradients

STEP = 3 * SHORT  # rows


@inline
def to_gradients(given, k, corner, square, count, ahead, planes, PLANE):  # type: ignore[no-untyped-def]
    """`transform_gradients` for `load_tiles`."""
    transform_gradients(*square, count, ahead, planes, PLANE)


@inline
def load_gradients(image, change, k, count, first, tiles, TH, TW, gradients, ROW, GRADIENTS):  # type: ignore[no-untyped-def]
    """gradients[plane, tile, channel] = A dy A^T."""
    n, th, tw = place(first, TH, TW)
    load_tiles(to_gradients, 0, number(EARLY), image, k, count, n, th, tw, tiles, TH, TW, gradients, ROW,
               GRADIENTS)  # fmt: skip


@inline
def _fetch_rows(ahead, n, th, tw, row):  # type: ignore[no-untyped-def]
    image, c, columns, gradient, k, rows, second, seconds = ahead
    # The rows of inputs above a tile come with the tile above.
    fetch_row(image[0], image, n, th, tw, row + 1, c, columns)
    fetch_row(gradient[0], gradient, n, th, tw, row, k, rows)
    fetch_row(second, gradient, n, th, tw, row, k, seconds)


@inline
def _multiply_planes(  # type: ignore[no-untyped-def]
    rows, columns, tiles, gradients, GRADIENTS, inputs, INPUTS, products, PRODUCTS, add, ahead, fetched, later, TH, TW
):
    """products = (products if add) + gradients^T inputs for all planes.

    Meanwhile the pixels of `fetched` tiles from `later` on are fetched, a row of a tile before each STEP rows of
    products: all at once would take the places that the products' own misses wait for.
    """
    n, th, tw = place(later, TH, TW)
    for plane in range(PLANES):
        i = row = 0
        while i < rows:
            size = rows - i
            if plane < fetched:
                if row < OUTPUT:
                    _fetch_rows(ahead, n, th, tw, row)
                row += 1
                size = STEP if size > STEP + SHORT else size
            multiply(0, size, columns, tiles, at(gradients, plane * GRADIENTS + i), 1, DEPTH,
                     at(inputs, plane * INPUTS), at(products, plane * PRODUCTS + i * PANEL), add)  # fmt: skip
            i += size
        n, th, tw = following(n, th, tw, TH, TW)


@inline
def sum_tiles(  # type: ignore[no-untyped-def]
    load, image, change, C, load_gradient, gradient, composition, composed, second, K, partial, inputs, gradients,
    products, N, TH, TW, TILES, BLOCKS, PANELS, PAIRS, RUNS, PARTS, INPUTS, GRADIENTS, PRODUCTS, begin, end,
):  # fmt: skip
    """A task sums one part of the blocks for PAIR panels of input and DEPTH output channels.

    `second` is the image that gradients are `composed` with. Where all channels are one task's, pixels follow each
    other in memory, and those of the next block need not be fetched.
    """
    fetches = PANELS * RUNS > 1
    for task in range(begin, end):
        part, run, pair = task // (RUNS * PAIRS), task // PAIRS % RUNS, task % PAIRS
        k, panels = run * DEPTH, at_most(PAIR, PANELS - pair * PAIR)
        rows = at_most(DEPTH, K - k)
        whole = (rows + SHORT - 1) // SHORT * SHORT
        start, stop = part * BLOCKS // PARTS, (part + 1) * BLOCKS // PARTS
        if start == stop:
            fill(products, ZERO, panels * PLANES * PRODUCTS)
        for block in range(start, stop):
            first = block * TILES
            tiles, later = at_most(TILES, N * TH * TW - first), first + TILES
            fetched = at_most(TILES, N * TH * TW - later) if fetches and block + 1 < stop else 0
            for panel in range(panels):
                c = (pair * PAIR + panel) * PANEL
                columns = at_most(PANEL, C - c)
                load(image, change, c, columns, first, tiles, TH, TW, inputs, number(PANEL), INPUTS)
                fresh = 0
                if panel == 0:
                    load_gradient(gradient, composition, k, rows, first, tiles, TH, TW, gradients, number(DEPTH),
                                  GRADIENTS)  # fmt: skip
                    fresh = rows
                ahead = image, c, columns, gradient, k, fresh, second, fresh if composed > 0 else 0
                _multiply_planes(whole, columns, tiles, gradients, GRADIENTS, inputs, INPUTS,
                                 at(products, panel * PLANES * PRODUCTS), PRODUCTS, block - start, ahead, fetched,
                                 later, TH, TW)  # fmt: skip
        for panel in range(panels):
            c = (pair * PAIR + panel) * PANEL
            columns = at_most(PANEL, C - c)
            for i in range(rows):
                for j in range(0, columns, LANES):
                    transform_weight_gradients(at(products, panel * PLANES * PRODUCTS + i * PANEL + j), PRODUCTS,
                                               columns - j, at(partial, (part * K + k + i) * 9 * C + c + j),
                                               C)  # fmt: skip


@kernel
def winograd_conv2d_backward_weight(  # type: ignore[no-untyped-def]
    x, dy, partial, inputs, gradients, products, padding, H, W, C, OH, OW, K, N, TH, TW, TILES, BLOCKS,
    PANELS, PAIRS, RUNS, PARTS, INPUTS, GRADIENTS, PRODUCTS, begin, end,
):  # fmt: skip
    """See `sum_tiles`."""
    image = at(x, 0), H, W, C, padding[0], padding[1]
    gradient = at(dy, 0), OH, OW, K, number(0), number(0)
    sum_tiles(load_inputs, image, 0, C, load_gradients, gradient, 0, 0, at(dy, 0), K, partial, at(inputs, 0),
              at(gradients, 0), at(products, 0), N, TH, TW, TILES, BLOCKS, PANELS, PAIRS, RUNS, PARTS, INPUTS,
              GRADIENTS, PRODUCTS, begin, end)  # fmt: skip


@inline
def add_parts(partial, dw, size, PARTS, begin, end):  # type: ignore[no-untyped-def]
    """dw = the partial sums added in order; a task adds BLOCK elements."""
    first, last = begin * BLOCK, at_most(end * BLOCK, size)
    total = at(dw, first)
    copy(at(partial, first), total, last - first)
    for part in range(1, PARTS):
        addend = at(partial, part * size + first)
        for i in range(last - first):
            total[i] += addend[i]


@kernel
def winograd_conv2d_backward_weight_reduce(partial, dw, K, C, PARTS, begin, end):  # type: ignore[no-untyped-def]
    """See `add_parts`."""
    add_parts(partial, dw, K * 9 * C, PARTS, begin, end)
