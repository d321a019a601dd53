"""Batch normalisation in pieces: sums over the rows, and what a few numbers a channel make of them, in double."""

from __future__ import annotations

import numpy as np

from .columns import add_deviations, add_parts, sum_blocks
from .compiler import inline, kernel
from .exponential import sqrt
from .memory import at


@inline
def _add_deviations(sources, first, C, count, columns, wide, ahead, middle, lanes, second):  # type: ignore[no-untyped-def]
    add_deviations(at(sources[0], first), C, count, columns, wide, ahead, 0, middle, lanes, second)


@kernel
def channel_sums(x, centre, partial, M, C, ROWS, begin, end):  # type: ignore[no-untyped-def]
    """The sums of each block; see `columns.py`."""
    sum_blocks(_add_deviations, (x,), centre, partial, M, C, ROWS, begin, end)


@kernel
def channel_sums_combine(partial, sums, C, PARTS, begin, end):  # type: ignore[no-untyped-def]
    """One task adds the blocks in order."""
    add_parts(partial, sums, PARTS, 2 * C)


@inline
def _number_or(array, size, c, default):  # type: ignore[no-untyped-def]
    """A number of an array in double, or `default` where the array is absent."""
    return np.float64(array[c]) if size > 0 else default


@kernel
def batch_norm_statistics(  # type: ignore[no-untyped-def]
    sums, centre, w, b, mean, var, invstd, scale, shift, C, CW, CB, count, eps, begin, end
):  # fmt: skip
    """One task; NaN is not below 0."""
    deviations, squares = at(sums, 0), at(sums, C)
    for c in range(C):
        offset = deviations[c] / count
        middle, variance = centre[c] + offset, squares[c] / count - offset * offset
        variance = 0.0 if variance < 0.0 else variance
        scaling = 1.0 / sqrt(variance + eps)
        mean[c] = np.float32(middle)
        var[c] = np.float32(variance)
        invstd[c] = np.float32(scaling)
        scale[c] = np.float32(_number_or(w, CW, c, 1.0) * scaling)
        shift[c] = np.float32(_number_or(b, CB, c, 0.0) - middle * scale[c])


@kernel
def batch_norm_running(mean, var, momentum, running_mean, running_var, C, count, begin, end):  # type: ignore[no-untyped-def]
    """One task."""
    keep, take = 1.0 - momentum[0], momentum[0]
    for c in range(C):
        unbiased = np.float64(var[c]) * count / (count - 1)
        running_mean[c] = np.float32(keep * running_mean[c] + take * mean[c])
        running_var[c] = np.float32(keep * running_var[c] + take * unbiased)


@kernel
def batch_norm_scale(running_mean, running_var, w, b, scale, shift, C, CW, CB, eps, begin, end):  # type: ignore[no-untyped-def]
    """One task."""
    for c in range(C):
        scaling = 1.0 / sqrt(np.float64(running_var[c]) + eps)
        scale[c] = np.float32(_number_or(w, CW, c, 1.0) * scaling)
        shift[c] = np.float32(_number_or(b, CB, c, 0.0) - np.float64(running_mean[c]) * scale[c])


@kernel
def batch_norm_gradient(  # type: ignore[no-untyped-def]
    sums, w, mean, invstd, dw, db, slope, factor, offset, C, CW, count, begin, end
):  # fmt: skip
    """One task."""
    gradients, products = at(sums, 0), at(sums, C)
    for c in range(C):
        scaling = np.float64(invstd[c])
        gain, weight_gradient = _number_or(w, CW, c, 1.0) * scaling, products[c] * scaling
        dw[c] = np.float32(weight_gradient)
        db[c] = np.float32(gradients[c])
        slope[c] = np.float32(gain)
        factor[c] = np.float32(-gain * scaling * weight_gradient / count)
        offset[c] = np.float32(-gain * gradients[c] / count - np.float64(factor[c]) * mean[c])


@kernel
def channel_gradient(sums, db, C, begin, end):  # type: ignore[no-untyped-def]
    """One task."""
    gradients = at(sums, 0)
    for c in range(C):
        db[c] = np.float32(gradients[c])
