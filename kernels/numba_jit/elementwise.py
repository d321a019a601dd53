"""The loop of elementwise kernels: task i handles block i of BLOCK elements.

Results go through a tile on the stack: so an output may be an input's memory, and LLVM needs no check that it is not.
"""

from __future__ import annotations

from ..ops import BLOCK
from .compiler import inline
from .memory import TILE, at, at_most, copy, floats


@inline
def map_one(function, x, y, parameters, SIZE, begin, end):  # type: ignore[no-untyped-def]
    """y = function(x, *parameters), where `function` is an `inline` one of float32 numbers."""
    tile = floats(TILE)
    stop = at_most(end * BLOCK, SIZE)
    for start in range(begin * BLOCK, stop, TILE):
        count = at_most(stop - start, TILE)
        source = at(x, start)
        for i in range(count):
            tile[i] = function(source[i], *parameters)
        copy(tile, at(y, start), count)


@inline
def map_two(function, a, b, y, parameters, SIZE, begin, end):  # type: ignore[no-untyped-def]
    """y = function(a, b, *parameters), where `function` is an `inline` one of float32 numbers."""
    tile = floats(TILE)
    stop = at_most(end * BLOCK, SIZE)
    for start in range(begin * BLOCK, stop, TILE):
        count = at_most(stop - start, TILE)
        first, second = at(a, start), at(b, start)
        for i in range(count):
            tile[i] = function(first[i], second[i], *parameters)
        copy(tile, at(y, start), count)
