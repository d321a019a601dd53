"""Softmax and the losses over rows of logits: task i handles rows [i * ROWS, (i + 1) * ROWS).

A sum or maximum along a row runs in the lanes of a vector, joined in order.
"""

from __future__ import annotations

import numpy as np

from .compiler import inline, kernel
from .exponential import INFINITY, ZERO, exp, log
from .memory import at, at_most, fill
from .vector import AHEAD, LANES, full, load, load_part, prefetch, store, store_part, total, where
from .vector import largest as largest_of


@inline
def _maximum(row, count):  # type: ignore[no-untyped-def]
    """The largest number of a row of at least one; a NaN may be passed over, for it shows in the sums."""
    lanes = other = full(-INFINITY)
    whole = count - count % LANES
    pairs = whole - whole % (2 * LANES)
    for i in range(0, pairs, 2 * LANES):
        part, more = load(at(row, i)), load(at(row, i + LANES))
        lanes, other = where(part > lanes, part, lanes), where(more > other, more, other)
    if pairs < whole:
        part = load(at(row, pairs))
        lanes = where(part > lanes, part, lanes)
    lanes = where(other > lanes, other, lanes)
    if whole < count:
        part = load_part(at(row, whole), count - whole, -INFINITY)
        lanes = where(part > lanes, part, lanes)
    return largest_of(lanes)


@inline
def _sum(row, count):  # type: ignore[no-untyped-def]
    lanes = full(ZERO)
    whole = count - count % LANES
    for i in range(0, whole, LANES):
        prefetch(at(row, i + AHEAD))
        lanes = lanes + load(at(row, i))
    return total(lanes + load_part(at(row, whole), count - whole, ZERO))


@inline
def _dot(left, right, count):  # type: ignore[no-untyped-def]
    lanes = full(ZERO)
    whole = count - count % LANES
    for i in range(0, whole, LANES):
        prefetch(at(left, i + AHEAD))
        prefetch(at(right, i + AHEAD))
        lanes = lanes + load(at(left, i)) * load(at(right, i))
    rest = count - whole
    return total(lanes + load_part(at(left, whole), rest, ZERO) * load_part(at(right, whole), rest, ZERO))


@inline
def _exponential_sum(row, largest, count):  # type: ignore[no-untyped-def]
    """The sum of exp(row - largest)."""
    lanes = full(ZERO)
    whole = count - count % LANES
    for i in range(0, whole, LANES):
        prefetch(at(row, i + AHEAD))
        lanes = lanes + exp(load(at(row, i)) - largest)
    if whole < count:
        lanes = lanes + exp(load_part(at(row, whole), count - whole, -INFINITY) - largest)
    return total(lanes)


@inline
def _exponentials(row, largest, target, count):  # type: ignore[no-untyped-def]
    """target = exp(row - largest); returns the sum."""
    lanes = full(ZERO)
    whole = count - count % LANES
    for i in range(0, whole, LANES):
        prefetch(at(row, i + AHEAD))
        value = exp(load(at(row, i)) - largest)
        store(at(target, i), value)
        lanes = lanes + value
    if whole < count:
        value = exp(load_part(at(row, whole), count - whole, -INFINITY) - largest)
        store_part(at(target, whole), value, count - whole)
        lanes = lanes + value
    return total(lanes)


@inline
def _map_row(function, source, target, parameters, count):  # type: ignore[no-untyped-def]
    """target = function(source, *parameters) along a row."""
    whole = count - count % LANES
    for i in range(0, whole, LANES):
        store(at(target, i), function(load(at(source, i)), *parameters))
    if whole < count:
        value = function(load_part(at(source, whole), count - whole, ZERO), *parameters)
        store_part(at(target, whole), value, count - whole)


@inline
def _map_rows(function, first, second, target, parameters, count):  # type: ignore[no-untyped-def]
    """target = function(first, second, *parameters) along a row."""
    whole = count - count % LANES
    for i in range(0, whole, LANES):
        store(at(target, i), function(load(at(first, i)), load(at(second, i)), *parameters))
    if whole < count:
        a, b = load_part(at(first, whole), count - whole, ZERO), load_part(at(second, whole), count - whole, ZERO)
        store_part(at(target, whole), function(a, b, *parameters), count - whole)


@inline
def _product(x, factor):  # type: ignore[no-untyped-def]
    return x * factor


@inline
def _log_probability(x, largest, log_sum):  # type: ignore[no-untyped-def]
    return (x - largest) - log_sum


@inline
def _softmax_gradient(dy, y, mean):  # type: ignore[no-untyped-def]
    return y * (dy - mean)


@inline
def _log_softmax_gradient(dy, y, sum):  # type: ignore[no-untyped-def]
    return dy - exp(y) * sum


@inline
def _probability(x, log_sum, factor):  # type: ignore[no-untyped-def]
    return factor * exp(x - log_sum)


@kernel
def softmax_forward(x, y, M, C, ROWS, begin, end):  # type: ignore[no-untyped-def]
    """Exponentials first go into y, then are scaled there."""
    for m in range(begin * ROWS, at_most(end * ROWS, M)):
        row, target = at(x, m * C), at(y, m * C)
        inverse = np.float32(1.0 / _exponentials(row, _maximum(row, C), target, C))
        _map_row(_product, target, target, (inverse,), C)


@kernel
def softmax_backward(dy, y, dx, M, C, ROWS, begin, end):  # type: ignore[no-untyped-def]
    """y * (dy - sum(dy * y))."""
    for m in range(begin * ROWS, at_most(end * ROWS, M)):
        gradient, value = at(dy, m * C), at(y, m * C)
        mean = np.float32(_dot(gradient, value, C))
        _map_rows(_softmax_gradient, gradient, value, at(dx, m * C), (mean,), C)


@kernel
def log_softmax_forward(x, y, M, C, ROWS, begin, end):  # type: ignore[no-untyped-def]
    """The maximum is subtracted first, so that large logits cost no digits."""
    for m in range(begin * ROWS, at_most(end * ROWS, M)):
        row = at(x, m * C)
        largest = _maximum(row, C)
        log_sum = log(np.float32(_exponential_sum(row, largest, C)))
        _map_row(_log_probability, row, at(y, m * C), (largest, log_sum), C)


@kernel
def log_softmax_backward(dy, y, dx, M, C, ROWS, begin, end):  # type: ignore[no-untyped-def]
    """dy - exp(y) * sum(dy)."""
    for m in range(begin * ROWS, at_most(end * ROWS, M)):
        gradient, value = at(dy, m * C), at(y, m * C)
        _map_rows(_log_softmax_gradient, gradient, value, at(dx, m * C), (np.float32(_sum(gradient, C)),), C)


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
            log_sum = np.float64(log(np.float32(_exponential_sum(row, np.float32(largest), C))))
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
        _map_row(_probability, row, gradient, (log_sum, common), C)
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
