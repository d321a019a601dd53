"""Arithmetic, element by element, as IEEE 754 has it: x/0 is infinite, log(-1) is NaN, and nothing warns.

All arrays of one call have one shape, and outputs may be the same memory as inputs; broadcasting is `copy_strided`.
"""

from __future__ import annotations

import numpy as np

Six = tuple[int, int, int, int, int, int]


def add(a: np.ndarray, b: np.ndarray, y: np.ndarray, alpha: float) -> None:
    """``y = a + alpha * b``.

    Parameters
    ----------
    a, b : any shape.
    y : written.
    alpha : factor of b.

    Notes
    -----
    `torch.add`.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        y[...] = a + alpha * b


def mul(a: np.ndarray, b: np.ndarray, y: np.ndarray) -> None:
    """``y = a * b``.

    Parameters
    ----------
    a, b : any shape.
    y : written.

    Notes
    -----
    `torch.mul`.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        y[...] = a * b


def div(a: np.ndarray, b: np.ndarray, y: np.ndarray) -> None:
    """``y = a / b``; 0/0 is NaN.

    Parameters
    ----------
    a, b : any shape.
    y : written.

    Notes
    -----
    `torch.div`.
    """
    with np.errstate(all="ignore"):
        y[...] = a / b


def scale(x: np.ndarray, y: np.ndarray, alpha: float, beta: float) -> None:
    """``y = alpha * x + beta``.

    Parameters
    ----------
    x : any shape.
    y : written.
    alpha, beta : factor and summand.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        y[...] = alpha * x + beta


def scale_by(x: np.ndarray, factor: np.ndarray, y: np.ndarray) -> None:
    """Product with one number that may change between runs: ``y = x * factor[0]``.

    Parameters
    ----------
    x : any shape.
    factor : (1,).
    y : shape of x, written; may be x's memory.
    """
    np.multiply(x, factor[0], out=y)


def clamp(x: np.ndarray, y: np.ndarray, low: float, high: float) -> None:
    """The nearest number in an interval: ``y = min(max(x, low), high)``; NaN stays NaN.

    Parameters
    ----------
    x : any shape.
    y : shape of x, written; may be x's memory.
    low, high : the interval; if `low` is the larger one, y is `high` everywhere.

    Notes
    -----
    `torch.clamp`.
    """
    np.minimum(np.maximum(x, low), high, out=y)


def power(x: np.ndarray, y: np.ndarray, exponent: float) -> None:
    """``y = x ** exponent``; NaN for a negative x with an exponent that is not whole, 1 wherever the exponent is 0.

    Exponents 0.5 and -0.5 are ``sqrt(x)`` and ``1 / sqrt(x)``: these differ from C's pow at -inf (NaN) and -0.0.

    Parameters
    ----------
    x : any shape.
    y : written.
    exponent : the same for every element.

    Notes
    -----
    `torch.pow`.
    """
    with np.errstate(all="ignore"):
        if abs(exponent) == 0.5:
            root = np.sqrt(x)
            y[...] = root if exponent > 0 else 1 / root
        else:
            y[...] = np.power(x, exponent)


def exp(x: np.ndarray, y: np.ndarray) -> None:
    """``y = e ** x``; infinite where that exceeds the type's range.

    Parameters
    ----------
    x : any shape.
    y : written.

    Notes
    -----
    `torch.exp`.
    """
    with np.errstate(over="ignore"):
        y[...] = np.exp(x)


def log(x: np.ndarray, y: np.ndarray) -> None:
    """Natural logarithm of x; -inf at 0, NaN below.

    Parameters
    ----------
    x : any shape.
    y : written.

    Notes
    -----
    `torch.log`.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        y[...] = np.log(x)


def fill(y: np.ndarray, value: float) -> None:
    """Set every element to `value`.

    Parameters
    ----------
    y : any shape, written.
    value : rounded to y's type.
    """
    y[...] = value


def _positions(shape: Six, strides: Six, offset: int) -> np.ndarray:
    """``offset + sum(i * strides)`` for every index i within `shape`."""
    positions = np.full(shape, offset, np.int64)
    for index, stride in zip(np.indices(shape, sparse=True), strides, strict=True):
        positions += index * stride
    return positions


def copy_strided(
    x: np.ndarray, y: np.ndarray, shape: Six, x_strides: Six, y_strides: Six, x_offset: int, y_offset: int
) -> None:
    """Copy elements between any two layouts: transpose, broadcast, flip, slice, pad, concatenate.

    ``y[y_offset + sum(i * y_strides)] = x[x_offset + sum(i * x_strides)]`` for every index i of six numbers with
    ``0 <= i < shape``. Other elements of y keep their values.

    Parameters
    ----------
    x : (X,) source.
    y : (Y,) destination, updated; not x's memory.
    shape : the length of each of six loops; 1 for a loop that is not needed, and 0 copies nothing.
    x_strides, y_strides : steps in elements, one per loop. They may be negative; x's may be 0 to repeat an element;
        y's must reach every place at most once.
    x_offset, y_offset : where i = 0 is, in elements.

    Notes
    -----
    ``torch.as_strided(y, ...).copy_(torch.as_strided(x, ...))``.
    """
    y[_positions(shape, y_strides, y_offset)] = x[_positions(shape, x_strides, x_offset)]


def increment(step: np.ndarray) -> None:
    """Add 1 to a counter: ``step[0] += 1``.

    Parameters
    ----------
    step : (1,) int64, updated.
    """
    step += 1
