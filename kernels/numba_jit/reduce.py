"""Sums and means over the middle axis of (A, R, B): float32 in short chunks, chunks in double, parts in order.

A run of whole rows of length B is read as fewer, wider rows (`WIDTH` elements where B is smaller), so that the
vectorised loop is long for every B, 1 included; the columns that mean the same element are added at a chunk's end.
"""

from __future__ import annotations

import numpy as np

from ..ops import BLOCK
from .compiler import inline, kernel
from .exponential import ZERO, at, at_most, copy, doubles, fill, floats

WIDTH = 256  # elements of a wide row; also the most columns handled at a time
CHUNK = 64  # wide rows that are added in float32; at most 256 may be


@inline
def add_rows(source, stride, rows, width, total):  # type: ignore[no-untyped-def]
    """Add `rows` rows of `width` elements, `stride` apart, to `total`."""
    for row in range(rows):
        line = row * stride
        for j in range(width):
            total[j] += source[line + j]


@inline
def _sum_columns(source, rows, stride, width, lanes, sums):  # type: ignore[no-untyped-def]
    """Set `sums` to the sums of `width` <= WIDTH columns over `rows` rows; `lanes` is scratch of WIDTH float32."""
    # Where the columns are all there are, `wide` rows lie side by side and are added as one.
    wide = WIDTH // width if stride == width else 1
    step = CHUNK * wide
    fill(sums, 0.0, width)
    for first in range(0, rows, step):
        count = at_most(rows - first, step)
        fill(lanes, ZERO, wide * width)
        add_rows(source + first * stride, wide * stride, count // wide, wide * width, lanes)
        add_rows(source + (count - count % wide + first) * stride, stride, 1, (count % wide) * width, lanes)
        for side in range(wide):
            for j in range(width):
                sums[j] += lanes[side * width + j]
