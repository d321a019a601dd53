"""What is left of batch norms, activations and sums of two branches where no convolution does it; see `fused.py`.

Rows are pixels. Values of `activation`: 0 none, 1 ReLU, 2 ReLU6. NaN stays NaN.
"""

from __future__ import annotations

import numpy as np

from ..fused import RELU, RELU6
from .fusion import activated, passes, scaled


def affine_forward(
    x: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    r: np.ndarray,
    r_scale: np.ndarray,
    r_shift: np.ndarray,
    y: np.ndarray,
    activation: int,
) -> None:
    """``y = activation((x * scale + shift) + (r * r_scale + r_shift))``: two branches join, each behind its norm.

    Parameters
    ----------
    x : (M, C).
    scale, shift : (C,), or both (0,) if x is taken as it is.
    r : (M, C) the other branch, or (0,) for none.
    r_scale, r_shift : (C,), or both (0,) if r is taken as it is.
    y : (M, C), written.
    activation : 0 none, 1 ReLU, 2 ReLU6.
    """
    before = scaled(x, scale, shift)
    if len(r):
        before = before + scaled(r, r_scale, r_shift)
    y[...] = activated(before, activation)


def affine_backward(
    dy: np.ndarray,
    dy2: np.ndarray,
    y: np.ndarray,
    z: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    centre: np.ndarray,
    r: np.ndarray,
    r_centre: np.ndarray,
    dx: np.ndarray,
    sums: np.ndarray,
    r_sums: np.ndarray,
    activation: int,
) -> None:
    """Gradient in front of an activation, with the sums that the norms of both branches need for theirs.

    ``dx = dy + dy2`` where the activation's derivative is 1, else 0. The derivative follows from the activation's
    result `y` if it is there, else from ``z * scale + shift``: that of ReLU is 1 above 0, that of ReLU6 between 0 and
    6, and 0 elsewhere. ``sums[0] = sum of dx``, ``sums[1] = sum of dx * (z - centre)`` over all M rows, or 0 without z;
    `r_sums` likewise with r and `r_centre`.

    Parameters
    ----------
    dy : (M, C) gradient of the loss with respect to the activation's result.
    dy2 : (M, C) another gradient of it that is added, or (0,).
    y : (M, C) the activation's result, or (0,).
    z : (M, C) input of the norm, or (0,); with an activation y or z must be there.
    scale, shift : (C,), or both (0,) if the activation was applied to z itself.
    centre : (C,), or (0,) if no sums are wanted.
    r : (M, C) input of the other branch's norm, or (0,).
    r_centre : (C,), or (0,) if no sums are wanted.
    dx : (M, C), written; it may be the memory of dy or dy2.
    sums, r_sums : (2, C) float64, written; (2, 0) without `centre`, `r_centre`.
    activation : 0 none, 1 ReLU, 2 ReLU6.
    """
    gradient = dy + dy2 if len(dy2) else dy
    if activation in (RELU, RELU6):
        gradient = np.where(passes(y if y.ndim == 2 else scaled(z, scale, shift), activation), gradient, 0)
    dx[...] = gradient
    _add_up(sums, dx, z, centre)
    _add_up(r_sums, dx, r, r_centre)


def _add_up(sums: np.ndarray, dx: np.ndarray, z: np.ndarray, centre: np.ndarray) -> None:
    if len(centre):
        sums[0] = dx.sum(axis=0, dtype=np.float64)
        sums[1] = (dx * (z - centre)).sum(axis=0, dtype=np.float64) if len(z) else 0


def affine_gradient(
    dy: np.ndarray, z: np.ndarray, slope: np.ndarray, factor: np.ndarray, offset: np.ndarray, dx: np.ndarray
) -> None:
    """``dx = slope * dy + factor * z + offset``: a batch norm's gradient from `batch_norm_gradient`.

    Parameters
    ----------
    dy : (M, C) gradient of the loss with respect to the norm's result.
    z : (M, C) input of the norm.
    slope, factor, offset : (C,).
    dx : (M, C), written; it may be the memory of dy.
    """
    dx[...] = slope * dy + factor * z + offset
