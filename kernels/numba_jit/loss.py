"""Softmax and the losses over rows of logits: task i handles rows [i * ROWS, (i + 1) * ROWS).

See `rows.py` for the loops. Results that would not stay in the caches are written around them, once: what is not yet
final stands in a tile, and rows that are too long for it take the ordinary way.
"""

from __future__ import annotations

import numpy as np

from .compiler import inline, kernel
from .exponential import ZERO, exp_bounded, log
from .memory import at, at_most, fill, floats, streams
from .rows import dot, exponential_sum, map_row, map_rows, maximum, sum_below, sum_of
from .vector import AHEAD

ROW = 4096  # elements of the longest row that a tile holds: 16 KB of L1


@inline
def _same(x):  # type: ignore[no-untyped-def]
    return x


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
    return dy - exp_bounded(y) * sum


@inline
def _probability(x, log_sum, factor, less):  # type: ignore[no-untyped-def]
    return factor * exp_bounded(x - log_sum) - less


@kernel
def softmax_forward(x, y, M, C, ROWS, begin, end):  # type: ignore[no-untyped-def]
    """Exponentials first go into a tile, or into y if the tile is too short, then are scaled."""
    tile, around = floats(ROW), streams(y, M * C, C) if C <= ROW else 0
    for m in range(begin * ROWS, at_most(end * ROWS, M)):
        row, target = at(x, m * C), at(y, m * C)
        exponentials = tile if C <= ROW else target
        inverse = np.float32(1.0 / exponential_sum(row, maximum(row, C), exponentials, 1, C))
        map_row(_product, exponentials, target, (inverse,), C, around, 0)


@inline
def _softmax_backward(dy, y, dx, C, first, stop, around):  # type: ignore[no-untyped-def]
    for m in range(first, stop):
        gradient, value = at(dy, m * C), at(y, m * C)
        mean = np.float32(dot(gradient, value, C))
        map_rows(_softmax_gradient, gradient, value, at(dx, m * C), (mean,), C, around)


@kernel
def softmax_backward(dy, y, dx, M, C, ROWS, begin, end):  # type: ignore[no-untyped-def]
    """y * (dy - sum(dy * y)); there are two loops over rows, for short rows need all registers."""
    first, stop = begin * ROWS, at_most(end * ROWS, M)
    if streams(dx, M * C, C):
        _softmax_backward(dy, y, dx, C, first, stop, 1)
    else:
        _softmax_backward(dy, y, dx, C, first, stop, 0)


@kernel
def log_softmax_forward(x, y, M, C, ROWS, begin, end):  # type: ignore[no-untyped-def]
    """The maximum is subtracted first, so that large logits cost no digits."""
    around = streams(y, M * C, C)
    for m in range(begin * ROWS, at_most(end * ROWS, M)):
        row = at(x, m * C)
        largest = maximum(row, C)
        log_sum = log(np.float32(exponential_sum(row, largest, row, 0, C)))
        map_row(_log_probability, row, at(y, m * C), (largest, log_sum), C, around, 0)


@kernel
def log_softmax_backward(dy, y, dx, M, C, ROWS, begin, end):  # type: ignore[no-untyped-def]
    """dy - exp(y) * sum(dy)."""
    around = streams(dx, M * C, C)
    for m in range(begin * ROWS, at_most(end * ROWS, M)):
        gradient, value = at(dy, m * C), at(y, m * C)
        total = np.float32(sum_of(gradient, C))
        map_rows(_log_softmax_gradient, gradient, value, at(dx, m * C), (total,), C, around)


@kernel
def cross_entropy_forward(  # type: ignore[no-untyped-def]
    x, target, weight, loss, lse, partial, M, C, CW, ROWS, ignore_index, label_smoothing, begin, end
):  # fmt: skip
    """A block's sum of losses and of weights go to its partial result, in double."""
    all_weights = np.float64(C)
    if label_smoothing != 0.0 and CW > 0:
        all_weights = -sum_below(0.0, at(weight, 0), 0, at(weight, 0), C)
    for part in range(begin, end):
        losses, weights = 0.0, 0.0
        for m in range(part * ROWS, at_most((part + 1) * ROWS, M)):
            row, t = at(x, m * C), target[m]
            largest = np.float64(maximum(row, C))
            log_sum = np.float64(log(np.float32(exponential_sum(row, np.float32(largest), row, 0, C))))
            lse[m] = np.float32(largest + log_sum)
            loss[m] = ZERO
            if t != ignore_index:
                w = np.float64(at(weight, t)[0]) if CW > 0 else 1.0
                # Not lse - x: the difference of logits is exact where they are large and near each other.
                value = (1.0 - label_smoothing) * w * (log_sum - (np.float64(at(row, t)[0]) - largest))
                if label_smoothing != 0.0:
                    costs = all_weights * log_sum + sum_below(largest, row, CW, at(weight, 0), C)
                    value += label_smoothing / C * costs
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


@kernel
def cross_entropy_backward(  # type: ignore[no-untyped-def]
    dy, x, target, weight, lse, normaliser, dx, M, C, CW, DY, ROWS, ignore_index, label_smoothing, begin, end
):  # fmt: skip
    """The probabilities times what is common to the row, then the terms of the label and of the smoothing."""
    tile, around = floats(ROW), streams(dx, M * C, C) if C <= ROW else 0
    weights = 0.0
    if label_smoothing != 0.0:
        weights = sum_of(at(weight, 0), C) if CW > 0 else np.float64(C)
    for m in range(begin * ROWS, at_most(end * ROWS, M)):
        row, result, t = at(x, m * C), at(dx, m * C), target[m]
        gradient = tile if around else result
        if t == ignore_index:
            fill(result, ZERO, C)
            continue
        share = np.float64(dy[m if DY > 1 else 0]) / normaliser[0]
        label = share * (1.0 - label_smoothing) * (np.float64(at(weight, t)[0]) if CW > 0 else 1.0)
        smooth = share * label_smoothing / C
        common, less = np.float32(label + smooth * weights), np.float32(smooth)
        map_row(_probability, row, gradient, (lse[m], common, ZERO if CW > 0 else less), C, 0, AHEAD)
        if smooth != 0.0 and CW > 0:
            for c in range(C):
                gradient[c] -= less * weight[c]
        at(gradient, t)[0] -= np.float32(label)
        if around:
            map_row(_same, tile, result, (), C, around, 0)


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
