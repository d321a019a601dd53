"""Linear layers: matrix products. The gradient of a bias is the sum of dy over rows (`sum_forward`)."""

from __future__ import annotations

import numpy as np


def linear_forward(x: np.ndarray, w: np.ndarray, b: np.ndarray, y: np.ndarray) -> None:
    """Every row times the weights, plus the bias: ``y[m, o] = b[o] + sum over i of x[m, i] * w[o, i]``.

    Parameters
    ----------
    x : (M, I) rows of I features.
    w : (O, I) weights.
    b : (O,) bias, or (0,) for none.
    y : (M, O), written.

    Notes
    -----
    `torch.nn.functional.linear`.
    """
    y[...] = x @ w.T
    if len(b):
        y += b


def linear_backward_data(dy: np.ndarray, w: np.ndarray, dx: np.ndarray) -> None:
    """Gradient with respect to the rows: ``dx[m, i] = sum over o of dy[m, o] * w[o, i]``.

    Parameters
    ----------
    dy : (M, O) gradient of the loss with respect to the output.
    w : (O, I) weights.
    dx : (M, I), written.
    """
    dx[...] = dy @ w


def linear_backward_weight(x: np.ndarray, dy: np.ndarray, dw: np.ndarray) -> None:
    """Gradient with respect to the weights, summed over rows: ``dw[o, i] = sum over m of dy[m, o] * x[m, i]``.

    Parameters
    ----------
    x : (M, I) rows of I features.
    dy : (M, O) gradient of the loss with respect to the output.
    dw : (O, I), written.
    """
    dw[...] = dy.T @ x
