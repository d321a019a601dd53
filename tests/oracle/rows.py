"""Sums, softmax and the losses, row by row."""

from __future__ import annotations

import math

import numpy as np

Arrays = dict[str, np.ndarray]


def sum_forward(x) -> Arrays:
    y = np.zeros((x.shape[0], x.shape[2]))
    values = x.tolist()
    for a, b in np.ndindex(y.shape):
        y[a, b] = math.fsum(values[a][r][b] for r in range(x.shape[1]))
    return {"y": y}


def sum_backward(dy, count) -> Arrays:
    dx = np.zeros((dy.shape[0], count, dy.shape[1]))
    for a, r, b in np.ndindex(dx.shape):
        dx[a, r, b] = dy[a, b]
    return {"dx": dx}


def mean_forward(x) -> Arrays:
    return {"y": sum_forward(x)["y"] / x.shape[1]}


def mean_backward(dy, count) -> Arrays:
    return {"dx": sum_backward(dy, count)["dx"] / count}


def log_sum_exp(row: list[float]) -> float:
    top = max(row, default=0.0)
    return top + math.log(math.fsum(math.exp(value - top) for value in row))


def softmax_forward(x) -> Arrays:
    y = np.zeros(x.shape)
    for m, row in enumerate(x.tolist()):
        top = max(row)
        total = math.fsum(math.exp(value - top) for value in row)
        y[m] = [math.exp(value - top) / total for value in row]
    return {"y": y}


def softmax_backward(dy, y) -> Arrays:
    dx = np.zeros(y.shape)
    for m, (gradient, row) in enumerate(zip(dy.tolist(), y.tolist(), strict=True)):
        inner = math.fsum(g * p for g, p in zip(gradient, row, strict=True))
        dx[m] = [p * (g - inner) for g, p in zip(gradient, row, strict=True)]
    return {"dx": dx}


def log_softmax_forward(x) -> Arrays:
    y = np.zeros(x.shape)
    for m, row in enumerate(x.tolist()):
        top = max(row, default=0.0)
        log_sum = math.log(math.fsum(math.exp(value - top) for value in row))
        y[m] = [value - top - log_sum for value in row]
    return {"y": y}


def log_softmax_backward(dy, y) -> Arrays:
    dx = np.zeros(y.shape)
    for m, (gradient, row) in enumerate(zip(dy.tolist(), y.tolist(), strict=True)):
        total = math.fsum(gradient)
        dx[m] = [g - math.exp(value) * total for g, value in zip(gradient, row, strict=True)]
    return {"dx": dx}


def reduced(loss: np.ndarray, weights: list[float], mean: int) -> Arrays:
    """The sum of the rows' losses, or their mean by weight."""
    total, normaliser = math.fsum(loss), math.fsum(weights) if mean else 1.0
    y = total / normaliser if normaliser else math.nan
    return {"loss": loss, "y": np.array([y]), "normaliser": np.array([normaliser])}


def cross_entropy_forward(x, target, weight, ignore_index, label_smoothing, mean) -> Arrays:
    rows, classes = x.shape
    of_class = weight.tolist() or [1.0] * classes
    loss, lse, weights = np.zeros(rows), np.zeros(rows), []
    for m, row in enumerate(x.tolist()):
        lse[m] = log_sum_exp(row)
        t = int(target[m])
        if t == ignore_index:
            continue
        weights.append(of_class[t])
        loss[m] = (1.0 - label_smoothing) * of_class[t] * (lse[m] - row[t])
        if label_smoothing:
            spread = math.fsum(of_class[c] * (lse[m] - row[c]) for c in range(classes))
            loss[m] += label_smoothing / classes * spread
    return reduced(loss, weights, mean) | {"lse": lse}


def cross_entropy_backward(dy, x, target, weight, lse, normaliser, ignore_index, label_smoothing) -> Arrays:
    classes = x.shape[1]
    of_class = weight.tolist() or [1.0] * classes
    total = math.fsum(of_class)
    dx = np.zeros(x.shape)
    for m, row in enumerate(x.tolist()):
        t = int(target[m])
        if t == ignore_index:
            continue
        g = float(dy[m if len(dy) > 1 else 0]) / float(normaliser[0])
        for c in range(classes):
            p = math.exp(row[c] - float(lse[m]))
            hard = of_class[t] * (p - (c == t))
            smooth = (p * total - of_class[c]) / classes
            dx[m, c] = g * ((1.0 - label_smoothing) * hard + label_smoothing * smooth)
    return {"dx": dx}


def nll_loss_forward(x, target, weight, ignore_index, mean) -> Arrays:
    rows, classes = x.shape
    of_class = weight.tolist() or [1.0] * classes
    loss, weights = np.zeros(rows), []
    for m in range(rows):
        t = int(target[m])
        if t != ignore_index:
            weights.append(of_class[t])
            loss[m] = -of_class[t] * x[m, t]
    return reduced(loss, weights, mean)


def nll_loss_backward(dy, target, weight, normaliser, classes, ignore_index) -> Arrays:
    dx = np.zeros((len(target), classes))
    of_class = weight.tolist() or [1.0] * classes
    for m in range(len(target)):
        t = int(target[m])
        if t != ignore_index:
            dx[m, t] = -of_class[t] * dy[m if len(dy) > 1 else 0] / normaliser[0]
    return {"dx": dx}


def sum_squares(x) -> Arrays:
    return {"y": np.array([math.fsum(v * v for v in x.ravel().tolist())])}
