"""Batch normalisation over M rows of C channels; a row is one pixel of one image (M = N * H * W) or one sample.

In all functions ``invstd = 1 / sqrt(variance + eps)`` and ``xhat = (x - mean) * invstd``, channel by channel. Outputs
are computed from ``x - mean``, not from ``x * scale + shift``, whose terms cancel where the mean is large.

The pieces at the end are a batch norm for convolutions that do its passes over memory themselves (`fused.py`): they
take sums over the rows, around a centre near the mean, and give what ``x * scale + shift`` and its gradient need.

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


# ---------------------------------------------------------------- pieces


def channel_sums(x: np.ndarray, centre: np.ndarray, sums: np.ndarray) -> None:
    """``sums[0] = sum of (x - centre)`` and ``sums[1] = sum of (x - centre)**2`` over all M rows.

    Parameters
    ----------
    x : (M, C).
    centre : (C,) numbers near the means of the channels, so that nothing cancels in the variance.
    sums : (2, C) float64, written.
    """
    deviation = x - centre
    sums[0] = deviation.sum(axis=0, dtype=np.float64)
    sums[1] = np.square(deviation).sum(axis=0, dtype=np.float64)


def batch_norm_statistics(
    sums: np.ndarray,
    centre: np.ndarray,
    w: np.ndarray,
    b: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    invstd: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    count: int,
    eps: float,
) -> None:
    """A batch norm's statistics from `channel_sums`, and the norm as a scale and a shift.

    With ``m = sums[0] / count``: ``mean = centre + m``, ``var = sums[1] / count - m**2`` (biased, at least 0),
    ``invstd = 1 / sqrt(var + eps)``, ``scale = w * invstd``, ``shift = b - mean * scale``; in float64, each result
    rounded once. `shift` is computed from `scale` as written, so that ``x * scale + shift`` is b where x is the mean,
    however far from 0 that is.

    Parameters
    ----------
    sums : (2, C) float64, of deviations from `centre` and of their squares over `count` rows.
    centre : (C,).
    w, b : (C,) scale and shift of the norm, each (0,) for none.
    mean, var, invstd : (C,), written.
    scale, shift : (C,), written.
    count : how many rows were summed, at least 1.
    eps : added to the variance, in units of x squared.
    """
    offset = sums[0] / count
    exact_mean = centre + offset
    variance = np.maximum(sums[1] / count - offset * offset, 0)
    exact_invstd = 1 / np.sqrt(variance + eps)
    mean[...] = exact_mean
    var[...] = variance
    invstd[...] = exact_invstd
    scale[...] = _scaled(exact_invstd, w)
    shift[...] = (b if len(b) else 0) - exact_mean * scale


def batch_norm_running(
    mean: np.ndarray,
    var: np.ndarray,
    momentum: np.ndarray,
    running_mean: np.ndarray,
    running_var: np.ndarray,
    count: int,
) -> None:
    """``running = (1 - momentum) * running + momentum * statistic``, for the mean and the unbiased variance.

    Parameters
    ----------
    mean, var : (C,) of the batch; the variance is the biased one, and is multiplied by ``count / (count - 1)``.
    momentum : (1,) float64, the weight of this batch.
    running_mean, running_var : (C,) updated.
    count : rows of the batch; for a single one the unbiased variance is NaN.
    """
    keep, take = 1 - float(momentum[0]), float(momentum[0])
    running_mean[...] = keep * running_mean + take * mean.astype(np.float64)
    with np.errstate(invalid="ignore"):  # 0 / 0 for a single row
        running_var[...] = keep * running_var + take * (var.astype(np.float64) * count / np.float64(count - 1))


def batch_norm_scale(
    running_mean: np.ndarray,
    running_var: np.ndarray,
    w: np.ndarray,
    b: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    eps: float,
) -> None:
    """A batch norm outside of training as a scale and a shift.

    ``scale = w / sqrt(running_var + eps)``, ``shift = b - running_mean * scale`` (with `scale` as written), in float64,
    each rounded once.

    Parameters
    ----------
    running_mean, running_var : (C,).
    w, b : (C,) scale and shift of the norm, each (0,) for none.
    scale, shift : (C,), written.
    eps : added to the variance.
    """
    scale[...] = _scaled(1 / np.sqrt(running_var.astype(np.float64) + eps), w)
    shift[...] = (b if len(b) else 0) - running_mean.astype(np.float64) * scale


def batch_norm_gradient(
    sums: np.ndarray,
    w: np.ndarray,
    mean: np.ndarray,
    invstd: np.ndarray,
    dw: np.ndarray,
    db: np.ndarray,
    slope: np.ndarray,
    factor: np.ndarray,
    offset: np.ndarray,
    count: int,
) -> None:
    """A batch norm's gradients from two sums over the rows, and its input's as two factors and a summand.

    ``db = sums[0]``, ``dw = sums[1] * invstd``, ``slope = w * invstd``, ``factor = -w * invstd**2 * dw / count``,
    ``offset = -w * invstd * db / count - factor * mean``; in float64, each result rounded once. Then
    ``slope * dy + factor * x + offset`` is the dx of `batch_norm_backward`. `offset` is computed from `factor` as
    written, so that both cancel where x is the mean, however far from 0 that is.

    Parameters
    ----------
    sums : (2, C) float64: of dy and of ``dy * (x - mean)`` over `count` rows.
    w : (C,) scale of the norm, or (0,).
    mean, invstd : (C,), of the batch.
    dw, db : (C,), written, whether or not there are a w and a b.
    slope, factor, offset : (C,), written.
    count : how many rows were summed, at least 1.
    """
    exact_dw = sums[1] * invstd
    exact_slope = _scaled(invstd.astype(np.float64), w)
    dw[...] = exact_dw
    db[...] = sums[0]
    slope[...] = exact_slope
    factor[...] = -exact_slope * invstd * exact_dw / count
    offset[...] = -exact_slope * sums[0] / count - factor * mean.astype(np.float64)


def channel_gradient(sums: np.ndarray, db: np.ndarray) -> None:
    """``db = sums[0]``: the gradient of a number a channel that is added to all rows.

    Parameters
    ----------
    sums : (2, C) float64; the first row is the sum of dy over all rows.
    db : (C,), written.
    """
    db[...] = sums[0]
