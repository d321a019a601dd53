"""Softmax, log-softmax and the losses on class labels: M rows (samples) of C classes each.

Everything is computed in float64 and rounded once. Logits may be -inf (an impossible class). A row of nothing but -inf,
or one with +inf or NaN, has no softmax: NaN, as in PyTorch, and without a warning.
"""

from __future__ import annotations

import numpy as np


def _below_maximum(x: np.ndarray) -> np.ndarray:
    """Each row minus its maximum, in float64, so that exp cannot overflow."""
    return np.subtract(x, x.max(axis=1, keepdims=True, initial=-np.inf), dtype=np.float64)


def softmax_forward(x: np.ndarray, y: np.ndarray) -> None:
    """Turn logits into probabilities, row by row: ``y[i, c] = exp(x[i, c]) / sum over c' of exp(x[i, c'])``.

    Parameters
    ----------
    x : (M, C) logits.
    y : (M, C), written.

    Notes
    -----
    `torch.softmax` with ``dim=1``.
    """
    with np.errstate(invalid="ignore"):  # rows that have no softmax
        exponentials = np.exp(_below_maximum(x))
        y[...] = exponentials / exponentials.sum(axis=1, keepdims=True)


def softmax_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray) -> None:
    """Gradient of softmax: ``dx[i, c] = y[i, c] * (dy[i, c] - sum over c' of dy[i, c'] * y[i, c'])``.

    Parameters
    ----------
    dy : (M, C) gradient of the loss with respect to the output.
    y : (M, C) output of `softmax_forward`.
    dx : (M, C), written.
    """
    dx[...] = y * (dy - (dy * y).sum(axis=1, keepdims=True, dtype=np.float64))


def log_softmax_forward(x: np.ndarray, y: np.ndarray) -> None:
    """Logarithm of softmax, row by row: ``y[i, c] = x[i, c] - log(sum over c' of exp(x[i, c']))``.

    Parameters
    ----------
    x : (M, C) logits.
    y : (M, C), written.

    Notes
    -----
    `torch.log_softmax` with ``dim=1``.
    """
    with np.errstate(invalid="ignore"):  # rows that have no softmax
        below = _below_maximum(x)
        y[...] = below - np.log(np.exp(below).sum(axis=1, keepdims=True))


def log_softmax_backward(dy: np.ndarray, y: np.ndarray, dx: np.ndarray) -> None:
    """Gradient of log-softmax: ``dx[i, c] = dy[i, c] - exp(y[i, c]) * sum over c' of dy[i, c']``.

    Parameters
    ----------
    dy : (M, C) gradient of the loss with respect to the output.
    y : (M, C) output of `log_softmax_forward`.
    dx : (M, C), written.
    """
    dx[...] = dy - np.exp(y) * dy.sum(axis=1, keepdims=True, dtype=np.float64)


def _targets(target: np.ndarray, ignore_index: int) -> tuple[np.ndarray, np.ndarray]:
    """Which rows count, and the targets with 0 for those that do not: an ignored label may be no class at all."""
    counted = target != ignore_index
    return counted, np.where(counted, target, 0)


def _class_weights(weight: np.ndarray, classes: int) -> np.ndarray:
    """The class weights in float64; 1 for every class if there are none."""
    return weight.astype(np.float64) if len(weight) else np.ones(classes)


def _reduce(per_row: np.ndarray, row_weights: np.ndarray, y: np.ndarray, normaliser: np.ndarray, mean: int) -> None:
    """The sum of the rows' losses, or their mean weighted by the weights of the rows' targets."""
    normaliser[0] = row_weights.sum() if mean else 1
    with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0: the mean of no rows is NaN, as in PyTorch
        y[0] = per_row.sum() / normaliser[0]


def cross_entropy_forward(
    x: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray,
    loss: np.ndarray,
    lse: np.ndarray,
    y: np.ndarray,
    normaliser: np.ndarray,
    ignore_index: int,
    label_smoothing: float,
    mean: int,
) -> None:
    """Cross entropy of softmax(x) against class labels, smoothed if wanted.

    With t the row's target, eps the smoothing, w the class weights and ``lse[i] = log(sum over c of exp(x[i, c]))``::

        loss[i] = (1 - eps) * w[t] * (lse[i] - x[i, t]) + eps / C * sum over c of w[c] * (lse[i] - x[i, c])

    and 0 for a row whose target is `ignore_index`. ``y[0]`` is the sum of the losses divided by the normaliser: with
    `mean`, the sum of w[t] over the rows not ignored (so without weights, their number), otherwise 1.

    Parameters
    ----------
    x : (M, C) logits.
    target : (M,) int64 class labels, 0 to C - 1 or `ignore_index`.
    weight : (C,) weights of the classes, or (0,) for 1 each.
    loss : (M,), written: the loss of each row, not normalised.
    lse : (M,), written: the log-sum-exp of each row, kept for the gradient.
    y : (1,), written: their sum or mean; the mean of no rows is NaN.
    normaliser : (1,) float64, written.
    ignore_index : the label of rows that do not count.
    label_smoothing : eps, 0 to 1: the share of the target that is spread evenly over all classes.
    mean : whether y is the mean instead of the sum.

    Notes
    -----
    `torch.nn.functional.cross_entropy` with class labels; reduction "none" is `loss`. Label smoothing: C. Szegedy,
    V. Vanhoucke, S. Ioffe, J. Shlens, Z. Wojna, "Rethinking the Inception Architecture for Computer Vision", 2015.
    """
    rows, classes = x.shape
    counted, label = _targets(target, ignore_index)
    class_weights = _class_weights(weight, classes)
    with np.errstate(invalid="ignore"):  # rows that have no softmax, and weights of 0 for impossible classes
        below = _below_maximum(x)
        log_sum = np.log(np.exp(below).sum(axis=1))
        cost = log_sum[:, np.newaxis] - below  # minus the logarithm of each class's probability
        per_row = (1 - label_smoothing) * class_weights[label] * cost[np.arange(rows), label]
        if label_smoothing > 0:  # otherwise 0 * inf would spoil rows that have impossible classes
            per_row += label_smoothing / classes * (class_weights * cost).sum(axis=1)
        lse[...] = x.max(axis=1, initial=-np.inf) + log_sum
    per_row = np.where(counted, per_row, 0)
    loss[...] = per_row
    _reduce(per_row, class_weights[label[counted]], y, normaliser, mean)


def _row_gradients(dy: np.ndarray, counted: np.ndarray, normaliser: np.ndarray) -> np.ndarray:
    """The gradient with respect to each row's loss, in float64: (M, 1); 0 for rows that do not count."""
    with np.errstate(divide="ignore", invalid="ignore"):  # if no row counts the normaliser may be 0
        return np.where(counted, dy / normaliser[0], 0)[:, np.newaxis]


def cross_entropy_backward(
    dy: np.ndarray,
    x: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray,
    lse: np.ndarray,
    normaliser: np.ndarray,
    dx: np.ndarray,
    ignore_index: int,
    label_smoothing: float,
) -> None:
    """Gradient of `cross_entropy_forward`.

    With ``p[c] = exp(x[i, c] - lse[i])`` the row's softmax and W the sum of w over all classes::

        dx[i, c] = dy / normaliser * ((1 - eps) * w[t] * (p[c] - [c == t]) + eps / C * (W * p[c] - w[c]))

    and 0 for ignored rows.

    Parameters
    ----------
    dy : (1,) gradient of the whole loss with respect to y, or (M,) with respect to each of `loss` (normaliser 1).
    x : (M, C) logits.
    target : (M,) int64 class labels.
    weight : (C,) weights of the classes, or (0,).
    lse : (M,), as the forward pass wrote it.
    normaliser : (1,) float64, as the forward pass wrote it.
    dx : (M, C), written.
    ignore_index, label_smoothing : as in the forward pass.
    """
    rows, classes = x.shape
    counted, label = _targets(target, ignore_index)
    class_weights = _class_weights(weight, classes)
    with np.errstate(invalid="ignore"):  # rows that have no softmax
        probability = np.exp(x.astype(np.float64) - lse[:, np.newaxis])
    error = probability.copy()
    error[np.arange(rows), label] -= 1
    gradient = (1 - label_smoothing) * class_weights[label][:, np.newaxis] * error
    gradient += label_smoothing / classes * (class_weights.sum() * probability - class_weights)
    with np.errstate(invalid="ignore"):  # a normaliser of 0 (all weights 0)
        gradient *= _row_gradients(dy, counted, normaliser)
    dx[...] = np.where(counted[:, np.newaxis], gradient, 0)


def nll_loss_forward(
    x: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray,
    loss: np.ndarray,
    y: np.ndarray,
    normaliser: np.ndarray,
    ignore_index: int,
    mean: int,
) -> None:
    """Negative log-likelihood: ``loss[i] = -w[t] * x[i, t]`` with t the row's target, 0 for ignored rows.

    ``y[0]`` is the sum of the losses divided by the normaliser: with `mean`, the sum of w[t] over the rows not ignored,
    otherwise 1.

    Parameters
    ----------
    x : (M, C) logarithms of probabilities, see `log_softmax_forward`.
    target : (M,) int64 class labels, 0 to C - 1 or `ignore_index`.
    weight : (C,) weights w of the classes, or (0,) for 1 each.
    loss : (M,), written: the loss of each row, not normalised.
    y : (1,), written: their sum or mean; the mean of no rows is NaN.
    normaliser : (1,) float64, written.
    ignore_index : the label of rows that do not count.
    mean : whether y is the mean instead of the sum.

    Notes
    -----
    `torch.nn.functional.nll_loss`; reduction "none" is `loss`.
    """
    rows, classes = x.shape
    counted, label = _targets(target, ignore_index)
    class_weights = _class_weights(weight, classes)
    with np.errstate(invalid="ignore"):  # weight 0 for an impossible class: 0 * -inf
        per_row = np.where(counted, -class_weights[label] * x[np.arange(rows), label], 0)
    loss[...] = per_row
    _reduce(per_row, class_weights[label[counted]], y, normaliser, mean)


def nll_loss_backward(
    dy: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray,
    normaliser: np.ndarray,
    dx: np.ndarray,
    classes: int,
    ignore_index: int,
) -> None:
    """Gradient of `nll_loss_forward`: ``dx[i, t] = -w[t] * dy / normaliser``, 0 elsewhere and for ignored rows.

    Parameters
    ----------
    dy : (1,) gradient of the whole loss with respect to y, or (M,) with respect to each of `loss` (normaliser 1).
    target : (M,) int64 class labels.
    weight : (C,) weights of the classes, or (0,).
    normaliser : (1,) float64, as the forward pass wrote it.
    dx : (M, C), written whole.
    classes : C.
    ignore_index : as in the forward pass.
    """
    counted, label = _targets(target, ignore_index)
    with np.errstate(invalid="ignore"):  # a normaliser of 0 (all weights 0)
        gradient = -_class_weights(weight, classes)[label] * _row_gradients(dy, counted, normaliser)[:, 0]
    dx[...] = 0
    dx[np.arange(len(target)), label] = np.where(counted, gradient, 0)
