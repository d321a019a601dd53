"""Convolution: im2col, then one matrix product per group.

With groups, channels split into equal runs: output channel ``k`` belongs to group ``g = k // (K // groups)`` and sees
the input channels ``g * CG`` to ``(g + 1) * CG - 1`` only; ``groups == C`` is a depthwise convolution. In this file a
"pixel" is one of the ``N * OH * OW`` output pixels, and DEPTH is ``R * S * CG``, the length of one weight vector.
"""

from __future__ import annotations

import math

import numpy as np

from .im2col import Pair, col2im, im2col


def _columns_by_group(
    x: np.ndarray, output_size: Pair, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> np.ndarray:
    """The windows of `x` as matrices: (groups, pixels, DEPTH)."""
    columns = np.empty((len(x), *output_size, *kernel_size, x.shape[3]), x.dtype)
    im2col(x, columns, kernel_size, stride, padding, dilation)
    pixels, taps, group_channels = math.prod(columns.shape[:3]), math.prod(kernel_size), x.shape[3] // groups
    split = columns.reshape(pixels, taps, groups, group_channels).transpose(2, 0, 1, 3)
    return split.reshape(groups, pixels, taps * group_channels)


def _channels_by_group(y: np.ndarray, groups: int) -> np.ndarray:
    """Output images (N, OH, OW, K) as matrices: (groups, pixels, K // groups), a view."""
    return y.reshape(math.prod(y.shape[:3]), groups, y.shape[3] // groups).transpose(1, 0, 2)


def _weights_by_group(w: np.ndarray, groups: int) -> np.ndarray:
    """Weights (K, R, S, CG) as matrices: (groups, K // groups, DEPTH), a view."""
    return w.reshape(groups, len(w) // groups, math.prod(w.shape[1:]))


def conv2d_forward(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray,
    y: np.ndarray,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> None:
    """2-D convolution as networks mean it: a cross-correlation, the kernel is not flipped.

    ``y[n, oh, ow, k] = b[k] + sum over r, s, c of w[k, r, s, c] * x[n, h, w, g*CG + c]`` with
    ``h = oh*stride - padding + r*dilation``, ``w`` likewise, and x = 0 outside the image.

    Parameters
    ----------
    x : (N, H, W, C) images.
    w : (K, R, S, CG) weights, CG = C // groups.
    b : (K,) bias, or (0,) for none.
    y : (N, OH, OW, K), written, with OH = (H + 2*padding - dilation*(R - 1) - 1) // stride + 1.
    stride, padding, dilation : pairs, in pixels.
    groups : how many groups the channels are split into; divides C and K.

    Notes
    -----
    `torch.nn.functional.conv2d`, in channels-last layout.
    """
    output_size = y.shape[1], y.shape[2]
    kernel_size = w.shape[1], w.shape[2]
    columns = _columns_by_group(x, output_size, kernel_size, stride, padding, dilation, groups)
    products = columns @ _weights_by_group(w, groups).transpose(0, 2, 1)
    y[...] = products.transpose(1, 0, 2).reshape(y.shape)
    if len(b):
        y += b


def conv2d_backward_data(
    dy: np.ndarray,
    w: np.ndarray,
    dx: np.ndarray,
    size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> None:
    """Gradient of a convolution with respect to its images (a transposed convolution).

    ``dx[n, h, w, g*CG + c]`` is the sum of ``dy[n, oh, ow, k] * w[k, r, s, c]`` over the channels k of group g and all
    ``oh, ow, r, s`` with ``h = oh*stride - padding + r*dilation`` and ``w`` likewise.

    Parameters
    ----------
    dy : (N, OH, OW, K) gradient of the loss with respect to the output.
    w : (K, R, S, CG) weights.
    dx : (N, H, W, C), written whole; 0 at pixels that no window shows.
    size : (H, W), in pixels: with a stride, several sizes have the same OH and OW.
    stride, padding, dilation : pairs, in pixels.
    groups : how many groups the channels are split into.

    Notes
    -----
    `torch.nn.grad.conv2d_input`, in channels-last layout.
    """
    n, height, width, _ = dy.shape
    _, taps_down, taps_across, group_channels = w.shape
    products = _channels_by_group(dy, groups) @ _weights_by_group(w, groups)
    split = products.reshape(groups, n * height * width, taps_down * taps_across, group_channels)
    columns = split.transpose(1, 2, 0, 3).reshape(n, height, width, taps_down, taps_across, groups * group_channels)
    col2im(columns, dx, size, stride, padding, dilation)


def conv2d_backward_weight(
    x: np.ndarray,
    dy: np.ndarray,
    dw: np.ndarray,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> None:
    """Gradient of a convolution with respect to its weights: summed over all images and output pixels, not averaged.

    ``dw[k, r, s, c] = sum over n, oh, ow of dy[n, oh, ow, k] * x[n, h, w, g*CG + c]`` with g the group of k,
    ``h = oh*stride - padding + r*dilation``, ``w`` likewise, and x = 0 outside the image.

    Parameters
    ----------
    x : (N, H, W, C) images.
    dy : (N, OH, OW, K) gradient of the loss with respect to the output.
    dw : (K, R, S, CG), written.
    kernel_size : (R, S), in taps.
    stride, padding, dilation : pairs, in pixels.
    groups : how many groups the channels are split into.

    Notes
    -----
    `torch.nn.grad.conv2d_weight`, in channels-last layout. The gradient of the bias is the sum of dy over pixels
    (`sum_forward`).
    """
    output_size = dy.shape[1], dy.shape[2]
    columns = _columns_by_group(x, output_size, kernel_size, stride, padding, dilation, groups)
    dw[...] = (_channels_by_group(dy, groups).transpose(0, 2, 1) @ columns).reshape(dw.shape)
