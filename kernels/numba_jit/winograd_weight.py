"""Winograd's weight gradient: each plane of the kernel is a product of transposed gradients and inputs of all tiles."""

from __future__ import annotations

from ..blocking import BLOCK, PANEL
from ..winograd import DEPTH, OUTPUT, PLANES, SHORT
from .compiler import inline, kernel
from .exponential import ZERO
from .memory import at, at_most, copy, fill
from .simd import LANES
from .winograd_tiles import EARLY, following, multiply, pixel, place
from .winograd_transforms import transform_gradients, transform_inputs, transform_weight_gradients


@inline
def _load(  # type: ignore[no-untyped-def]
    x, dy, H, W, C, OH, OW, K, top, left, c, k, first, tiles, TH, TW, inputs, INPUTS, gradients, GRADIENTS
):
    """Transform PANEL channels of x from c on and DEPTH channels of dy from k on, of `tiles` tiles."""
    columns, rows = at_most(PANEL, C - c), at_most(DEPTH, K - k)
    n, th, tw = place(first, TH, TW)
    later_n, later_th, later_tw = place(first + EARLY, TH, TW)
    for i in range(tiles):
        row, column = th * OUTPUT, tw * OUTPUT
        start = pixel(n, th, tw, H, W)
        ahead = pixel(later_n, later_th, later_tw, H, W) - start
        transform_inputs(at(x, (start - top * W - left) * C + c), W * C, C, row - top, H, column - left, W, columns,
                         ahead * C, at(inputs, i * PANEL), INPUTS)  # fmt: skip
        start = pixel(n, th, tw, OH, OW)
        ahead = pixel(later_n, later_th, later_tw, OH, OW) - start
        transform_gradients(at(dy, start * K + k), OW * K, K, row, OH, column, OW, rows, ahead * K,
                            at(gradients, i * DEPTH), GRADIENTS)  # fmt: skip
        n, th, tw = following(n, th, tw, TH, TW)
        later_n, later_th, later_tw = following(later_n, later_th, later_tw, TH, TW)


@kernel
def winograd_conv2d_backward_weight(  # type: ignore[no-untyped-def]
    x, dy, partial, inputs, gradients, products, padding, H, W, C, OH, OW, K, N, TH, TW, TILES, BLOCKS,
    PANELS, RUNS, PARTS, INPUTS, GRADIENTS, PRODUCTS, begin, end,
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
            _load(x, dy, H, W, C, OH, OW, K, padding[0], padding[1], c, k, first, tiles, TH, TW, inputs, INPUTS,
                  gradients, GRADIENTS)  # fmt: skip
            for plane in range(PLANES):
                multiply(0, whole, columns, tiles, at(gradients, plane * GRADIENTS), 1, DEPTH,
                         at(inputs, plane * INPUTS), at(products, plane * PRODUCTS), block - start)  # fmt: skip
        for i in range(rows):
            for j in range(0, columns, LANES):
                transform_weight_gradients(at(products, i * PANEL + j), PRODUCTS, columns - j,
                                           at(partial, (part * K + k + i) * 9 * C + c + j), C)  # fmt: skip


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
