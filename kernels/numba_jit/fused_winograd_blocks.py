"""What the fused kernels put in the places of `load_inputs`, `load_gradients` and `store_panel`.

What changes on load goes through a strip, the pixels of up to STRIP neighbouring tiles, which share two columns: 36
vectors of a tile do not fit the registers. Masks and sums are made of the registers that are stored. Task sums are a
block's; each panel adds its own columns.
"""

from __future__ import annotations

from ..blocking import PANEL
from ..fused import NO_ACTIVATION
from ..winograd import INPUT, OUTPUT
from .compiler import inline
from .exponential import ONE, ZERO
from .fused_winograd_tiles import (
    stage_gradients,
    stage_pixels,
    transform_outputs_and_add,
    transform_outputs_and_mask,
)
from .memory import at, at_most, fill, floats
from .simd import LANES
from .winograd import load_inputs, padded, store_panel, store_tiles
from .winograd_tiles import further, pixel, place
from .winograd_transforms import transform_dense_gradients, transform_dense_inputs
from .winograd_weight import load_gradients

STRIP = 4
STRIP_SIZE = INPUT * (STRIP * OUTPUT + INPUT - OUTPUT) * LANES
SUMS = 2 * PANEL
SUMMED = 16  # tiles, of 16 pixels each, that float32 numbers sum before they are added to doubles


@inline
def _activate(change, start, c, ahead, target, pixels, step, channels):  # type: ignore[no-untyped-def]
    x, P, scale, shift, activation = change
    stage_pixels(at(x, start), ahead, target, pixels, step, channels, P, at(scale, c), at(shift, c), activation)


@inline
def _compose(change, start, c, ahead, target, pixels, step, channels):  # type: ignore[no-untyped-def]
    dy, z, slope, factor, offset = change
    stage_gradients(at(dy, start), at(z, start), ahead, target, pixels, step, channels, at(slope, c), at(factor, c),
                    at(offset, c))  # fmt: skip


@inline
def _stage(run, change, image, strip, n, row, column, rows, columns, c, channels, ahead):  # type: ignore[no-untyped-def]
    """strip[rows, columns] = one vector of the changed pixels from (row, column) of image n on, zeros outside of it."""
    _, high, wide, all_channels, _, _ = image
    first = at_most(columns, -column if column < 0 else 0)
    stop = at_most(columns, wide - column)
    stop = stop if stop > first else first
    for i in range(rows):
        target = at(strip, i * columns * LANES)
        if 0 <= row + i < high:
            start = ((n * high + row + i) * wide + column + first) * all_channels + c
            fill(target, ZERO, first * LANES)
            run(change, start, c, ahead, at(target, first * LANES), stop - first, all_channels, channels)
            fill(at(target, stop * LANES), ZERO, (columns - stop) * LANES)
        else:
            fill(target, ZERO, columns * LANES)


@inline
def _load_strips(  # type: ignore[no-untyped-def]
    run, change, transform, size, image, c, count, first, tiles, TH, TW, planes, ROW, PLANE
):
    """As `load_tiles`, of tiles of size x size pixels that `run` changes, a strip and a vector of channels at once."""
    _, high, wide, channels, top, left = image
    strip = floats(STRIP_SIZE)
    n, th, tw = place(first, TH, TW)
    i = 0
    while i < tiles:
        length = at_most(at_most(STRIP, tiles - i), TW - tw)
        columns = (length - 1) * OUTPUT + size
        later_n, later_th, later_tw = further(n, th, tw, length, TH, TW)
        ahead = channels * (pixel(later_n, later_th, later_tw, high, wide) - pixel(n, th, tw, high, wide))
        for j in range(0, count, LANES):
            _stage(run, change, image, strip, n, th * OUTPUT - top, tw * OUTPUT - left, size, columns, c + j, count - j,
                   ahead)  # fmt: skip
            for t in range(length):
                transform(at(strip, t * OUTPUT * LANES), columns * LANES, at(planes, (i + t) * ROW + j), PLANE)
        n, th, tw = later_n, later_th, later_tw
        i += length


@inline
def load_activated(image, change, c, count, first, tiles, TH, TW, inputs, ROW, INPUTS):  # type: ignore[no-untyped-def]
    """As `load_inputs`, of activation(x * scale + shift)."""
    P, scale, shift, activation = change
    if P > 0 or activation != NO_ACTIVATION:
        _load_strips(_activate, (image[0], P, scale, shift, activation), transform_dense_inputs, INPUT, image, c, count,
                     first, tiles, TH, TW, inputs, ROW, INPUTS)  # fmt: skip
    else:
        load_inputs(image, 0, c, count, first, tiles, TH, TW, inputs, ROW, INPUTS)


@inline
def _load_composed(  # type: ignore[no-untyped-def]
    load, transform, size, image, change, c, count, first, tiles, TH, TW, planes, ROW, PLANE
):
    """As `load`, of tiles of size x size pixels of the composed gradient, which `transform` makes planes of."""
    G, z, slope, factor, offset = change
    if G > 0:
        _load_strips(_compose, (image[0], z, slope, factor, offset), transform, size, image, c, count, first, tiles, TH,
                     TW, planes, ROW, PLANE)  # fmt: skip
    else:
        load(image, 0, c, count, first, tiles, TH, TW, planes, ROW, PLANE)


@inline
def load_composed(image, change, c, count, first, tiles, TH, TW, inputs, ROW, INPUTS):  # type: ignore[no-untyped-def]
    """As `load_inputs`, of the composed gradient."""
    _load_composed(load_inputs, transform_dense_inputs, INPUT, image, change, c, count, first, tiles, TH, TW, inputs,
                   ROW, INPUTS)  # fmt: skip


@inline
def load_composed_gradients(image, change, k, count, first, tiles, TH, TW, gradients, ROW, GRADIENTS):  # type: ignore[no-untyped-def]
    """As `load_gradients`, of the composed gradient."""
    _load_composed(load_gradients, transform_dense_gradients, OUTPUT, image, change, k, count, first, tiles, TH, TW,
                   gradients, ROW, GRADIENTS)  # fmt: skip


@inline
def _to_outputs_and_add(given, start, source, square, ahead):  # type: ignore[no-untyped-def]
    middle, totals = given
    transform_outputs_and_add(*source, *square, ahead, middle, totals)


@inline
def _to_outputs_and_mask(given, start, source, square, ahead):  # type: ignore[no-untyped-def]
    x, scale, shift, activation, middle, totals = given
    transform_outputs_and_mask(*source, *square, ahead, at(x, start), scale, shift, activation, middle, totals)


@inline
def _flush(totals, task_sums, columns, E):  # type: ignore[no-untyped-def]
    """Move `columns` of the (2, PANEL) floats of `totals` to the (2, E) doubles of `task_sums`."""
    for i in range(columns):
        task_sums[i] += totals[i]
        task_sums[E + i] += totals[PANEL + i]
    fill(totals, ZERO, SUMS)


@inline
def _store_and_add(  # type: ignore[no-untyped-def]
    transform, given, totals, result, E, task_sums, products, PRODUCTS, block, panel, first, tiles, TH, TW
):
    """`store_tiles` with the sums that `transform` adds to `totals`."""
    columns = at_most(PANEL, result[3] - panel * PANEL)
    sums = at(task_sums, block * 2 * E + panel * PANEL)
    fill(totals, ZERO, SUMS)
    if E > 0:
        fill(sums, 0.0, columns)
        fill(at(sums, E), 0.0, columns)
    for i in range(0, tiles, SUMMED):
        store_tiles(transform, given, result, at(products, i * PANEL), PRODUCTS, panel, first + i,
                    at_most(SUMMED, tiles - i), TH, TW)  # fmt: skip
        if E > 0:
            _flush(totals, sums, columns, E)


@inline
def store_moments(fused, products, PRODUCTS, block, panel, first, tiles, TH, TW):  # type: ignore[no-untyped-def]
    """As `store_panel`, with the sums of y - centre and of its square."""
    result, E, centre, task_sums = fused
    if E > 0:
        columns = at_most(PANEL, result[3] - panel * PANEL)
        middle, totals = floats(PANEL), floats(SUMS)
        padded(at(centre, panel * PANEL), middle, ZERO, columns, E)
        _store_and_add(_to_outputs_and_add, (middle, totals), totals, result, E, task_sums, products, PRODUCTS, block,
                       panel, first, tiles, TH, TW)  # fmt: skip
    else:
        store_panel(result, products, PRODUCTS, block, panel, first, tiles, TH, TW)


@inline
def store_masked(fused, products, PRODUCTS, block, panel, first, tiles, TH, TW):  # type: ignore[no-untyped-def]
    """As `store_panel`, masked by the derivative at x * scale + shift, with the sums of dx and dx * (x - centre)."""
    result, x, P, scale, shift, activation, E, centre, task_sums = fused
    if E > 0 or activation != NO_ACTIVATION:
        columns = at_most(PANEL, result[3] - panel * PANEL)
        middle, totals, scales, shifts = floats(PANEL), floats(SUMS), floats(PANEL), floats(PANEL)
        padded(at(centre, panel * PANEL), middle, ZERO, columns, E)
        padded(at(scale, panel * PANEL), scales, ONE, columns, P)
        padded(at(shift, panel * PANEL), shifts, ZERO, columns, P)
        given = x, scales, shifts, activation, middle, totals
        _store_and_add(_to_outputs_and_mask, given, totals, result, E, task_sums, products, PRODUCTS, block, panel,
                       first, tiles, TH, TW)  # fmt: skip
    else:
        store_panel(result, products, PRODUCTS, block, panel, first, tiles, TH, TW)
