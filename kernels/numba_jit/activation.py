"""Activations: task i handles block i of BLOCK elements, through a tile, so that an output may be an input's memory."""

from __future__ import annotations

import numpy as np

from ..ops import BLOCK
from .compiler import kernel
from .exponential import ONE, ZERO, sigmoid, tanh
from .memory import TILE, at, at_most, copy, floats

SIX = np.float32(6.0)


@kernel
def relu_forward(x, y, SIZE, begin, end):  # type: ignore[no-untyped-def]
    """Not below zero keeps its place, and so does NaN."""
    tile = floats(TILE)
    stop = at_most(end * BLOCK, SIZE)
    for start in range(begin * BLOCK, stop, TILE):
        count = at_most(stop - start, TILE)
        source = at(x, start)
        for i in range(count):
            tile[i] = ZERO if source[i] <= ZERO else source[i]
        copy(tile, at(y, start), count)


@kernel
def relu_backward(dy, y, dx, SIZE, begin, end):  # type: ignore[no-untyped-def]
    """The gradient passes unless y <= 0, so it passes where y is NaN."""
    tile = floats(TILE)
    stop = at_most(end * BLOCK, SIZE)
    for start in range(begin * BLOCK, stop, TILE):
        count = at_most(stop - start, TILE)
        gradient, value = at(dy, start), at(y, start)
        for i in range(count):
            tile[i] = ZERO if value[i] <= ZERO else gradient[i]
        copy(tile, at(dx, start), count)


@kernel
def relu6_forward(x, y, SIZE, begin, end):  # type: ignore[no-untyped-def]
    """Two selections that both keep NaN."""
    tile = floats(TILE)
    stop = at_most(end * BLOCK, SIZE)
    for start in range(begin * BLOCK, stop, TILE):
        count = at_most(stop - start, TILE)
        source = at(x, start)
        for i in range(count):
            value = ZERO if source[i] <= ZERO else source[i]
            tile[i] = SIX if value > SIX else value
        copy(tile, at(y, start), count)


@kernel
def relu6_backward(dy, y, dx, SIZE, begin, end):  # type: ignore[no-untyped-def]
    """The gradient passes where 0 < y < 6, so not where y is NaN."""
    tile = floats(TILE)
    stop = at_most(end * BLOCK, SIZE)
    for start in range(begin * BLOCK, stop, TILE):
        count = at_most(stop - start, TILE)
        gradient, value = at(dy, start), at(y, start)
        for i in range(count):
            tile[i] = gradient[i] if (value[i] > ZERO) & (value[i] < SIX) else ZERO
        copy(tile, at(dx, start), count)


@kernel
def leaky_relu_forward(x, y, SIZE, negative_slope, begin, end):  # type: ignore[no-untyped-def]
    """One product and one selection an element."""
    tile = floats(TILE)
    slope = np.float32(negative_slope)
    stop = at_most(end * BLOCK, SIZE)
    for start in range(begin * BLOCK, stop, TILE):
        count = at_most(stop - start, TILE)
        source = at(x, start)
        for i in range(count):
            tile[i] = source[i] if source[i] > ZERO else source[i] * slope
        copy(tile, at(y, start), count)


@kernel
def leaky_relu_backward(dy, x, dx, SIZE, negative_slope, begin, end):  # type: ignore[no-untyped-def]
    """One product and one selection an element."""
    tile = floats(TILE)
    slope = np.float32(negative_slope)
    stop = at_most(end * BLOCK, SIZE)
    for start in range(begin * BLOCK, stop, TILE):
        count = at_most(stop - start, TILE)
        gradient, value = at(dy, start), at(x, start)
        for i in range(count):
            tile[i] = gradient[i] if value[i] > ZERO else gradient[i] * slope
        copy(tile, at(dx, start), count)


@kernel
def sigmoid_forward(x, y, SIZE, begin, end):  # type: ignore[no-untyped-def]
    """The vectorised exponential and one division an element."""
    tile = floats(TILE)
    stop = at_most(end * BLOCK, SIZE)
    for start in range(begin * BLOCK, stop, TILE):
        count = at_most(stop - start, TILE)
        source = at(x, start)
        for i in range(count):
            tile[i] = sigmoid(source[i])
        copy(tile, at(y, start), count)


@kernel
def sigmoid_backward(dy, y, dx, SIZE, begin, end):  # type: ignore[no-untyped-def]
    """dy * y * (1 - y)."""
    tile = floats(TILE)
    stop = at_most(end * BLOCK, SIZE)
    for start in range(begin * BLOCK, stop, TILE):
        count = at_most(stop - start, TILE)
        gradient, value = at(dy, start), at(y, start)
        for i in range(count):
            tile[i] = gradient[i] * (ONE - value[i]) * value[i]
        copy(tile, at(dx, start), count)


@kernel
def tanh_forward(x, y, SIZE, begin, end):  # type: ignore[no-untyped-def]
    """The vectorised hyperbolic tangent."""
    tile = floats(TILE)
    stop = at_most(end * BLOCK, SIZE)
    for start in range(begin * BLOCK, stop, TILE):
        count = at_most(stop - start, TILE)
        source = at(x, start)
        for i in range(count):
            tile[i] = tanh(source[i])
        copy(tile, at(y, start), count)


@kernel
def tanh_backward(dy, y, dx, SIZE, begin, end):  # type: ignore[no-untyped-def]
    """dy * (1 - y**2)."""
    tile = floats(TILE)
    stop = at_most(end * BLOCK, SIZE)
    for start in range(begin * BLOCK, stop, TILE):
        count = at_most(stop - start, TILE)
        gradient, value = at(dy, start), at(y, start)
        for i in range(count):
            tile[i] = gradient[i] * (ONE - value[i] * value[i])
        copy(tile, at(dx, start), count)
