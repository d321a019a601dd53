"""Convolutions with what stands before and behind them, as the compositions that they are.

A batch norm with its ReLU is ``activation(x * scale + shift)`` with one scale and one shift a channel, so the
convolution behind it applies them to the pixels that it loads; the zeros of the padding stay zeros. The gradient of a
batch norm is ``slope * dy + factor * z + offset`` with z the norm's input, so the gradients of the convolution before
it apply that to the gradient that they load. What they store, they add up for the next batch norm, around a centre near
the mean: differences from it lose nothing to cancellation. Values of `activation`: 0 none, 1 ReLU, 2 ReLU6.
"""

from __future__ import annotations

import numpy as np

from ..fused import RELU, RELU6
from .conv import conv2d_backward_data, conv2d_backward_weight, conv2d_forward
from .fusion import activated, add_up, passes, scaled
from .im2col import Pair


def _composed(dy: np.ndarray, z: np.ndarray, slope: np.ndarray, factor: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """The gradient with respect to the convolution's output."""
    return slope * dy + factor * z + offset if len(slope) else dy


def fused_conv2d_forward(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    centre: np.ndarray,
    y: np.ndarray,
    sums: np.ndarray,
    activation: int,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> None:
    """Convolution of normalised and activated images, with the sums that the next batch norm needs.

    ``y = conv2d_forward(activation(x * scale + shift), w, b)``, ``sums[0] = sum of (y - centre)`` and
    ``sums[1] = sum of (y - centre)**2``, each summed over all pixels of all images.

    Parameters
    ----------
    x : (N, H, W, C) images.
    w : (K, R, S, CG) weights, CG = C // groups.
    b : (K,) bias, or (0,) for none.
    scale, shift : (C,), or both (0,) if x is taken as it is.
    centre : (K,) numbers near the means of y's channels, or (0,) if no sums are wanted.
    y : (N, OH, OW, K), written.
    sums : (2, K) float64, written; (2, 0) without `centre`.
    activation : 0 none, 1 ReLU, 2 ReLU6; without `scale` it is applied to x itself.
    stride, padding, dilation : pairs, in pixels. Pixels of the padding are 0, not ``activation(shift)``.
    groups : how many groups the channels are split into; divides C and K.

    Notes
    -----
    With M = N * OH * OW the mean of y is ``centre + sums[0] / M`` and its biased variance
    ``sums[1] / M - (sums[0] / M)**2``.
    """
    conv2d_forward(activated(scaled(x, scale, shift), activation), w, b, y, stride, padding, dilation, groups)
    if len(centre):
        deviation = y - centre
        add_up(sums, deviation, deviation * deviation)


def fused_conv2d_backward_data(
    dy: np.ndarray,
    w: np.ndarray,
    z: np.ndarray,
    slope: np.ndarray,
    factor: np.ndarray,
    offset: np.ndarray,
    x: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    centre: np.ndarray,
    dx: np.ndarray,
    sums: np.ndarray,
    activation: int,
    size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> None:
    """Gradient of `fused_conv2d_forward` with respect to ``x * scale + shift``, with the sums that its norm needs.

    ``g = slope * dy + factor * z + offset``, ``dx = activation'(x * scale + shift) * conv2d_backward_data(g, w)``,
    ``sums[0] = sum of dx`` and ``sums[1] = sum of dx * (x - centre)``, each summed over all pixels of all images. The
    derivative of ReLU is 1 where its argument is above 0, that of ReLU6 where it is between 0 and 6, and 0 elsewhere.

    Parameters
    ----------
    dy : (N, OH, OW, K) gradient of the loss with respect to what follows the convolution.
    w : (K, R, S, CG) weights.
    z : (N, OH, OW, K) output of the convolution, or (0,) without `slope`.
    slope, factor, offset : (K,), or all (0,) if dy is the gradient itself.
    x : (N, H, W, C) images, or (0,) if there is neither an activation nor a centre.
    scale, shift : (C,), or both (0,) if the activation is applied to x itself.
    centre : (C,), or (0,) if no sums are wanted.
    dx : (N, H, W, C), written whole.
    sums : (2, C) float64, written; (2, 0) without `centre`.
    activation : 0 none, 1 ReLU, 2 ReLU6.
    size : (H, W), in pixels: with a stride, several sizes have the same OH and OW.
    stride, padding, dilation : pairs, in pixels.
    groups : how many groups the channels are split into.
    """
    gradient = _composed(dy, z, slope, factor, offset)
    conv2d_backward_data(gradient, w, dx, size, stride, padding, dilation, groups)
    if activation in (RELU, RELU6):
        dx[...] = np.where(passes(scaled(x, scale, shift), activation), dx, 0)
    if len(centre):
        add_up(sums, dx, dx * (x - centre))


def fused_conv2d_backward_weight(
    x: np.ndarray,
    dy: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    z: np.ndarray,
    slope: np.ndarray,
    factor: np.ndarray,
    offset: np.ndarray,
    dw: np.ndarray,
    activation: int,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> None:
    """Gradient of `fused_conv2d_forward` with respect to its weights, summed over all images and output pixels.

    ``dw = conv2d_backward_weight(activation(x * scale + shift), slope * dy + factor * z + offset)``.

    Parameters
    ----------
    x : (N, H, W, C) images.
    dy : (N, OH, OW, K) gradient of the loss with respect to what follows the convolution.
    scale, shift : (C,), or both (0,) if x is taken as it is.
    z : (N, OH, OW, K) output of the convolution, or (0,) without `slope`.
    slope, factor, offset : (K,), or all (0,) if dy is the gradient itself.
    dw : (K, R, S, CG), written.
    activation : 0 none, 1 ReLU, 2 ReLU6; without `scale` it is applied to x itself.
    kernel_size : (R, S), in taps.
    stride, padding, dilation : pairs, in pixels.
    groups : how many groups the channels are split into.
    """
    images, gradient = activated(scaled(x, scale, shift), activation), _composed(dy, z, slope, factor, offset)
    conv2d_backward_weight(images, gradient, dw, kernel_size, stride, padding, dilation, groups)
