"""Sums and means over the middle axis of (A, R, B): float32 in short chunks, chunks in double, parts in order.

A run of whole rows of length B is read as fewer, wider rows (up to `WIDTH` elements where B is smaller), so that the
vectorised loop is long for every B, 1 included; the columns that mean the same element are added at a chunk's end.
"""

from __future__ import annotations

import numpy as np

from ..ops import BLOCK
from .compiler import inline, kernel
from .exponential import ZERO
from .memory import at, at_most, copy, doubles, fill, floats

WIDTH = 256  # elements of a wide row; also the most columns handled at a time
CHUNK = 64  # wide rows that are added in float32; at most 256 may be


@inline
def side_by_side(columns, stride, rows):  # type: ignore[no-untyped-def]
    """How many rows are read as one wide row: one where only part of a row's columns is handled."""
    return at_most(WIDTH // columns, rows) if columns == stride else 1


@inline
def fold(lanes, columns, wide, sums):  # type: ignore[no-untyped-def]
    """Add the `wide` float32 results of every column to the double `sums`."""
    for side in range(wide):
        first = side * columns
        for j in range(columns):
            sums[j] += lanes[first + j]


@inline
def add_rows(source, stride, rows, columns, wide, lanes):  # type: ignore[no-untyped-def]
    """Set `lanes` to the sums of `wide` * `columns` wide columns over `rows` rows; the last wide row may be shorter."""
    fill(lanes, ZERO, wide * columns)
    for row in range(0, rows, wide):
        line = at(source, row * stride)
        for j in range(at_most(rows - row, wide) * columns):
            lanes[j] += line[j]


@kernel
def sum_forward(x, partial, A, R, B, OUTER, ROWS, PARTS, begin, end):  # type: ignore[no-untyped-def]
    """Task t sums part t % PARTS of the rows of outer block t // PARTS."""
    lanes, sums = floats(WIDTH), doubles(WIDTH)
    for task in range(begin, end):
        part, outer = task % PARTS, task // PARTS * OUTER
        rows = at_most(R - part * ROWS, ROWS)
        for a in range(outer, at_most(outer + OUTER, A)):
            for b in range(0, B, WIDTH):
                columns = at_most(B - b, WIDTH)
                wide = side_by_side(columns, B, rows)
                step = CHUNK * wide
                fill(sums, 0.0, columns)
                for row in range(0, rows, step):
                    source = at(x, (a * R + part * ROWS + row) * B + b)
                    add_rows(source, B, at_most(rows - row, step), columns, wide, lanes)
                    fold(lanes, columns, wide, sums)
                copy(sums, at(partial, (part * A + a) * B + b), columns)


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
def _spread(dy, dx, A, R, B, ROWS, divisor, begin, end):  # type: ignore[no-untyped-def]
    tile = floats(WIDTH)
    single = np.float32(divisor)
    stop = at_most(end * ROWS, A * R)
    row = begin * ROWS
    while row < stop:
        a = row // R
        rows = at_most(stop, (a + 1) * R) - row
        if B == 1:
            fill(at(dx, row), at(dy, a)[0] / single, rows)
        else:
            for b in range(0, B, WIDTH):
                columns = at_most(B - b, WIDTH)
                source = at(dy, a * B + b)
                for j in range(columns):
                    tile[j] = source[j] / single
                for i in range(row, row + rows):
                    copy(tile, at(dx, i * B + b), columns)
        row += rows


@kernel
def sum_backward(dy, dx, A, R, B, ROWS, begin, end):  # type: ignore[no-untyped-def]
    """Copies; task i writes rows [i * ROWS, (i + 1) * ROWS) of the A * R rows of dx."""
    _spread(dy, dx, A, R, B, ROWS, 1.0, begin, end)


@kernel
def mean_backward(dy, dx, A, R, B, ROWS, begin, end):  # type: ignore[no-untyped-def]
    """Divides once for an outer index, then copies; task i writes rows [i * ROWS, (i + 1) * ROWS) of dx."""
    _spread(dy, dx, A, R, B, ROWS, R, begin, end)
