"""Activations, element by element; see `elementwise.py` for the loop. Selections are written so that NaN stays NaN."""

from __future__ import annotations

import numpy as np

from .compiler import inline, kernel
from .elementwise import map_one, map_two
from .exponential import ONE, ZERO, sigmoid, tanh
from .vector import where

SIX = np.float32(6.0)


@inline
def _relu(x):  # type: ignore[no-untyped-def]
    return where(x <= ZERO, ZERO, x)


@inline
def _relu_gradient(dy, y):  # type: ignore[no-untyped-def]
    return where(y <= ZERO, ZERO, dy)


@inline
def _relu6(x):  # type: ignore[no-untyped-def]
    below_six = where(x > SIX, SIX, x)
    return where(below_six <= ZERO, ZERO, below_six)


@inline
def _relu6_gradient(dy, y):  # type: ignore[no-untyped-def]
    return where((y > ZERO) & (y < SIX), dy, ZERO)


@inline
def _leaky_relu(x, slope):  # type: ignore[no-untyped-def]
    return where(x > ZERO, x, x * slope)


@inline
def _leaky_relu_gradient(dy, x, slope):  # type: ignore[no-untyped-def]
    return where(x > ZERO, dy, dy * slope)


@inline
def _sigmoid_gradient(dy, y):  # type: ignore[no-untyped-def]
    return dy * (ONE - y) * y


@inline
def _tanh_gradient(dy, y):  # type: ignore[no-untyped-def]
    return dy * (ONE - y * y)


@kernel
def relu_forward(x, y, SIZE, begin, end):  # type: ignore[no-untyped-def]
    """One selection an element."""
    map_one(_relu, x, y, (), SIZE, begin, end)


@kernel
def relu_backward(dy, y, dx, SIZE, begin, end):  # type: ignore[no-untyped-def]
    """One selection an element."""
    map_two(_relu_gradient, dy, y, dx, (), SIZE, begin, end)


@kernel
def relu6_forward(x, y, SIZE, begin, end):  # type: ignore[no-untyped-def]
    """Two selections an element."""
    map_one(_relu6, x, y, (), SIZE, begin, end)


@kernel
def relu6_backward(dy, y, dx, SIZE, begin, end):  # type: ignore[no-untyped-def]
    """The gradient passes where 0 < y < 6, so not where y is NaN."""
    map_two(_relu6_gradient, dy, y, dx, (), SIZE, begin, end)


@kernel
def leaky_relu_forward(x, y, SIZE, negative_slope, begin, end):  # type: ignore[no-untyped-def]
    """One product and one selection an element."""
    map_one(_leaky_relu, x, y, (np.float32(negative_slope),), SIZE, begin, end)


@kernel
def leaky_relu_backward(dy, x, dx, SIZE, negative_slope, begin, end):  # type: ignore[no-untyped-def]
    """One product and one selection an element."""
    map_two(_leaky_relu_gradient, dy, x, dx, (np.float32(negative_slope),), SIZE, begin, end)


@kernel
def sigmoid_forward(x, y, SIZE, begin, end):  # type: ignore[no-untyped-def]
    """The vectorised exponential and one division an element."""
    map_one(sigmoid, x, y, (), SIZE, begin, end)


@kernel
def sigmoid_backward(dy, y, dx, SIZE, begin, end):  # type: ignore[no-untyped-def]
    """Three products an element."""
    map_two(_sigmoid_gradient, dy, y, dx, (), SIZE, begin, end)


@kernel
def tanh_forward(x, y, SIZE, begin, end):  # type: ignore[no-untyped-def]
    """The vectorised hyperbolic tangent."""
    map_one(tanh, x, y, (), SIZE, begin, end)


@kernel
def tanh_backward(dy, y, dx, SIZE, begin, end):  # type: ignore[no-untyped-def]
    """Two products an element."""
    map_two(_tanh_gradient, dy, y, dx, (), SIZE, begin, end)
