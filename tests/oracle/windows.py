"""Convolution, im2col and col2im: a visit to every (output pixel, tap) pair that meets a pixel of the image."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

Pair = tuple[int, int]
Arrays = dict[str, np.ndarray]


def output_length(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """How often a window fits."""
    return len(range(0, size + 2 * padding - dilation * (kernel - 1), stride))


def visits(size: Pair, out: Pair, kernel: Pair, stride: Pair, padding: Pair,
           dilation: Pair) -> Iterator[tuple[int, int, int, int, int, int]]:  # fmt: skip
    """(output row, output column, tap row, tap column, image row, image column), for taps inside the image."""
    for oh in range(out[0]):
        for ow in range(out[1]):
            for r in range(kernel[0]):
                h = oh * stride[0] - padding[0] + r * dilation[0]
                for s in range(kernel[1]):
                    w = ow * stride[1] - padding[1] + s * dilation[1]
                    if 0 <= h < size[0] and 0 <= w < size[1]:
                        yield oh, ow, r, s, h, w


def conv2d_forward(x, w, b, stride, padding, dilation, groups) -> Arrays:
    images, height, width, _ = x.shape
    outputs, rows, columns, group_channels = w.shape
    out = (output_length(height, rows, stride[0], padding[0], dilation[0]),
           output_length(width, columns, stride[1], padding[1], dilation[1]))  # fmt: skip
    y = np.zeros((images, *out, outputs))
    seen, weight = x.tolist(), w.tolist()
    for n in range(images):
        for oh, ow, r, s, h, v in visits((height, width), out, (rows, columns), stride, padding, dilation):
            pixel = seen[n][h][v]
            for k in range(outputs):
                first = k // (outputs // groups) * group_channels
                total = 0.0
                for c in range(group_channels):
                    total += pixel[first + c] * weight[k][r][s][c]
                y[n, oh, ow, k] += total
    for k in range(len(b)):
        y[:, :, :, k] += b[k]
    return {"y": y}


def conv2d_backward_data(dy, w, size, stride, padding, dilation, groups) -> Arrays:
    images, *out, outputs = dy.shape
    _, rows, columns, group_channels = w.shape
    dx = np.zeros((images, *size, group_channels * groups))
    weight, gradient = w.tolist(), dy.tolist()
    for n in range(images):
        for oh, ow, r, s, h, v in visits(size, out, (rows, columns), stride, padding, dilation):
            pixel = [0.0] * (group_channels * groups)
            for k in range(outputs):
                first = k // (outputs // groups) * group_channels
                for c in range(group_channels):
                    pixel[first + c] += gradient[n][oh][ow][k] * weight[k][r][s][c]
            for c, value in enumerate(pixel):
                dx[n, h, v, c] += value
    return {"dx": dx}


def conv2d_backward_weight(x, dy, kernel_size, stride, padding, dilation, groups) -> Arrays:
    images, height, width, channels = x.shape
    _, *out, outputs = dy.shape
    group_channels = channels // groups
    dw = np.zeros((outputs, *kernel_size, group_channels)).tolist()
    seen, gradient = x.tolist(), dy.tolist()
    for n in range(images):
        for oh, ow, r, s, h, v in visits((height, width), out, kernel_size, stride, padding, dilation):
            pixel = seen[n][h][v]
            for k in range(outputs):
                first = k // (outputs // groups) * group_channels
                for c in range(group_channels):
                    dw[k][r][s][c] += gradient[n][oh][ow][k] * pixel[first + c]
    return {"dw": np.array(dw).reshape(outputs, *kernel_size, group_channels)}


def im2col(x, kernel_size, stride, padding, dilation) -> Arrays:
    images, height, width, channels = x.shape
    out = (output_length(height, kernel_size[0], stride[0], padding[0], dilation[0]),
           output_length(width, kernel_size[1], stride[1], padding[1], dilation[1]))  # fmt: skip
    columns = np.zeros((images, *out, *kernel_size, channels))
    for n in range(images):
        for oh, ow, r, s, h, v in visits((height, width), out, kernel_size, stride, padding, dilation):
            for c in range(channels):
                columns[n, oh, ow, r, s, c] = x[n, h, v, c]
    return {"columns": columns}


def col2im(columns, size, stride, padding, dilation) -> Arrays:
    images, *out, rows, across, channels = columns.shape
    x = np.zeros((images, *size, channels))
    for n in range(images):
        for oh, ow, r, s, h, v in visits(size, out, (rows, across), stride, padding, dilation):
            for c in range(channels):
                x[n, h, v, c] += columns[n, oh, ow, r, s, c]
    return {"x": x}
