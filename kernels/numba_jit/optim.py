"""Optimizer steps: task i updates block i of BLOCK parameters; what is common to all of them is computed in double.

A gradient that is to be maximised changes its sign first; then weight decay adds to it, as in PyTorch. What concerns
the gradients as a whole is one task.
"""

from __future__ import annotations

import numpy as np

from ..blocking import BLOCK
from .compiler import inline, kernel
from .exponential import ONE, ZERO, sqrt
from .memory import at, at_most


@inline
def _direction(maximize):  # type: ignore[no-untyped-def]
    return -ONE if maximize else ONE


@kernel
def sgd_step(  # type: ignore[no-untyped-def]
    g, lr, step, p, momentum_buffer, SIZE, V, momentum, dampening, weight_decay, nesterov, maximize, begin, end
):  # fmt: skip
    """Without momentum, one loop; with it, the first step differs only in what it keeps of buffer and gradient."""
    start = begin * BLOCK
    count = at_most(end * BLOCK, SIZE) - start
    rate, decay, sign = np.float32(lr[0]), np.float32(weight_decay), _direction(maximize)
    gradient, parameter = at(g, start), at(p, start)
    if V == 0:
        for i in range(count):
            slope = sign * gradient[i] + decay * parameter[i]
            parameter[i] -= rate * slope
        return
    buffer = at(momentum_buffer, start)
    first = step[0] == 1
    take = ONE if first else np.float32(1.0 - dampening)
    keep, ahead = np.float32(momentum), np.float32(momentum if nesterov else 0.0)
    for i in range(count):
        slope = sign * gradient[i] + decay * parameter[i]
        # A buffer that was never written may hold anything, NaN too, so that it is not merely multiplied by 0.
        velocity = (ZERO if first else keep * buffer[i]) + take * slope
        buffer[i] = velocity
        parameter[i] -= rate * (slope + ahead * velocity if nesterov else velocity)


@inline
def _adam(g, p, exp_avg, exp_avg_sq, start, count, sign, rate, beta1, beta2, eps, step, decay, shrink):  # type: ignore[no-untyped-def]
    gradient, parameter, average, square = at(g, start), at(p, start), at(exp_avg, start), at(exp_avg_sq, start)
    step_size = np.float32(rate / (1.0 - beta1 ** np.float64(step)))
    correction = np.float32(sqrt(1.0 - beta2 ** np.float64(step)))
    take, keep_square, take_square = np.float32(1.0 - beta1), np.float32(beta2), np.float32(1.0 - beta2)
    small, added, kept = np.float32(eps), np.float32(decay), np.float32(shrink)
    for i in range(count):
        value = parameter[i] * kept
        slope = sign * gradient[i] + added * value
        first = average[i] + take * (slope - average[i])
        second = keep_square * square[i] + take_square * slope * slope
        average[i] = first
        square[i] = second
        parameter[i] = value - step_size * first / (sqrt(second) / correction + small)


@kernel
def adam_step(  # type: ignore[no-untyped-def]
    g, lr, step, p, exp_avg, exp_avg_sq, SIZE, beta1, beta2, eps, weight_decay, maximize, begin, end
):  # fmt: skip
    """One pass over parameters, gradient and both averages."""
    start = begin * BLOCK
    count = at_most(end * BLOCK, SIZE) - start
    sign = _direction(maximize)
    _adam(g, p, exp_avg, exp_avg_sq, start, count, sign, lr[0], beta1, beta2, eps, step[0], weight_decay, 1.0)


@kernel
def adamw_step(  # type: ignore[no-untyped-def]
    g, lr, step, p, exp_avg, exp_avg_sq, SIZE, beta1, beta2, eps, weight_decay, maximize, begin, end
):  # fmt: skip
    """As Adam, but the parameters shrink by themselves instead of through the gradient."""
    start = begin * BLOCK
    count = at_most(end * BLOCK, SIZE) - start
    sign, shrink = _direction(maximize), 1.0 - lr[0] * weight_decay
    _adam(g, p, exp_avg, exp_avg_sq, start, count, sign, lr[0], beta1, beta2, eps, step[0], 0.0, shrink)


@kernel
def adagrad_step(g, lr, step, p, sum, SIZE, lr_decay, eps, weight_decay, maximize, begin, end):  # type: ignore[no-untyped-def]
    """One pass over parameters, gradient and sum of squares."""
    start = begin * BLOCK
    gradient, parameter, squares = at(g, start), at(p, start), at(sum, start)
    rate = np.float32(lr[0] / (1.0 + np.float64(step[0] - 1) * lr_decay))
    small, decay, sign = np.float32(eps), np.float32(weight_decay), _direction(maximize)
    for i in range(at_most(end * BLOCK, SIZE) - start):
        slope = sign * gradient[i] + decay * parameter[i]
        total = squares[i] + slope * slope
        squares[i] = total
        parameter[i] -= rate * slope / (sqrt(total) + small)


@inline
def _rmsprop_update(parameter, slope, spread, velocity, rate, momentum):  # type: ignore[no-untyped-def]
    """The new parameter and velocity."""
    velocity = momentum * velocity + slope / spread
    return parameter - rate * velocity, velocity


@kernel
def rmsprop_step(  # type: ignore[no-untyped-def]
    g, lr, p, square_avg, momentum_buffer, grad_avg, SIZE, V, G,
    alpha, eps, weight_decay, momentum, maximize, begin, end
):  # fmt: skip
    """One pass over parameters, gradient and averages; LLVM makes a loop of each case of absent arrays."""
    start = begin * BLOCK
    count = at_most(end * BLOCK, SIZE) - start
    gradient, parameter, square = at(g, start), at(p, start), at(square_avg, start)
    buffer, average = at(momentum_buffer, start), at(grad_avg, start)
    rate, keep, take = np.float32(lr[0]), np.float32(alpha), np.float32(1.0 - alpha)
    small, decay, sign, memory = np.float32(eps), np.float32(weight_decay), _direction(maximize), np.float32(momentum)
    for i in range(count):
        slope = sign * gradient[i] + decay * parameter[i]
        second = keep * square[i] + take * slope * slope
        square[i] = second
        if G > 0:
            first = average[i] + take * (slope - average[i])
            average[i] = first
            second = second - first * first
        spread = sqrt(second) + small
        if V > 0:
            parameter[i], buffer[i] = _rmsprop_update(parameter[i], slope, spread, buffer[i], rate, memory)
        else:
            parameter[i] -= rate * slope / spread


@kernel
def adadelta_step(  # type: ignore[no-untyped-def]
    g, lr, p, square_avg, acc_delta, SIZE, rho, eps, weight_decay, maximize, begin, end
):  # fmt: skip
    """One pass over parameters, gradient and both averages."""
    start = begin * BLOCK
    gradient, parameter, square, moved = at(g, start), at(p, start), at(square_avg, start), at(acc_delta, start)
    rate, keep, take = np.float32(lr[0]), np.float32(rho), np.float32(1.0 - rho)
    small, decay, sign = np.float32(eps), np.float32(weight_decay), _direction(maximize)
    for i in range(at_most(end * BLOCK, SIZE) - start):
        slope = sign * gradient[i] + decay * parameter[i]
        second = keep * square[i] + take * slope * slope
        delta = sqrt(moved[i] + small) / sqrt(second + small) * slope
        square[i] = second
        moved[i] = keep * moved[i] + take * delta * delta
        parameter[i] -= rate * delta


@inline
def _sum(numbers, count):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(count):
        total += numbers[i]
    return total


@kernel
def gradient_norm(squares, norm, factor, P, max_norm, begin, end):  # type: ignore[no-untyped-def]
    """In double, rounded once; NaN is not above 1, and so stays."""
    total = sqrt(_sum(squares, P))
    quotient = max_norm / (total + 1e-6)
    norm[0] = np.float32(total)
    factor[0] = np.float32(1.0 if quotient > 1.0 else quotient)


@kernel
def finite(squares, losses, total, P, L, begin, end):  # type: ignore[no-untyped-def]
    """In double; 0 times what is not finite is NaN."""
    result = _sum(squares, P)
    for i in range(L):
        result += losses[i] * 0.0
    total[0] = result
