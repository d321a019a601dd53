"""Batch normalisation over M rows of C channels; a row is one pixel of one image (M = N * H * W) or one sample.

In all functions ``invstd = 1 / sqrt(variance + eps)`` and ``xhat = (x - mean) * invstd``, channel by channel. Outputs
are computed from ``x - mean``, not from ``x * scale + shift``, whose terms cancel where the mean is large.

S. Ioffe, C. Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift",
2015.
"""

from __future__ import annotations

import numpy as np


def _scaled(invstd: np.ndarray, w: np.ndarray) -> np.ndarray:
    """``w * invstd``, or `invstd` if there is no w."""
    return w * invstd if len(w) else invstd


def batch_norm_forward(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray,
    momentum: np.ndarray,
    running_mean: np.ndarray,
    running_var: np.ndarray,
    y: np.ndarray,
    mean: np.ndarray,
    invstd: np.ndarray,
    eps: float,
) -> None:
    """Batch normalisation while training: each channel to mean 0 and variance 1 over the batch, then scale and shift.

    ``y = xhat * w + b``, where the mean and the biased variance (the sum of squared deviations divided by M) are taken
    over all M rows, in float64. Then ``running = (1 - momentum) * running + momentum * statistic``, the statistic being
    the mean, and the unbiased variance (divided by M - 1). `y` is computed from `mean` and `invstd` as written, rounded
    to x's type, so that the gradient sees the same xhat.

    Parameters
    ----------
    x : (M, C).
    w, b : (C,) scale and shift, each (0,) for none.
    momentum : (1,) float64, the weight of this batch in the running statistics.
    running_mean, running_var : (C,) updated; both (0,) if they are not tracked.
    y : (M, C), written.
    mean, invstd : (C,), written: the batch's, kept for the gradient.
    eps : added to the variance, in units of x squared.

    Notes
    -----
    `torch.nn.functional.batch_norm` with ``training=True``. For M = 1 the unbiased variance is NaN.
    """
    rows = len(x)
    batch_mean = x.mean(axis=0, dtype=np.float64)
    squares = np.square(x - batch_mean).sum(axis=0)
    mean[...] = batch_mean
    invstd[...] = 1 / np.sqrt(squares / rows + eps)
    y[...] = (x - mean) * _scaled(invstd, w)
    if len(b):
        y += b
    if len(running_mean):
        keep, take = 1 - float(momentum[0]), float(momentum[0])
        running_mean[...] = keep * running_mean + take * batch_mean
        with np.errstate(invalid="ignore"):  # 0 / 0 for a single row
            running_var[...] = keep * running_var + take * (squares / (rows - 1))


def batch_norm_inference(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray,
    running_mean: np.ndarray,
    running_var: np.ndarray,
    y: np.ndarray,
    eps: float,
) -> None:
    """Batch normalisation with known statistics: ``y = (x - running_mean) / sqrt(running_var + eps) * w + b``.

    Parameters
    ----------
    x : (M, C).
    w, b : (C,) scale and shift, each (0,) for none.
    running_mean, running_var : (C,) statistics of the training data.
    y : (M, C), written.
    eps : added to the variance, in units of x squared.

    Notes
    -----
    `torch.nn.functional.batch_norm` with ``training=False``.
    """
    invstd = (1 / np.sqrt(running_var.astype(np.float64) + eps)).astype(x.dtype)
    y[...] = (x - running_mean) * _scaled(invstd, w)
    if len(b):
        y += b


def batch_norm_backward(
    dy: np.ndarray,
    x: np.ndarray,
    w: np.ndarray,
    mean: np.ndarray,
    invstd: np.ndarray,
    dx: np.ndarray,
    dw: np.ndarray,
    db: np.ndarray,
) -> None:
    """Gradient of `batch_norm_forward`, through the batch's mean and variance too.

    ``db = sum of dy`` and ``dw = sum of dy * xhat``, summed over all M rows, in float64;
    ``dx = w * invstd * (dy - db / M - xhat * dw / M)``.

    Parameters
    ----------
    dy : (M, C) gradient of the loss with respect to the output.
    x : (M, C) input of the forward pass.
    w : (C,) scale, or (0,).
    mean, invstd : (C,), as the forward pass wrote them.
    dx : (M, C), written.
    dw, db : (C,), written, whether or not there are a w and a b.
    """
    rows = len(x)
    xhat = (x - mean) * invstd
    sum_dy = dy.sum(axis=0, dtype=np.float64)
    sum_dy_xhat = (dy * xhat).sum(axis=0, dtype=np.float64)
    dx[...] = _scaled(invstd, w) * (dy - sum_dy / rows - xhat * (sum_dy_xhat / rows))
    dw[...] = sum_dy_xhat
    db[...] = sum_dy


def batch_norm_inference_backward(
    dy: np.ndarray,
    x: np.ndarray,
    w: np.ndarray,
    running_mean: np.ndarray,
    running_var: np.ndarray,
    dx: np.ndarray,
    dw: np.ndarray,
    db: np.ndarray,
    eps: float,
) -> None:
    """Gradient of `batch_norm_inference`, whose statistics are constants.

    ``db = sum of dy`` and ``dw = sum of dy * xhat``, summed over all M rows, in float64; ``dx = dy * w * invstd``.

    Parameters
    ----------
    dy : (M, C) gradient of the loss with respect to the output.
    x : (M, C) input of the forward pass.
    w : (C,) scale, or (0,).
    running_mean, running_var : (C,) statistics of the training data.
    dx : (M, C), written.
    dw, db : (C,), written, whether or not there are a w and a b.
    eps : added to the variance, in units of x squared.
    """
    invstd = (1 / np.sqrt(running_var.astype(np.float64) + eps)).astype(x.dtype)
    xhat = (x - running_mean) * invstd
    dx[...] = dy * _scaled(invstd, w)
    dw[...] = (dy * xhat).sum(axis=0, dtype=np.float64)
    db[...] = dy.sum(axis=0, dtype=np.float64)
