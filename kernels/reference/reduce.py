"""Sums and means over one axis, and their gradients.

Any reduction is one over the middle axis of (A, R, B): A the outer length, R the length that is reduced, B the inner
length. A sum over rows is (1, M, C), over everything (1, size, 1), over the pixels of images (N, H * W, C).
"""

from __future__ import annotations

import numpy as np


def sum_forward(x: np.ndarray, y: np.ndarray) -> None:
    """Sum: ``y[a, b] = sum over r of x[a, r, b]``, in float64, rounded once; 0 where R is 0.

    Parameters
    ----------
    x : (A, R, B).
    y : (A, B), written.

    Notes
    -----
    `torch.sum` with ``dim``.
    """
    y[...] = x.sum(axis=1, dtype=np.float64)


def sum_backward(dy: np.ndarray, dx: np.ndarray, count: int) -> None:
    """Gradient of a sum: ``dx[a, r, b] = dy[a, b]``.

    Parameters
    ----------
    dy : (A, B) gradient of the loss with respect to the sums.
    dx : (A, R, B), written.
    count : R, which dy does not tell; here dx does.
    """
    dx[...] = dy[:, np.newaxis]


def mean_forward(x: np.ndarray, y: np.ndarray) -> None:
    """Arithmetic mean: ``y[a, b] = (sum over r of x[a, r, b]) / R``, in float64, rounded once; NaN where R is 0.

    Parameters
    ----------
    x : (A, R, B).
    y : (A, B), written.

    Notes
    -----
    `torch.mean` with ``dim``.
    """
    with np.errstate(invalid="ignore"):  # 0 / 0 is the mean of nothing
        y[...] = x.sum(axis=1, dtype=np.float64) / x.shape[1]


def mean_backward(dy: np.ndarray, dx: np.ndarray, count: int) -> None:
    """Gradient of a mean: ``dx[a, r, b] = dy[a, b] / R``.

    Parameters
    ----------
    dy : (A, B) gradient of the loss with respect to the means.
    dx : (A, R, B), written.
    count : R, how many elements were averaged.
    """
    with np.errstate(divide="ignore", invalid="ignore"):  # R = 0: dx is empty
        dx[...] = (dy / count)[:, np.newaxis]


def sum_squares(x: np.ndarray, y: np.ndarray) -> None:
    """Sum of squares: ``y[0] = sum of x**2`` over all elements, in float64; 0 if there are none.

    Parameters
    ----------
    x : any shape.
    y : (1,) float64, written.

    Notes
    -----
    The square of ``torch.linalg.vector_norm``.
    """
    y[0] = np.square(x, dtype=np.float64).sum()
