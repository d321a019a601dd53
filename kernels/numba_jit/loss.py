"""Softmax and the losses over rows of logits: task i handles rows [i * ROWS, (i + 1) * ROWS).

A sum or maximum along a row runs in `LANES` independent accumulators, which LLVM keeps in vectors, joined in order.
"""

from __future__ import annotations

import math

import numpy as np

from .compiler import inline, kernel
from .exponential import ZERO, exp
from .memory import at, at_most, copy, fill, floats

LANES = 64


@inline
def _maximum(row, count):  # type: ignore[no-untyped-def]
    """The largest number of a row of at least one; a NaN may be passed over, for it shows in the sums."""
    lanes = floats(LANES)
    width = at_most(count, LANES)
    copy(row, lanes, width)
    for start in range(width, count, LANES):
        part = at(row, start)
        for j in range(at_most(count - start, LANES)):
            lanes[j] = part[j] if part[j] > lanes[j] else lanes[j]
    largest = lanes[0]
    for j in range(1, width):
        largest = lanes[j] if lanes[j] > largest else largest
    return largest


@inline
def _join(lanes, width):  # type: ignore[no-untyped-def]
    """The sum of the accumulators, in double."""
    total = 0.0
    for j in range(width):
        total += lanes[j]
    return total


@inline
def _sum(row, count):  # type: ignore[no-untyped-def]
    lanes = floats(LANES)
    width = at_most(count, LANES)
    fill(lanes, ZERO, width)
    for start in range(0, count, LANES):
        part = at(row, start)
        for j in range(at_most(count - start, LANES)):
            lanes[j] += part[j]
    return _join(lanes, width)


@inline
def _dot(left, right, count):  # type: ignore[no-untyped-def]
    lanes = floats(LANES)
    width = at_most(count, LANES)
    fill(lanes, ZERO, width)
    for start in range(0, count, LANES):
        a, b = at(left, start), at(right, start)
        for j in range(at_most(count - start, LANES)):
            lanes[j] += a[j] * b[j]
    return _join(lanes, width)


@inline
def _exponential_sum(row, largest, count):  # type: ignore[no-untyped-def]
    """The sum of exp(row - largest)."""
    lanes = floats(LANES)
    width = at_most(count, LANES)
    fill(lanes, ZERO, width)
    for start in range(0, count, LANES):
        part = at(row, start)
        for j in range(at_most(count - start, LANES)):
            lanes[j] += exp(part[j] - largest)
    return _join(lanes, width)


@kernel
def softmax_forward(x, y, M, C, ROWS, begin, end):  # type: ignore[no-untyped-def]
    """Exponentials first go into y, then are scaled there."""
    for m in range(begin * ROWS, at_most(end * ROWS, M)):
        row, target = at(x, m * C), at(y, m * C)
        largest = _maximum(row, C)
        for c in range(C):
            target[c] = exp(row[c] - largest)
        total = np.float32(_sum(target, C))
        for c in range(C):
            target[c] /= total


@kernel
def softmax_backward(dy, y, dx, M, C, ROWS, begin, end):  # type: ignore[no-untyped-def]
    """y * (dy - sum(dy * y))."""
    for m in range(begin * ROWS, at_most(end * ROWS, M)):
        gradient, value, target = at(dy, m * C), at(y, m * C), at(dx, m * C)
        mean = np.float32(_dot(gradient, value, C))
        for c in range(C):
            target[c] = value[c] * (gradient[c] - mean)


@kernel
def log_softmax_forward(x, y, M, C, ROWS, begin, end):  # type: ignore[no-untyped-def]
    """The maximum is subtracted first, so that large logits cost no digits."""
    for m in range(begin * ROWS, at_most(end * ROWS, M)):
        row, target = at(x, m * C), at(y, m * C)
        largest = _maximum(row, C)
        log_sum = np.float32(math.log(_exponential_sum(row, largest, C)))
        for c in range(C):
            target[c] = (row[c] - largest) - log_sum


@kernel
def log_softmax_backward(dy, y, dx, M, C, ROWS, begin, end):  # type: ignore[no-untyped-def]
    """dy - exp(y) * sum(dy)."""
    for m in range(begin * ROWS, at_most(end * ROWS, M)):
        gradient, value, target = at(dy, m * C), at(y, m * C), at(dx, m * C)
        total = np.float32(_sum(gradient, C))
        for c in range(C):
            target[c] = gradient[c] - exp(value[c]) * total


@inline
def _smoothing_loss(row, largest, log_sum, weight, CW, C):  # type: ignore[no-untyped-def]
    """sum_c w[c] * (lse - x[c]), in double."""
    total = 0.0
    for c in range(C):
        term = log_sum - (np.float64(row[c]) - largest)
        total += weight[c] * term if CW > 0 else term
    return total


@kernel
def cross_entropy_forward(  # type: ignore[no-untyped-def]
    x, target, weight, loss, lse, partial, M, C, CW, ROWS, ignore_index, label_smoothing, begin, end
):  # fmt: skip
    """A block's sum of losses and of weights go to its partial result, in double."""
    for part in range(begin, end):
        losses, weights = 0.0, 0.0
        for m in range(part * ROWS, at_most((part + 1) * ROWS, M)):
            row, t = at(x, m * C), target[m]
            largest = np.float64(_maximum(row, C))
            log_sum = math.log(_exponential_sum(row, np.float32(largest), C))
            lse[m] = np.float32(largest + log_sum)
            loss[m] = ZERO
            if t != ignore_index:
                w = np.float64(at(weight, t)[0]) if CW > 0 else 1.0
                # Not lse - x: the difference of logits is exact where they are large and near each other.
                value = (1.0 - label_smoothing) * w * (log_sum - (np.float64(at(row, t)[0]) - largest))
                if label_smoothing != 0.0:
                    value += label_smoothing / C * _smoothing_loss(row, largest, log_sum, at(weight, 0), CW, C)
                loss[m] = np.float32(value)
                losses += value
                weights += w
        partial[part, 0] = losses
        partial[part, 1] = weights


@inline
def _reduce_loss(partial, y, normaliser, PARTS, mean):  # type: ignore[no-untyped-def]
    losses, weights = 0.0, 0.0
    for part in range(PARTS):
        losses += partial[part, 0]
        weights += partial[part, 1]
    normaliser[0] = weights if mean else 1.0
    y[0] = np.float32(losses / normaliser[0])


@kernel
def cross_entropy_forward_reduce(partial, y, normaliser, PARTS, mean, begin, end):  # type: ignore[no-untyped-def]
    """One task adds the blocks in order."""
    _reduce_loss(partial, y, normaliser, PARTS, mean)


@inline
def _subtract_smoothing(target, weight, factor, CW, C):  # type: ignore[no-untyped-def]
    if CW > 0:
        for c in range(C):
            target[c] -= factor * weight[c]
    else:
        for c in range(C):
            target[c] -= factor


@kernel
def cross_entropy_backward(  # type: ignore[no-untyped-def]
    dy, x, target, weight, lse, normaliser, dx, M, C, CW, DY, ROWS, ignore_index, label_smoothing, begin, end
):  # fmt: skip
    """The probabilities times what is common to the row, then the terms of the label and of the smoothing."""
    weights = 0.0
    if label_smoothing != 0.0:
        weights = _sum(at(weight, 0), C) if CW > 0 else np.float64(C)
    for m in range(begin * ROWS, at_most(end * ROWS, M)):
        row, gradient, t = at(x, m * C), at(dx, m * C), target[m]
        if t == ignore_index:
            fill(gradient, ZERO, C)
            continue
        share = np.float64(dy[m if DY > 1 else 0]) / normaliser[0]
        label = share * (1.0 - label_smoothing) * (np.float64(at(weight, t)[0]) if CW > 0 else 1.0)
        smooth = share * label_smoothing / C
        common, log_sum = np.float32(label + smooth * weights), lse[m]
        for c in range(C):
            gradient[c] = common * exp(row[c] - log_sum)
        if smooth != 0.0:
            _subtract_smoothing(gradient, at(weight, 0), np.float32(smooth), CW, C)
        at(gradient, t)[0] -= np.float32(label)


@kernel
def nll_loss_forward(  # type: ignore[no-untyped-def]
    x, target, weight, loss, partial, M, C, CW, ROWS, ignore_index, begin, end
):  # fmt: skip
    """A block's sum of losses and of weights go to its partial result, in double."""
    for part in range(begin, end):
        losses, weights = 0.0, 0.0
        for m in range(part * ROWS, at_most((part + 1) * ROWS, M)):
            t = target[m]
            loss[m] = ZERO
            if t != ignore_index:
                w = np.float64(at(weight, t)[0]) if CW > 0 else 1.0
                value = -w * at(x, m * C + t)[0]
                loss[m] = np.float32(value)
                losses += value
                weights += w
        partial[part, 0] = losses
        partial[part, 1] = weights


@kernel
def nll_loss_forward_reduce(partial, y, normaliser, PARTS, mean, begin, end):  # type: ignore[no-untyped-def]
    """One task adds the blocks in order."""
    _reduce_loss(partial, y, normaliser, PARTS, mean)


@kernel
def nll_loss_backward(  # type: ignore[no-untyped-def]
    dy, target, weight, normaliser, dx, M, C, CW, DY, ROWS, ignore_index, begin, end
):  # fmt: skip
    """Zeros, and one number a row."""
    for m in range(begin * ROWS, at_most(end * ROWS, M)):
        gradient, t = at(dx, m * C), target[m]
        fill(gradient, ZERO, C)
        if t != ignore_index:
            w = np.float64(at(weight, t)[0]) if CW > 0 else 1.0
            at(gradient, t)[0] = np.float32(-w * dy[m if DY > 1 else 0] / normaliser[0])
