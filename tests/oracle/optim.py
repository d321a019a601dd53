"""Optimizer steps, element by element, from the algorithm boxes of PyTorch's documentation."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Arrays = dict[str, np.ndarray]


def stepped(
    function: Callable[..., tuple[float, ...]], g: np.ndarray, names: tuple[str, ...], *state: np.ndarray
) -> Arrays:
    """New values of `state`, by name, from ``function(gradient, *state of the element)``; absent arrays stay empty."""
    new = [np.array(array, float) for array in state]
    for i, gradient in enumerate(g.ravel().tolist()):
        values = function(gradient, *(float(array.ravel()[i]) if array.size else 0.0 for array in state))
        for array, value in zip(new, values, strict=True):
            if array.size:
                array.reshape(-1)[i] = value
    return dict(zip(names, new, strict=True))


def sgd_step(g, lr, step, p, momentum_buffer, momentum, dampening, weight_decay, nesterov, maximize) -> Arrays:
    def update(g, p, buffer):
        g = (-g if maximize else g) + weight_decay * p
        if momentum:
            buffer = g if step[0] == 1 else momentum * buffer + (1.0 - dampening) * g
            g = g + momentum * buffer if nesterov else buffer
        return p - lr[0] * g, buffer

    return stepped(update, g, ("p", "momentum_buffer"), p, momentum_buffer)


def adam_step(g, lr, step, p, exp_avg, exp_avg_sq, beta1, beta2, eps, weight_decay, maximize) -> Arrays:
    def update(g, p, first, second):
        g = (-g if maximize else g) + weight_decay * p
        first = beta1 * first + (1.0 - beta1) * g
        second = beta2 * second + (1.0 - beta2) * g * g
        mean, square = first / (1.0 - beta1 ** int(step[0])), second / (1.0 - beta2 ** int(step[0]))
        return p - lr[0] * mean / (math.sqrt(square) + eps), first, second

    return stepped(update, g, ("p", "exp_avg", "exp_avg_sq"), p, exp_avg, exp_avg_sq)


def adamw_step(g, lr, step, p, exp_avg, exp_avg_sq, beta1, beta2, eps, weight_decay, maximize) -> Arrays:
    decayed = p * (1.0 - lr[0] * weight_decay)
    return adam_step(g, lr, step, decayed, exp_avg, exp_avg_sq, beta1, beta2, eps, 0.0, maximize)


def adagrad_step(g, lr, step, p, sum, lr_decay, eps, weight_decay, maximize) -> Arrays:
    def update(g, p, total):
        g = (-g if maximize else g) + weight_decay * p
        total = total + g * g
        return p - lr[0] / (1.0 + (int(step[0]) - 1) * lr_decay) * g / (math.sqrt(total) + eps), total

    return stepped(update, g, ("p", "sum"), p, sum)


def rmsprop_step(g, lr, step, p, square_avg, momentum_buffer, grad_avg, alpha, eps, weight_decay, momentum,
                 maximize) -> Arrays:  # fmt: skip
    centered = bool(grad_avg.size)

    def update(g, p, square, buffer, mean):
        g = (-g if maximize else g) + weight_decay * p
        square = alpha * square + (1.0 - alpha) * g * g
        mean = alpha * mean + (1.0 - alpha) * g
        quotient = g / (math.sqrt(square - mean * mean if centered else square) + eps)
        buffer = momentum * buffer + quotient
        return p - lr[0] * (buffer if momentum else quotient), square, buffer, mean

    names = ("p", "square_avg", "momentum_buffer", "grad_avg")
    return stepped(update, g, names, p, square_avg, momentum_buffer, grad_avg)


def adadelta_step(g, lr, step, p, square_avg, acc_delta, rho, eps, weight_decay, maximize) -> Arrays:
    def update(g, p, square, delta_square):
        g = (-g if maximize else g) + weight_decay * p
        square = rho * square + (1.0 - rho) * g * g
        delta = math.sqrt(delta_square + eps) / math.sqrt(square + eps) * g
        return p - lr[0] * delta, square, rho * delta_square + (1.0 - rho) * delta * delta

    return stepped(update, g, ("p", "square_avg", "acc_delta"), p, square_avg, acc_delta)


def gradient_norm(squares, max_norm) -> Arrays:
    norm = math.sqrt(math.fsum(squares.tolist()))
    return {"norm": np.array([norm]), "factor": np.array([min(1.0, max_norm / (norm + 1e-6))])}


def finite(squares, losses) -> Arrays:
    return {"total": np.array([math.fsum(squares.tolist())]) * (1.0 if np.isfinite(losses).all() else math.nan)}
