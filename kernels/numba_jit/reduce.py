"""Sums and means over the middle axis of (A, R, B), and of squares: float32 in short chunks, chunks in double.

The parts that tasks add up are added in order.

Columns are added as `columns.py` says; where B is 1, the elements of a row are added side by side in vectors.
"""

from __future__ import annotations

import numpy as np

from ..blocking import BLOCK
from .columns import GROUP, WIDTH, add_rows, chunk_rows, fetch, fold, side_by_side, sums_of_group
from .compiler import inline, kernel
from .exponential import ZERO
from .memory import at, at_most, doubles, fill
from .vector import AHEAD, LANES, full, load, load_part, prefetch, store, store_part, total

CHUNK = 16384  # elements of a chunk: 64 KB
SQUARED = 64 * GROUP  # elements of which squares are added in float32


@inline
def _sum_elements(source, count):  # type: ignore[no-untyped-def]
    """The sum of `count` elements side by side."""
    result = 0.0
    for start in range(0, count, 64 * GROUP):
        here, part = at_most(count - start, 64 * GROUP), at(source, start)
        rows = here // GROUP
        sums = sums_of_group(part, GROUP, rows, GROUP, 0, 0, AHEAD, GROUP)
        joined = (sums[0] + sums[1]) + (sums[2] + sums[3])
        for i in range(rows * GROUP, here, LANES):
            prefetch(at(part, i + AHEAD))
            joined = joined + load_part(at(part, i), here - i, ZERO)
        result += total(joined)
    return result


@inline
def _sum_columns(source, rows, B, columns, target):  # type: ignore[no-untyped-def]
    """Write to `target` the sums of up to `WIDTH` columns."""
    lanes = doubles(WIDTH)
    wide = side_by_side(columns, B, rows, GROUP)
    step = chunk_rows(CHUNK, wide * columns) * wide
    # Where one chunk is all, the next columns are read next.
    ahead = step * B if rows > step else WIDTH
    fill(lanes, 0.0, WIDTH)
    for row in range(0, rows, step):
        add_rows(at(source, row * B), B, at_most(rows - row, step), columns, wide, ahead, GROUP, lanes)
    fold(lanes, columns, wide, target)


@kernel
def sum_forward(x, partial, A, R, B, OUTER, ROWS, PARTS, begin, end):  # type: ignore[no-untyped-def]
    """Task t sums part t % PARTS of the rows of outer block t // PARTS."""
    for task in range(begin, end):
        part, outer = task % PARTS, task // PARTS * OUTER
        rows = at_most(R - part * ROWS, ROWS)
        for a in range(outer, at_most(outer + OUTER, A)):
            source, target = at(x, (a * R + part * ROWS) * B), at(partial, (part * A + a) * B)
            if B == 1:
                target[0] = _sum_elements(source, rows)
            else:
                for b in range(0, B, WIDTH):
                    _sum_columns(at(source, b), rows, B, at_most(B - b, WIDTH), at(target, b))


mean_forward = sum_forward


@inline
def _add_parts(partial, y, size, parts, divisor, begin, end):  # type: ignore[no-untyped-def]
    sums = doubles(WIDTH)
    stop = at_most(end * BLOCK, size)
    for start in range(begin * BLOCK, stop, WIDTH):
        count = at_most(stop - start, WIDTH)
        fill(sums, 0.0, count)
        for part in range(parts):
            source = at(partial, part * size + start)
            for j in range(count):
                sums[j] += source[j]
        target = at(y, start)
        for j in range(count):
            target[j] = np.float32(sums[j] / divisor)


@kernel
def sum_forward_reduce(partial, y, A, B, PARTS, begin, end):  # type: ignore[no-untyped-def]
    """Adds the parts in order; task i handles block i of BLOCK results."""
    _add_parts(partial, y, A * B, PARTS, 1.0, begin, end)


@kernel
def mean_forward_reduce(partial, y, A, R, B, PARTS, begin, end):  # type: ignore[no-untyped-def]
    """Adds the parts in order and divides in double; task i handles block i of BLOCK results."""
    _add_parts(partial, y, A * B, PARTS, np.float64(R), begin, end)


@inline
def _repeat(value, target, count):  # type: ignore[no-untyped-def]
    """Set `count` elements to a vector's."""
    whole = count - count % LANES
    for i in range(0, whole, LANES):
        store(at(target, i), value)
    store_part(at(target, whole), value, count - whole)


@inline
def _scale_row(source, factor, target, count):  # type: ignore[no-untyped-def]
    whole = count - count % LANES
    for i in range(0, whole, LANES):
        store(at(target, i), load(at(source, i)) * factor)
    store_part(at(target, whole), load_part(at(source, whole), count - whole, ZERO) * factor, count - whole)


@inline
def _spread(dy, dx, A, R, B, ROWS, divisor, begin, end):  # type: ignore[no-untyped-def]
    factor = np.float32(1.0 / divisor)
    stop = at_most(end * ROWS, A * R)
    row = begin * ROWS
    a, row_of_block = row // R, row % R
    while row < stop:
        rows = at_most(stop - row, R - row_of_block)
        if B == 1:
            _repeat(full(at(dy, a)[0] * factor), at(dx, row), rows)
        else:
            for i in range(row, row + rows):
                _scale_row(at(dy, a * B), factor, at(dx, i * B), B)
        row, a, row_of_block = row + rows, a + 1, 0


@kernel
def sum_backward(dy, dx, A, R, B, ROWS, begin, end):  # type: ignore[no-untyped-def]
    """Copies; task i writes rows [i * ROWS, (i + 1) * ROWS) of the A * R rows of dx."""
    _spread(dy, dx, A, R, B, ROWS, 1, begin, end)


@kernel
def mean_backward(dy, dx, A, R, B, ROWS, begin, end):  # type: ignore[no-untyped-def]
    """Multiplies with the inverse of the count; task i writes rows [i * ROWS, (i + 1) * ROWS) of dx."""
    _spread(dy, dx, A, R, B, ROWS, R, begin, end)


# ---------------------------------------------------------------- squares


@inline
def _add_square(sums, source):  # type: ignore[no-untyped-def]
    value = load(source)
    return sums + value * value


@inline
def _sum_of_squares(source, count):  # type: ignore[no-untyped-def]
    """Of `count` elements: a lane adds up to 256 of them in float32."""
    result = 0.0
    for start in range(0, count, SQUARED):
        here, part = at_most(count - start, SQUARED), at(source, start)
        whole = here - here % GROUP
        a = b = c = d = full(ZERO)
        for i in range(0, whole, GROUP):
            fetch(at(part, i), AHEAD, 0, GROUP)
            a, b = _add_square(a, at(part, i)), _add_square(b, at(part, i + LANES))
            c, d = _add_square(c, at(part, i + 2 * LANES)), _add_square(d, at(part, i + 3 * LANES))
        joined = (a + b) + (c + d)
        for i in range(whole, here, LANES):
            rest = load_part(at(part, i), here - i, ZERO)
            joined = joined + rest * rest
        result += total(joined)
    return result


@kernel
def sum_squares(x, partial, SIZE, begin, end):  # type: ignore[no-untyped-def]
    """Task i adds block i of BLOCK elements."""
    for task in range(begin, end):
        partial[task] = _sum_of_squares(at(x, task * BLOCK), at_most(SIZE - task * BLOCK, BLOCK))


@kernel
def sum_squares_reduce(partial, y, PARTS, begin, end):  # type: ignore[no-untyped-def]
    """One task adds the blocks in order."""
    result = 0.0
    for part in range(PARTS):
        result += partial[part]
    y[0] = result
