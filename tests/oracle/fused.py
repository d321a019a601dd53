"""Fused operations: pixels, gradients and sums one by one, the operation itself by `windows.py`, `pooling.py`."""

from __future__ import annotations

import numpy as np

from .pooling import max_pool2d_backward, max_pool2d_forward
from .windows import conv2d_backward_data, conv2d_backward_weight, conv2d_forward

Arrays = dict[str, np.ndarray]
RELU, RELU6 = 1, 2


def before(x, scale, shift, channel: int) -> float:
    """The argument of the activation for one number of one channel."""
    return float(x) if not len(scale) else float(x) * float(scale[channel]) + float(shift[channel])


def activated(value: float, activation: int) -> float:
    if activation in (RELU, RELU6) and value < 0.0:
        return 0.0
    return 6.0 if activation == RELU6 and value > 6.0 else value


def derivative(value: float, activation: int) -> float:
    if activation in (RELU, RELU6) and value <= 0.0:
        return 0.0
    return 0.0 if activation == RELU6 and value >= 6.0 else 1.0


def images(x, scale, shift, activation):
    result = np.zeros(x.shape)
    for place in np.ndindex(x.shape):
        result[place] = activated(before(x[place], scale, shift, place[3]), activation)
    return result


def gradients(dy, z, slope, factor, offset):
    result = np.zeros(dy.shape)
    for place in np.ndindex(dy.shape):
        k = place[3]
        result[place] = slope[k] * dy[place] + factor[k] * z[place] + offset[k] if len(slope) else dy[place]
    return result


def fused_conv2d_forward(x, w, b, scale, shift, centre, activation, stride, padding, dilation, groups) -> Arrays:
    y = conv2d_forward(images(x, scale, shift, activation), w, b, stride, padding, dilation, groups)["y"]
    sums = np.zeros((2, len(centre)))
    for place in np.ndindex(y.shape) if len(centre) else ():
        deviation = y[place] - centre[place[3]]
        sums[0, place[3]] += deviation
        sums[1, place[3]] += deviation**2
    return {"y": y, "sums": sums}


def fused_conv2d_backward_data(
    dy, w, z, slope, factor, offset, x, scale, shift, centre, activation, size, stride, padding, dilation, groups
) -> Arrays:
    g = gradients(dy, z, slope, factor, offset)
    dx = conv2d_backward_data(g, w, size, stride, padding, dilation, groups)["dx"]
    sums = np.zeros((2, len(centre)))
    for place in np.ndindex(dx.shape):
        c = place[3]
        if activation in (RELU, RELU6):
            dx[place] *= derivative(before(x[place], scale, shift, c), activation)
        if len(centre):
            sums[0, c] += dx[place]
            sums[1, c] += dx[place] * (x[place] - centre[c])
    return {"dx": dx, "sums": sums}


def fused_conv2d_backward_weight(
    x, dy, scale, shift, z, slope, factor, offset, activation, kernel_size, stride, padding, dilation, groups
) -> Arrays:
    g = gradients(dy, z, slope, factor, offset)
    return conv2d_backward_weight(
        images(x, scale, shift, activation), g, kernel_size, stride, padding, dilation, groups
    )


def fused_max_pool2d_forward(x, scale, shift, activation, kernel_size, stride, padding, dilation, ceil_mode) -> Arrays:
    seen = images(x, scale, shift, activation)
    return max_pool2d_forward(seen, kernel_size, stride, padding, dilation, ceil_mode)


def fused_max_pool2d_backward(
    dy, argmax, y, x, centre, activation, size, kernel_size, stride, padding, dilation
) -> Arrays:
    g = dy.copy()
    for place in np.ndindex(dy.shape) if activation in (RELU, RELU6) else ():
        g[place] *= derivative(float(y[place]), activation)
    dx = max_pool2d_backward(g, argmax, size, kernel_size, stride, padding, dilation)["dx"]
    sums = np.zeros((2, len(centre)))
    for place in np.ndindex(dx.shape) if len(centre) else ():
        sums[0, place[3]] += dx[place]
        if len(x):
            sums[1, place[3]] += dx[place] * (x[place] - centre[place[3]])
    return {"dx": dx, "sums": sums}
