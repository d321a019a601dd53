"""Arithmetic on elements; see `elementwise.py` for the loop.

`copy_strided` and `increment` say themselves how they split.
"""

from __future__ import annotations

import math

import numpy as np

from ..blocking import BLOCK
from .compiler import inline, kernel
from .elementwise import map_one, map_two
from .exponential import ONE, sqrt
from .exponential import exp as exp_float32
from .exponential import log as log_float32
from .memory import TILE, at, at_most, copy, floats
from .memory import fill as fill_float32
from .vector import full, where


@inline
def _multiply_add(a, b, factor):  # type: ignore[no-untyped-def]
    return a + factor * b


@inline
def _multiply(a, b):  # type: ignore[no-untyped-def]
    return a * b


@inline
def _divide(a, b):  # type: ignore[no-untyped-def]
    return a / b


@inline
def _scale(x, factor, offset):  # type: ignore[no-untyped-def]
    return factor * x + offset


@inline
def _scale_by(x, factor):  # type: ignore[no-untyped-def]
    return x * factor


@inline
def _clamp(x, low, high):  # type: ignore[no-untyped-def]
    x = where(x < low, full(low), x)
    return where(x > high, full(high), x)


@kernel
def add(a, b, y, SIZE, alpha, begin, end):  # type: ignore[no-untyped-def]
    """One multiply-add an element."""
    map_two(_multiply_add, a, b, y, (np.float32(alpha),), SIZE, begin, end)


@kernel
def mul(a, b, y, SIZE, begin, end):  # type: ignore[no-untyped-def]
    """One product an element."""
    map_two(_multiply, a, b, y, (), SIZE, begin, end)


@kernel
def div(a, b, y, SIZE, begin, end):  # type: ignore[no-untyped-def]
    """One division an element."""
    map_two(_divide, a, b, y, (), SIZE, begin, end)


@kernel
def scale(x, y, SIZE, alpha, beta, begin, end):  # type: ignore[no-untyped-def]
    """One multiply-add an element."""
    map_one(_scale, x, y, (np.float32(alpha), np.float32(beta)), SIZE, begin, end)


@kernel
def scale_by(x, factor, y, SIZE, begin, end):  # type: ignore[no-untyped-def]
    """One product an element."""
    map_one(_scale_by, x, y, (factor[0],), SIZE, begin, end)


@kernel
def clamp(x, y, SIZE, low, high, begin, end):  # type: ignore[no-untyped-def]
    """Two comparisons an element; NaN is neither below nor above."""
    map_one(_clamp, x, y, (np.float32(low), np.float32(high)), SIZE, begin, end)


@inline
def _power(source, target, exponent, count):  # type: ignore[no-untyped-def]
    """The exponents that people write vectorise; all others are libm's `powf`."""
    if exponent == 2.0:
        for i in range(count):
            target[i] = source[i] * source[i]
    elif exponent == 3.0:
        for i in range(count):
            target[i] = source[i] * source[i] * source[i]
    elif exponent == -1.0:
        for i in range(count):
            target[i] = ONE / source[i]
    elif exponent == 0.5:
        for i in range(count):
            target[i] = sqrt(source[i])
    else:
        single = np.float32(exponent)
        for i in range(count):
            target[i] = math.pow(source[i], single)


@kernel
def power(x, y, SIZE, exponent, begin, end):  # type: ignore[no-untyped-def]
    """Products, a root or a division for the exponents 2, 3, 0.5 and -1, `powf` for others."""
    tile = floats(TILE)
    stop = at_most(end * BLOCK, SIZE)
    for start in range(begin * BLOCK, stop, TILE):
        count = at_most(stop - start, TILE)
        _power(at(x, start), tile, exponent, count)
        copy(tile, at(y, start), count)


@kernel
def exp(x, y, SIZE, begin, end):  # type: ignore[no-untyped-def]
    """The vectorised exponential."""
    map_one(exp_float32, x, y, (), SIZE, begin, end)


@kernel
def log(x, y, SIZE, begin, end):  # type: ignore[no-untyped-def]
    """The vectorised logarithm."""
    map_one(log_float32, x, y, (), SIZE, begin, end)


@kernel
def fill(y, SIZE, value, begin, end):  # type: ignore[no-untyped-def]
    """One store an element."""
    start = begin * BLOCK
    fill_float32(at(y, start), np.float32(value), at_most(end * BLOCK, SIZE) - start)


@inline
def _copy_run(source, target, count, source_stride, target_stride):  # type: ignore[no-untyped-def]
    if source_stride == 1 and target_stride == 1:
        copy(source, target, count)
    elif source_stride == 0 and target_stride == 1:
        fill_float32(target, source[0], count)
    else:
        for i in range(count):
            target[i * target_stride] = source[i * source_stride]


@kernel
def copy_strided(x, y, shape, x_strides, y_strides, x_offset, y_offset, OUTER, RUNS, begin, end):  # type: ignore[no-untyped-def]
    """Task i copies runs [i * RUNS, (i + 1) * RUNS) of the innermost loop; an odometer counts the five outer ones."""
    run, stop = begin * RUNS, at_most(end * RUNS, OUTER)
    rest, i4 = run // shape[4], run % shape[4]
    rest, i3 = rest // shape[3], rest % shape[3]
    rest, i2 = rest // shape[2], rest % shape[2]
    i0, i1 = rest // shape[1], rest % shape[1]
    for _ in range(run, stop):
        source = x_offset + i0 * x_strides[0] + i1 * x_strides[1] + i2 * x_strides[2] + i3 * x_strides[3]
        target = y_offset + i0 * y_strides[0] + i1 * y_strides[1] + i2 * y_strides[2] + i3 * y_strides[3]
        source, target = source + i4 * x_strides[4], target + i4 * y_strides[4]
        _copy_run(at(x, source), at(y, target), shape[5], x_strides[5], y_strides[5])
        i4 += 1
        if i4 == shape[4]:
            i4, i3 = 0, i3 + 1
        if i3 == shape[3]:
            i3, i2 = 0, i2 + 1
        if i2 == shape[2]:
            i2, i1 = 0, i1 + 1
        if i1 == shape[1]:
            i1, i0 = 0, i0 + 1


@kernel
def increment(step, begin, end):  # type: ignore[no-untyped-def]
    """One task."""
    step[0] += 1
