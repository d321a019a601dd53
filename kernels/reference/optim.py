"""Optimizer steps: one update of one parameter from its gradient, as in PyTorch's single-tensor implementations.

What all steps share:

- ``g`` is the gradient and ``p`` the parameter, of one shape; ``lr`` (1,) float64 is the learning rate; ``step`` (1,)
  int64 is the number of this step, counting from 1. Both are buffers so that they can change between runs.
- With `maximize` the gradient's sign is flipped first. Then `weight_decay` (L2 regularisation) adds
  ``weight_decay * p`` to it, except in AdamW.
- The state is updated in place. It starts as zeros, unless said otherwise.
- All divisions and square roots are element by element. Scalars are computed in float64.
"""

from __future__ import annotations

import numpy as np


def _gradient(g: np.ndarray, p: np.ndarray, weight_decay: float, maximize: int) -> np.ndarray:
    """The gradient to descend along: the sign flipped for `maximize`, weight decay added."""
    downhill = -g if maximize else g
    return downhill + weight_decay * p if weight_decay else downhill


def sgd_step(
    g: np.ndarray,
    lr: np.ndarray,
    step: np.ndarray,
    p: np.ndarray,
    momentum_buffer: np.ndarray,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: int,
    maximize: int,
) -> None:
    """Stochastic gradient descent, with momentum if wanted: ``p -= lr * d``.

    Without momentum, ``d = g``. With it, ``v = momentum * v + (1 - dampening) * g``, except that v is g itself in the
    first step; then ``d = v``, or with Nesterov's look-ahead ``d = g + momentum * v``.

    Parameters
    ----------
    g, lr, step : see the module's docstring.
    p : updated.
    momentum_buffer : (size of p,) v, updated; (0,) if `momentum` is 0.
    momentum : share of v that is kept.
    dampening : share of the gradient that is held back from v.
    weight_decay : factor of p that is added to g.
    nesterov, maximize : 0 or 1.

    Notes
    -----
    `torch.optim.SGD`. I. Sutskever, J. Martens, G. Dahl, G. Hinton, "On the importance of initialization and momentum
    in deep learning", 2013; but as in PyTorch the learning rate multiplies v instead of going into it.
    """
    direction = _gradient(g, p, weight_decay, maximize)
    if momentum:
        velocity = momentum_buffer.reshape(p.shape)
        if step[0] == 1:
            velocity[...] = direction
        else:
            velocity *= momentum
            velocity += (1 - dampening) * direction
        direction = direction + momentum * velocity if nesterov else velocity
    p -= float(lr[0]) * direction


def _adam_update(
    g: np.ndarray,
    lr: float,
    step: int,
    p: np.ndarray,
    exp_avg: np.ndarray,
    exp_avg_sq: np.ndarray,
    beta1: float,
    beta2: float,
    eps: float,
) -> None:
    """What Adam and AdamW have in common, see `adam_step`."""
    exp_avg += (1 - beta1) * (g - exp_avg)
    exp_avg_sq *= beta2
    exp_avg_sq += (1 - beta2) * (g * g)
    correction1 = 1 - beta1**step
    correction2 = 1 - beta2**step
    p -= lr / correction1 * exp_avg / (np.sqrt(exp_avg_sq) / correction2**0.5 + eps)


def adam_step(
    g: np.ndarray,
    lr: np.ndarray,
    step: np.ndarray,
    p: np.ndarray,
    exp_avg: np.ndarray,
    exp_avg_sq: np.ndarray,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    maximize: int,
) -> None:
    """Adam: steps of about lr, whatever the gradient's scale.

    ``m = beta1 * m + (1 - beta1) * g`` and ``v = beta2 * v + (1 - beta2) * g**2`` are running means, biased towards
    their start at 0; ``mhat = m / (1 - beta1**step)`` and ``vhat = v / (1 - beta2**step)`` are not;
    ``p -= lr * mhat / (sqrt(vhat) + eps)``.

    Parameters
    ----------
    g, lr, step : see the module's docstring.
    p : updated.
    exp_avg : m, of p's shape, updated.
    exp_avg_sq : v, of p's shape, updated.
    beta1, beta2 : share of m and v that is kept.
    eps : keeps the division from 0; in units of g.
    weight_decay : factor of p that is added to g.
    maximize : 0 or 1.

    Notes
    -----
    `torch.optim.Adam` without ``amsgrad``. D. P. Kingma, J. Ba, "Adam: A Method for Stochastic Optimization", 2014.
    """
    gradient = _gradient(g, p, weight_decay, maximize)
    _adam_update(gradient, float(lr[0]), int(step[0]), p, exp_avg, exp_avg_sq, beta1, beta2, eps)


def adamw_step(
    g: np.ndarray,
    lr: np.ndarray,
    step: np.ndarray,
    p: np.ndarray,
    exp_avg: np.ndarray,
    exp_avg_sq: np.ndarray,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    maximize: int,
) -> None:
    """Adam with decoupled weight decay: ``p *= 1 - lr * weight_decay``, then Adam's step with the bare gradient.

    Parameters
    ----------
    g, lr, step : see the module's docstring.
    p, exp_avg, exp_avg_sq : updated, see `adam_step`.
    beta1, beta2, eps : see `adam_step`.
    weight_decay : share of p that is lost per step and unit of learning rate.
    maximize : 0 or 1.

    Notes
    -----
    `torch.optim.AdamW` without ``amsgrad``. I. Loshchilov, F. Hutter, "Decoupled Weight Decay Regularization", 2017.
    """
    rate = float(lr[0])
    p *= 1 - rate * weight_decay
    _adam_update(-g if maximize else g, rate, int(step[0]), p, exp_avg, exp_avg_sq, beta1, beta2, eps)


def adagrad_step(
    g: np.ndarray,
    lr: np.ndarray,
    step: np.ndarray,
    p: np.ndarray,
    sum: np.ndarray,
    lr_decay: float,
    eps: float,
    weight_decay: float,
    maximize: int,
) -> None:
    """Adagrad: ``sum += g**2; p -= lr / (1 + (step - 1) * lr_decay) * g / (sqrt(sum) + eps)``.

    Parameters
    ----------
    g, lr, step : see the module's docstring.
    p : updated.
    sum : of p's shape, updated: the squares of all gradients so far; starts as PyTorch's ``initial_accumulator_value``.
    lr_decay : how fast the learning rate falls.
    eps : keeps the division from 0; in units of g.
    weight_decay : factor of p that is added to g.
    maximize : 0 or 1.

    Notes
    -----
    `torch.optim.Adagrad`. J. Duchi, E. Hazan, Y. Singer, "Adaptive Subgradient Methods for Online Learning and
    Stochastic Optimization", 2011.
    """
    gradient = _gradient(g, p, weight_decay, maximize)
    sum += gradient * gradient
    rate = float(lr[0]) / (1 + (int(step[0]) - 1) * lr_decay)
    p -= rate * gradient / (np.sqrt(sum) + eps)


def rmsprop_step(
    g: np.ndarray,
    lr: np.ndarray,
    step: np.ndarray,
    p: np.ndarray,
    square_avg: np.ndarray,
    momentum_buffer: np.ndarray,
    grad_avg: np.ndarray,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
    maximize: int,
) -> None:
    """RMSprop: the gradient divided by the root of its mean square, with momentum if wanted.

    ``s = alpha * s + (1 - alpha) * g**2``. Centred, ``a = alpha * a + (1 - alpha) * g`` and the divisor is
    ``sqrt(s - a**2) + eps``, otherwise ``sqrt(s) + eps``. With momentum, ``v = momentum * v + g / divisor`` and
    ``p -= lr * v``, otherwise ``p -= lr * g / divisor``.

    Parameters
    ----------
    g, lr, step : see the module's docstring; `step` is not used.
    p : updated.
    square_avg : s, of p's shape, updated.
    momentum_buffer : (size of p,) v, updated; (0,) if `momentum` is 0.
    grad_avg : (size of p,) a, updated; (0,) if the divisor is not centred.
    alpha : share of s and a that is kept.
    eps : keeps the division from 0; in units of g.
    weight_decay : factor of p that is added to g.
    momentum : share of v that is kept.
    maximize : 0 or 1.

    Notes
    -----
    `torch.optim.RMSprop`; ``centered=True`` if `grad_avg` has elements. T. Tieleman, G. Hinton, "Lecture 6.5: rmsprop",
    COURSERA, 2012; centred: A. Graves, "Generating Sequences With Recurrent Neural Networks", 2013.
    """
    gradient = _gradient(g, p, weight_decay, maximize)
    square_avg *= alpha
    square_avg += (1 - alpha) * (gradient * gradient)
    variance = square_avg
    if len(grad_avg):
        average = grad_avg.reshape(p.shape)
        average += (1 - alpha) * (gradient - average)
        variance = square_avg - average * average
    update = gradient / (np.sqrt(variance) + eps)
    if momentum:
        velocity = momentum_buffer.reshape(p.shape)
        velocity *= momentum
        velocity += update
        update = velocity
    p -= float(lr[0]) * update


def adadelta_step(
    g: np.ndarray,
    lr: np.ndarray,
    step: np.ndarray,
    p: np.ndarray,
    square_avg: np.ndarray,
    acc_delta: np.ndarray,
    rho: float,
    eps: float,
    weight_decay: float,
    maximize: int,
) -> None:
    """Adadelta: steps in the units of the parameter, from the ratio of two running mean squares.

    ``s = rho * s + (1 - rho) * g**2``, ``d = sqrt(u + eps) / sqrt(s + eps) * g``,
    ``u = rho * u + (1 - rho) * d**2``, ``p -= lr * d``.

    Parameters
    ----------
    g, lr, step : see the module's docstring; `step` is not used.
    p : updated.
    square_avg : s, of p's shape, updated.
    acc_delta : u, of p's shape, updated.
    rho : share of s and u that is kept.
    eps : keeps the roots from 0; in units of g squared.
    weight_decay : factor of p that is added to g.
    maximize : 0 or 1.

    Notes
    -----
    `torch.optim.Adadelta`. M. D. Zeiler, "ADADELTA: An Adaptive Learning Rate Method", 2012.
    """
    gradient = _gradient(g, p, weight_decay, maximize)
    square_avg *= rho
    square_avg += (1 - rho) * (gradient * gradient)
    delta = np.sqrt(acc_delta + eps) / np.sqrt(square_avg + eps) * gradient
    acc_delta *= rho
    acc_delta += (1 - rho) * (delta * delta)
    p -= float(lr[0]) * delta


# ---------------------------------------------------------------- gradients as a whole


def gradient_norm(squares: np.ndarray, norm: np.ndarray, factor: np.ndarray, max_norm: float) -> None:
    """Norm of all gradients as one vector, and the factor that brings it down to `max_norm`.

    ``norm = sqrt(sum of squares)`` and ``factor = min(1, max_norm / (norm + 1e-6))``, in float64, rounded once. A norm
    of NaN has the factor NaN.

    Parameters
    ----------
    squares : (P,) float64, the sum of squares of every gradient.
    norm : (1,), written.
    factor : (1,), written.
    max_norm : the largest norm.

    Notes
    -----
    `torch.nn.utils.clip_grad_norm_`.
    """
    total = np.sqrt(squares.sum())
    norm[0] = total
    with np.errstate(invalid="ignore"):  # inf / inf
        factor[0] = np.minimum(1.0, max_norm / (total + 1e-6))


def finite(squares: np.ndarray, losses: np.ndarray, total: np.ndarray) -> None:
    """One number that is finite exactly if all numbers are: ``total = sum of squares + sum of 0 * losses``.

    Parameters
    ----------
    squares : (P,) float64, the sum of squares of every gradient.
    losses : (L,).
    total : (1,) float64, written; NaN or infinite if one of the numbers is.
    """
    with np.errstate(invalid="ignore"):  # 0 * inf
        total[0] = squares.sum() + (0 * losses).sum(dtype=np.float64)
