"""The loop of elementwise kernels: task i handles block i of BLOCK elements.

A vector is read before its place is written, so an output may be an input's memory.
"""

from __future__ import annotations

from ..blocking import BLOCK
from .compiler import inline
from .exponential import ZERO
from .memory import at, at_most, streams
from .simd import LINE
from .vector import AHEAD, LANES, load, load_part, prefetch, put, store_part


@inline
def map_one(function, x, y, parameters, SIZE, begin, end):  # type: ignore[no-untyped-def]
    """y = function(x, *parameters), where `function` is an `inline` one of vectors."""
    stop = at_most(end * BLOCK, SIZE)
    whole, around = stop - stop % LINE, streams(y, SIZE, LINE)
    for line in range(begin * BLOCK, whole, LINE):
        prefetch(at(x, line + AHEAD))
        for i in range(line, line + LINE, LANES):
            put(at(y, i), function(load(at(x, i)), *parameters), around)
    for i in range(whole, stop, LANES):
        store_part(at(y, i), function(load_part(at(x, i), stop - i, ZERO), *parameters), stop - i)


@inline
def map_two(function, a, b, y, parameters, SIZE, begin, end):  # type: ignore[no-untyped-def]
    """y = function(a, b, *parameters), where `function` is an `inline` one of vectors."""
    stop = at_most(end * BLOCK, SIZE)
    whole, around = stop - stop % LINE, streams(y, SIZE, LINE)
    for line in range(begin * BLOCK, whole, LINE):
        prefetch(at(a, line + AHEAD))
        prefetch(at(b, line + AHEAD))
        for i in range(line, line + LINE, LANES):
            put(at(y, i), function(load(at(a, i)), load(at(b, i)), *parameters), around)
    for i in range(whole, stop, LANES):
        first, second = load_part(at(a, i), stop - i, ZERO), load_part(at(b, i), stop - i, ZERO)
        store_part(at(y, i), function(first, second, *parameters), stop - i)
