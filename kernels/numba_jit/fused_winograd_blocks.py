"""What the fused kernels put in the places of `load_inputs`, `load_gradients` and `store_panel`.

What changes on load goes through a strip, the pixels of up to STRIP neighbouring tiles; what is added up on store is
read again from the tiles that have just been written. Task sums are a block's; each panel adds its own columns.
"""

from __future__ import annotations

from ..blocking import PANEL
from ..fused import NO_ACTIVATION
from ..winograd import INPUT, OUTPUT, STRIP
from .compiler import inline
from .exponential import ONE, ZERO
from .fused_winograd_tiles import add_moments, change_gradients, change_pixels, mask_gradients
from .memory import at, at_most, fill, floats, number
from .winograd import load_tiles, padded, store_tiles
from .winograd_tiles import EARLY, further, pixel, place
from .winograd_transforms import transform_gradients, transform_inputs

SUMS = 2 * PANEL
SUMMED = 16  # tiles, of 16 pixels each, that float32 numbers sum before they are added to doubles


@inline
def _activate(change, start, c, ahead, target, pixels, step, count, pitch):  # type: ignore[no-untyped-def]
    x, P, scale, shift, activation = change
    change_pixels(at(x, start), ahead, target, pixels, step, count, pitch, P, at(scale, c), at(shift, c), activation)


@inline
def _compose(change, start, c, ahead, target, pixels, step, count, pitch):  # type: ignore[no-untyped-def]
    dy, z, slope, factor, offset = change
    change_gradients(at(dy, start), at(z, start), ahead, target, pixels, step, count, pitch, at(slope, c),
                     at(factor, c), at(offset, c))  # fmt: skip


@inline
def _stage(run, change, image, strip, n, row, column, rows, columns, c, count, pitch, ahead):  # type: ignore[no-untyped-def]
    """strip[rows, columns] = the changed pixels from (row, column) of image n on, zeros outside of it."""
    _, high, wide, channels, _, _ = image
    first = at_most(columns, -column if column < 0 else 0)
    stop = at_most(columns, wide - column)
    stop = stop if stop > first else first
    for i in range(rows):
        target = at(strip, i * columns * pitch)
        if 0 <= row + i < high:
            start = ((n * high + row + i) * wide + column + first) * channels + c
            fill(target, ZERO, first * pitch)
            run(change, start, c, ahead, at(target, first * pitch), stop - first, channels, count, pitch)
            fill(at(target, stop * pitch), ZERO, (columns - stop) * pitch)
        else:
            fill(target, ZERO, columns * pitch)


@inline
def _load_changed(  # type: ignore[no-untyped-def]
    run, change, changes, transform, size, image, strip, c, count, first, tiles, TH, TW, planes, ROW, PLANE
):
    """As `load_tiles`, of tiles of size x size pixels that `run` changes; without `changes` from where they stand.

    A strip is an image of one row of tiles. Both go through one call: transforms are long to compile.
    """
    _, high, wide, channels, top, left = image
    n, th, tw = place(first, TH, TW)
    i = 0
    while i < tiles:
        source, early, start, length, down, across = image, EARLY, c, tiles, TH, TW
        source_n, source_th, source_tw = n, th, tw
        if changes:
            length = at_most(at_most(STRIP, tiles - i), TW - tw)
            columns = (length - 1) * OUTPUT + size
            later_n, later_th, later_tw = further(n, th, tw, length, TH, TW)
            ahead = channels * (pixel(later_n, later_th, later_tw, high, wide) - pixel(n, th, tw, high, wide))
            _stage(run, change, image, strip, n, th * OUTPUT - top, tw * OUTPUT - left, size, columns, c, count, ROW,
                   ahead)  # fmt: skip
            source, early, start = (strip, size, columns, ROW, number(0), number(0)), 0, 0
            source_n, source_th, source_tw, down, across = 0, 0, 0, 1, length
            n, th, tw = later_n, later_th, later_tw
        load_tiles(transform, early, source, start, count, source_n, source_th, source_tw, length, down, across,
                   at(planes, i * ROW), ROW, PLANE)  # fmt: skip
        i += length


@inline
def load_activated(fused, c, count, first, tiles, TH, TW, inputs, ROW, INPUTS):  # type: ignore[no-untyped-def]
    """As `load_inputs`, of activation(x * scale + shift)."""
    image, strip, P, scale, shift, activation = fused
    _load_changed(_activate, (image[0], P, scale, shift, activation), P > 0 or activation != NO_ACTIVATION,
                  transform_inputs, INPUT, image, strip, c, count, first, tiles, TH, TW, inputs, ROW,
                  INPUTS)  # fmt: skip


@inline
def load_composed(fused, c, count, first, tiles, TH, TW, inputs, ROW, INPUTS):  # type: ignore[no-untyped-def]
    """As `load_inputs`, of the composed gradient."""
    image, strip, G, z, slope, factor, offset = fused
    _load_changed(_compose, (image[0], z, slope, factor, offset), G > 0, transform_inputs, INPUT, image, strip, c,
                  count, first, tiles, TH, TW, inputs, ROW, INPUTS)  # fmt: skip


@inline
def load_composed_gradients(fused, k, count, first, tiles, TH, TW, gradients, ROW, GRADIENTS):  # type: ignore[no-untyped-def]
    """As `load_gradients`, of the composed gradient."""
    image, strip, G, z, slope, factor, offset = fused
    _load_changed(_compose, (image[0], z, slope, factor, offset), G > 0, transform_gradients, OUTPUT, image, strip, k,
                  count, first, tiles, TH, TW, gradients, ROW, GRADIENTS)  # fmt: skip


@inline
def _add_tile(given, start, down, right, row, high, column, wide, ahead, columns):  # type: ignore[no-untyped-def]
    y, E, middle, totals = given
    if E > 0:
        add_moments(at(y, start), down, right, row, high, column, wide, columns, middle, totals)


@inline
def _mask_tile(given, start, down, right, row, high, column, wide, ahead, columns):  # type: ignore[no-untyped-def]
    dx, x, scale, shift, activation, E, middle, totals = given
    if E > 0 or activation != NO_ACTIVATION:
        mask_gradients(at(dx, start), at(x, start), down, right, row, high, column, wide, ahead, columns, scale, shift,
                       activation, middle, totals)  # fmt: skip


@inline
def _flush(totals, task_sums, columns, E):  # type: ignore[no-untyped-def]
    """Move `columns` of the (2, PANEL) floats of `totals` to the (2, E) doubles of `task_sums`."""
    for i in range(columns):
        task_sums[i] += totals[i]
        task_sums[E + i] += totals[PANEL + i]
    fill(totals, ZERO, SUMS)


@inline
def _store_and_add(  # type: ignore[no-untyped-def]
    finish, given, totals, result, E, task_sums, products, PRODUCTS, block, panel, first, tiles, TH, TW
):
    """`store_tiles` with the sums that `finish` adds to `totals`."""
    columns = at_most(PANEL, result[3] - panel * PANEL)
    sums = at(task_sums, block * 2 * E + panel * PANEL)
    fill(totals, ZERO, SUMS)
    if E > 0:
        fill(sums, 0.0, columns)
        fill(at(sums, E), 0.0, columns)
    for i in range(0, tiles, SUMMED):
        store_tiles(finish, given, result, at(products, i * PANEL), PRODUCTS, panel, first + i,
                    at_most(SUMMED, tiles - i), TH, TW)  # fmt: skip
        if E > 0:
            _flush(totals, sums, columns, E)


@inline
def store_moments(fused, products, PRODUCTS, block, panel, first, tiles, TH, TW):  # type: ignore[no-untyped-def]
    """As `store_panel`, with the sums of y - centre and of its square."""
    result, E, centre, task_sums = fused
    columns = at_most(PANEL, result[3] - panel * PANEL)
    middle, totals = floats(PANEL), floats(SUMS)
    padded(at(centre, panel * PANEL), middle, ZERO, columns, E)
    _store_and_add(_add_tile, (result[0], E, middle, totals), totals, result, E, task_sums, products, PRODUCTS, block,
                   panel, first, tiles, TH, TW)  # fmt: skip


@inline
def store_masked(fused, products, PRODUCTS, block, panel, first, tiles, TH, TW):  # type: ignore[no-untyped-def]
    """As `store_panel`, masked by the derivative at x * scale + shift, with the sums of dx and dx * (x - centre)."""
    result, x, P, scale, shift, activation, E, centre, task_sums = fused
    columns = at_most(PANEL, result[3] - panel * PANEL)
    middle, totals, scales, shifts = floats(PANEL), floats(SUMS), floats(PANEL), floats(PANEL)
    padded(at(centre, panel * PANEL), middle, ZERO, columns, E)
    padded(at(scale, panel * PANEL), scales, ONE, columns, P)
    padded(at(shift, panel * PANEL), shifts, ZERO, columns, P)
    given = result[0], x, scales, shifts, activation, E, middle, totals
    _store_and_add(_mask_tile, given, totals, result, E, task_sums, products, PRODUCTS, block, panel, first, tiles, TH,
                   TW)  # fmt: skip
