"""Pooling: the maximum or the mean of every window, channel by channel; the maximum also fused with what is beside it.

The fused maximum is that of ``activation(x * scale + shift)``. Values of `activation`: 0 none, 1 ReLU, 2 ReLU6.
"""

from __future__ import annotations

from itertools import starmap

import numpy as np

from ..fused import RELU, RELU6
from .fusion import activated, add_up, passes, scaled
from .im2col import Pair, Window, pad, unpad, walk_taps

UNIT = (1, 1)  # the dilation of average pooling


def _first_inside(count: int, stride: int, padding: int, dilation: int) -> np.ndarray:
    """For each of `count` windows along one axis, its first tap that is not in the left (or upper) padding."""
    start = np.arange(count) * stride - padding
    return -(np.minimum(start, 0) // dilation)


def max_pool2d_forward(
    x: np.ndarray,
    y: np.ndarray,
    argmax: np.ndarray,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    ceil_mode: int,
) -> None:
    """The largest element of every window, and which tap shows it.

    ``y[n, oh, ow, c] = max over r, s of x[n, oh*stride - padding + r*dilation, ow*stride - padding + s*dilation, c]``
    over the taps inside the image: padding never wins. Of equal elements the first in window order (row by row) wins.
    NaN wins over every number, and the last NaN over the others. A window of -inf only keeps its first tap inside.

    Parameters
    ----------
    x : (N, H, W, C) images.
    y : (N, OH, OW, C), written.
    argmax : (N, OH, OW, C) uint8, written: the winner's ``r * S + s``, a place in the window and not in the image.
    kernel_size : (R, S), in taps; R * S is at most 256.
    stride, padding, dilation : pairs, in pixels.
    ceil_mode : whether windows may hang over the right and lower edge; says nothing that y's shape does not.

    Notes
    -----
    `torch.nn.functional.max_pool2d`, whose ``return_indices`` are places in the image instead.
    """
    window = Window(kernel_size, stride, padding, dilation)
    output_size = y.shape[1], y.shape[2]
    first_row, first_column = starmap(_first_inside, zip(output_size, stride, padding, dilation, strict=True))
    y[...] = -np.inf
    argmax[...] = (first_row[:, np.newaxis] * kernel_size[1] + first_column)[:, :, np.newaxis]
    for r, s, seen in walk_taps(pad(x, output_size, window, -np.inf), output_size, window):
        wins = (seen > y) | np.isnan(seen)
        y[wins] = seen[wins]
        argmax[wins] = r * kernel_size[1] + s


def max_pool2d_backward(
    dy: np.ndarray,
    argmax: np.ndarray,
    dx: np.ndarray,
    size: Pair,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> None:
    """Gradient of max pooling: every window's gradient goes to its winner; where windows overlap, they add up.

    Parameters
    ----------
    dy : (N, OH, OW, C) gradient of the loss with respect to the output.
    argmax : (N, OH, OW, C) uint8, as `max_pool2d_forward` wrote it.
    dx : (N, H, W, C), written whole; 0 at pixels that never won.
    size : (H, W), in pixels.
    kernel_size : (R, S), in taps; R * S is at most 256.
    stride, padding, dilation : pairs, in pixels.
    """
    window = Window(kernel_size, stride, padding, dilation)
    output_size = dy.shape[1], dy.shape[2]
    canvas = pad(np.zeros_like(dx), output_size, window)
    for r, s, seen in walk_taps(canvas, output_size, window):
        seen += np.where(argmax == r * kernel_size[1] + s, dy, 0)
    dx[...] = unpad(canvas, size, padding)


def fused_max_pool2d_forward(
    x: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    y: np.ndarray,
    argmax: np.ndarray,
    activation: int,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    ceil_mode: int,
) -> None:
    """Max pooling of normalised and activated images: ``max_pool2d_forward(activation(x * scale + shift))``.

    Elements that the activation makes equal are equal: of those the first one wins.

    Parameters
    ----------
    x : (N, H, W, C) images.
    scale, shift : (C,), or both (0,) if x is taken as it is.
    y : (N, OH, OW, C), written.
    argmax : (N, OH, OW, C) uint8, written: the winner's ``r * S + s``, a place in the window and not in the image.
    activation : 0 none, 1 ReLU, 2 ReLU6; without `scale` it is applied to x itself.
    kernel_size : (R, S), in taps; R * S is at most 256.
    stride, padding, dilation : pairs, in pixels. Padding never wins.
    ceil_mode : whether windows may hang over the right and lower edge; says nothing that y's shape does not.
    """
    images = activated(scaled(x, scale, shift), activation)
    max_pool2d_forward(images, y, argmax, kernel_size, stride, padding, dilation, ceil_mode)


def fused_max_pool2d_backward(
    dy: np.ndarray,
    argmax: np.ndarray,
    y: np.ndarray,
    x: np.ndarray,
    centre: np.ndarray,
    dx: np.ndarray,
    sums: np.ndarray,
    activation: int,
    size: Pair,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
) -> None:
    """Gradient of `fused_max_pool2d_forward` with respect to ``x * scale + shift``, with the sums that its norm needs.

    ``dx = max_pool2d_backward(activation'(y) * dy, argmax)``, ``sums[0] = sum of dx`` and
    ``sums[1] = sum of dx * (x - centre)``, each summed over all pixels of all images. The derivative of ReLU is 1 where
    y is above 0, that of ReLU6 where y is between 0 and 6, and 0 elsewhere: the winner's is that of the window.

    Parameters
    ----------
    dy : (N, OH, OW, C) gradient of the loss with respect to the output.
    argmax : (N, OH, OW, C) uint8, as `fused_max_pool2d_forward` wrote it.
    y : (N, OH, OW, C) its output, or (0,) without an activation.
    x : (N, H, W, C) its images, or (0,): then ``sums[1]`` is 0.
    centre : (C,), or (0,) if no sums are wanted.
    dx : (N, H, W, C), written whole; 0 at pixels that never won.
    sums : (2, C) float64, written; (2, 0) without `centre`.
    activation : 0 none, 1 ReLU, 2 ReLU6.
    size : (H, W), in pixels.
    kernel_size : (R, S), in taps; R * S is at most 256.
    stride, padding, dilation : pairs, in pixels.
    """
    gradient = np.where(passes(y, activation), dy, 0) if activation in (RELU, RELU6) else dy
    max_pool2d_backward(gradient, argmax, dx, size, kernel_size, stride, padding, dilation)
    if len(centre):
        add_up(sums, dx, dx * (x - centre) if len(x) else np.zeros_like(dx))


def _elements_along(count: int, size: int, taps: int, stride: int, padding: int, include_pad: int) -> np.ndarray:
    """How many elements average pooling's divisor counts along one axis, for each of `count` windows."""
    start = np.arange(count) * stride - padding
    end = np.minimum(start + taps, size + padding)  # what hangs over the padding in ceil mode never counts
    if include_pad:
        return end - start
    return np.minimum(end, size) - np.maximum(start, 0)


def _divisor(output_size: Pair, size: Pair, window: Window, include_pad: int) -> np.ndarray:
    """Average pooling's divisor for every window: (OH, OW, 1)."""
    down, across = (
        _elements_along(*axis, include_pad)
        for axis in zip(output_size, size, window.kernel_size, window.stride, window.padding, strict=True)
    )
    product: np.ndarray = down[:, np.newaxis, np.newaxis] * across[:, np.newaxis]
    return product


def avg_pool2d_forward(
    x: np.ndarray,
    y: np.ndarray,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: int,
    count_include_pad: int,
) -> None:
    """The mean of every window.

    ``y[n, oh, ow, c] = (sum over r, s of x[n, oh*stride - padding + r, ow*stride - padding + s, c]) / divisor`` with
    x = 0 outside the image. The divisor is the number of elements of the window within the padded image if
    `count_include_pad`, within the image itself otherwise. It differs from R * S only at the edges: a window that hangs
    over the padding (ceil mode) is cut off there.

    Parameters
    ----------
    x : (N, H, W, C) images.
    y : (N, OH, OW, C), written.
    kernel_size : (R, S), in taps.
    stride, padding : pairs, in pixels.
    ceil_mode : whether windows may hang over the right and lower edge; says nothing that y's shape does not.
    count_include_pad : whether padding counts in the divisor.

    Notes
    -----
    `torch.nn.functional.avg_pool2d` without ``divisor_override``.
    """
    window = Window(kernel_size, stride, padding, UNIT)
    output_size = y.shape[1], y.shape[2]
    total = np.zeros(y.shape, np.float64)
    for _, _, seen in walk_taps(pad(x, output_size, window), output_size, window):
        total += seen
    y[...] = total / _divisor(output_size, (x.shape[1], x.shape[2]), window, count_include_pad)


def avg_pool2d_backward(
    dy: np.ndarray,
    dx: np.ndarray,
    size: Pair,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    count_include_pad: int,
) -> None:
    """Gradient of average pooling: every window spreads ``dy / divisor`` over its pixels; overlaps add up.

    Parameters
    ----------
    dy : (N, OH, OW, C) gradient of the loss with respect to the output.
    dx : (N, H, W, C), written whole.
    size : (H, W), in pixels.
    kernel_size : (R, S), in taps.
    stride, padding : pairs, in pixels.
    count_include_pad : whether padding counts in the divisor, see `avg_pool2d_forward`.
    """
    window = Window(kernel_size, stride, padding, UNIT)
    output_size = dy.shape[1], dy.shape[2]
    share = dy / _divisor(output_size, size, window, count_include_pad)
    canvas = pad(np.zeros(dx.shape, np.float64), output_size, window)
    for _, _, seen in walk_taps(canvas, output_size, window):
        seen += share
    dx[...] = unpad(canvas, size, padding)


def _adaptive_bounds(count: int, size: int) -> list[Pair]:
    """Start and end, in pixels, of `count` windows that cover `size` pixels; neighbours may overlap by one."""
    return [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


def _adaptive_divisor(rows: list[Pair], columns: list[Pair]) -> np.ndarray:
    """The number of pixels of every adaptive window: (OH, OW, 1)."""
    return np.array([[[(bottom - top) * (right - left)] for left, right in columns] for top, bottom in rows])


def adaptive_avg_pool2d_forward(x: np.ndarray, y: np.ndarray, output_size: Pair) -> None:
    """The mean of every one of OH x OW windows that cover the image.

    Window ``(i, j)`` holds the rows ``floor(i*H / OH)`` to ``ceil((i + 1)*H / OH) - 1`` and the columns likewise;
    ``y[n, i, j, c]`` is the mean of ``x[n, :, :, c]`` over it. Size 1 x 1 is the mean of the whole image.

    Parameters
    ----------
    x : (N, H, W, C) images.
    y : (N, OH, OW, C), written.
    output_size : (OH, OW), in pixels.

    Notes
    -----
    `torch.nn.functional.adaptive_avg_pool2d`. 1 x 1: M. Lin, Q. Chen, S. Yan, "Network In Network", 2013.
    """
    n, height, width, channels = x.shape
    rows, columns = _adaptive_bounds(output_size[0], height), _adaptive_bounds(output_size[1], width)
    row_sums = np.empty((n, len(rows), width, channels), np.float64)
    for i, (top, bottom) in enumerate(rows):
        row_sums[:, i] = x[:, top:bottom].sum(axis=1, dtype=np.float64)
    sums = np.empty(y.shape, np.float64)
    for j, (left, right) in enumerate(columns):
        sums[:, :, j] = row_sums[:, :, left:right].sum(axis=2)
    y[...] = sums / _adaptive_divisor(rows, columns)


def adaptive_avg_pool2d_backward(dy: np.ndarray, dx: np.ndarray, size: Pair) -> None:
    """Gradient of adaptive average pooling: every window spreads dy, divided by its pixels, over them; overlaps add up.

    Parameters
    ----------
    dy : (N, OH, OW, C) gradient of the loss with respect to the output.
    dx : (N, H, W, C), written whole.
    size : (H, W), in pixels.
    """
    rows, columns = _adaptive_bounds(dy.shape[1], size[0]), _adaptive_bounds(dy.shape[2], size[1])
    share = dy / _adaptive_divisor(rows, columns)
    spread_down = np.zeros((len(dy), size[0], *dy.shape[2:]), np.float64)
    for i, (top, bottom) in enumerate(rows):
        spread_down[:, top:bottom] += share[:, i : i + 1]
    spread = np.zeros(dx.shape, np.float64)
    for j, (left, right) in enumerate(columns):
        spread[:, :, left:right] += spread_down[:, :, j : j + 1]
    dx[...] = spread
