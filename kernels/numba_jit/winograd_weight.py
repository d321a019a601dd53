"""Winograd's weight gradient: each plane of the kernel is a product of transposed gradients and inputs of all tiles."""

from __future__ import annotations

from ..blocking import BLOCK, PANEL
from ..winograd import DEPTH, PLANES, SHORT
from .compiler import inline, kernel
from .exponential import ZERO
from .memory import at, at_most, copy, fill, number
from .simd import LANES
from .winograd import load_inputs, load_tiles
from .winograd_tiles import EARLY, multiply, place
from .winograd_transforms import transform_gradients, transform_weight_gradients


@inline
def load_gradients(image, k, count, first, tiles, TH, TW, gradients, ROW, GRADIENTS):  # type: ignore[no-untyped-def]
    """gradients[plane, tile, channel] = A dy A^T."""
    n, th, tw = place(first, TH, TW)
    load_tiles(transform_gradients, number(EARLY), image, k, count, n, th, tw, tiles, TH, TW, gradients, ROW,
               GRADIENTS)  # fmt: skip


@inline
def sum_tiles(  # type: ignore[no-untyped-def]
    load, image, C, load_gradient, gradient, K, partial, inputs, gradients, products, N, TH, TW, TILES, BLOCKS, PANELS,
    RUNS, PARTS, INPUTS, GRADIENTS, PRODUCTS, begin, end,
):  # fmt: skip
    """A task sums one part of the blocks for PANEL input and DEPTH output channels."""
    for task in range(begin, end):
        part, run, panel = task // (RUNS * PANELS), task // PANELS % RUNS, task % PANELS
        k, c = run * DEPTH, panel * PANEL
        rows, columns = at_most(DEPTH, K - k), at_most(PANEL, C - c)
        whole = (rows + SHORT - 1) // SHORT * SHORT
        start, stop = part * BLOCKS // PARTS, (part + 1) * BLOCKS // PARTS
        if start == stop:
            fill(products, ZERO, PLANES * PRODUCTS)
        for block in range(start, stop):
            first = block * TILES
            tiles = at_most(TILES, N * TH * TW - first)
            load(image, c, columns, first, tiles, TH, TW, inputs, number(PANEL), INPUTS)
            load_gradient(gradient, k, rows, first, tiles, TH, TW, gradients, number(DEPTH), GRADIENTS)
            for plane in range(PLANES):
                multiply(0, whole, columns, tiles, at(gradients, plane * GRADIENTS), 1, DEPTH,
                         at(inputs, plane * INPUTS), at(products, plane * PRODUCTS), block - start)  # fmt: skip
        for i in range(rows):
            for j in range(0, columns, LANES):
                transform_weight_gradients(at(products, i * PANEL + j), PRODUCTS, columns - j,
                                           at(partial, (part * K + k + i) * 9 * C + c + j), C)  # fmt: skip


@kernel
def winograd_conv2d_backward_weight(  # type: ignore[no-untyped-def]
    x, dy, partial, inputs, gradients, products, padding, H, W, C, OH, OW, K, N, TH, TW, TILES, BLOCKS,
    PANELS, RUNS, PARTS, INPUTS, GRADIENTS, PRODUCTS, begin, end,
):  # fmt: skip
    """See `sum_tiles`."""
    image = at(x, 0), H, W, C, padding[0], padding[1]
    gradient = at(dy, 0), OH, OW, K, number(0), number(0)
    sum_tiles(load_inputs, image, C, load_gradients, gradient, K, partial, at(inputs, 0), at(gradients, 0),
              at(products, 0), N, TH, TW, TILES, BLOCKS, PANELS, RUNS, PARTS, INPUTS, GRADIENTS, PRODUCTS,
              begin, end)  # fmt: skip


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
