"""Pooling, window by window and channel by channel."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from .windows import Arrays


def output_length(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: int) -> int:
    """How many windows there are: in ceil mode also one that hangs over, if it starts before the right padding."""
    span = dilation * (kernel - 1) + 1
    length = (size + 2 * padding - span) // stride + 1
    if ceil_mode and (size + 2 * padding - span) % stride and length * stride < size + padding:
        length += 1
    return length


def outputs_of(shape, kernel_size, stride, padding, dilation, ceil_mode) -> tuple[int, int]:
    rows, columns = (output_length(shape[1 + i], kernel_size[i], stride[i], padding[i], dilation[i], ceil_mode)
                     for i in (0, 1))  # fmt: skip
    return rows, columns


def max_pool2d_forward(x, kernel_size, stride, padding, dilation, ceil_mode) -> Arrays:
    images, height, width, channels = x.shape
    out = outputs_of(x.shape, kernel_size, stride, padding, dilation, ceil_mode)
    y = np.zeros((images, *out, channels))
    argmax = np.zeros((images, *out, channels), np.uint8)
    for n, oh, ow, c in np.ndindex(y.shape):
        best, place = None, 0
        for r in range(kernel_size[0]):
            for s in range(kernel_size[1]):
                h = oh * stride[0] - padding[0] + r * dilation[0]
                w = ow * stride[1] - padding[1] + s * dilation[1]
                if not (0 <= h < height and 0 <= w < width):
                    continue
                value = float(x[n, h, w, c])
                if best is None or value > best or math.isnan(value):
                    best, place = value, r * kernel_size[1] + s
        y[n, oh, ow, c], argmax[n, oh, ow, c] = best, place
    return {"y": y, "argmax": argmax}


def max_pool2d_backward(dy, argmax, size, kernel_size, stride, padding, dilation) -> Arrays:
    images, _, _, channels = dy.shape
    dx = np.zeros((images, *size, channels))
    for n, oh, ow, c in np.ndindex(dy.shape):
        r, s = divmod(int(argmax[n, oh, ow, c]), kernel_size[1])
        h = oh * stride[0] - padding[0] + r * dilation[0]
        w = ow * stride[1] - padding[1] + s * dilation[1]
        dx[n, h, w, c] += dy[n, oh, ow, c]
    return {"dx": dx}


def averages(size, out, kernel_size, stride, padding, include) -> Iterator[tuple[int, int, list[tuple[int, int]], int]]:
    """Every window: its output pixel, the image's pixels in it, and what their sum is divided by."""
    for oh in range(out[0]):
        for ow in range(out[1]):
            inside, counted = [], 0
            for r in range(kernel_size[0]):
                for s in range(kernel_size[1]):
                    h, w = oh * stride[0] - padding[0] + r, ow * stride[1] - padding[1] + s
                    within_padding = h < size[0] + padding[0] and w < size[1] + padding[1]
                    within = 0 <= h < size[0] and 0 <= w < size[1]
                    counted += within_padding if include else within
                    if within:
                        inside.append((h, w))
            yield oh, ow, inside, counted


def avg_pool2d_forward(x, kernel_size, stride, padding, ceil_mode, count_include_pad) -> Arrays:
    images, height, width, channels = x.shape
    out = outputs_of(x.shape, kernel_size, stride, padding, (1, 1), ceil_mode)
    y = np.zeros((images, *out, channels))
    for oh, ow, inside, count in averages((height, width), out, kernel_size, stride, padding, count_include_pad):
        for n in range(images):
            for c in range(channels):
                y[n, oh, ow, c] = sum(float(x[n, h, w, c]) for h, w in inside) / count
    return {"y": y}


def avg_pool2d_backward(dy, size, kernel_size, stride, padding, count_include_pad) -> Arrays:
    images, *out, channels = dy.shape
    dx = np.zeros((images, *size, channels))
    for oh, ow, inside, count in averages(size, out, kernel_size, stride, padding, count_include_pad):
        for n in range(images):
            for c in range(channels):
                for h, w in inside:
                    dx[n, h, w, c] += dy[n, oh, ow, c] / count
    return {"dx": dx}


def adaptive(size, out) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """Every output pixel and the pixels that it averages: from floor(i * size / out) to ceil((i + 1) * size / out)."""
    for oh in range(out[0]):
        for ow in range(out[1]):
            rows = range(oh * size[0] // out[0], math.ceil((oh + 1) * size[0] / out[0]))
            columns = range(ow * size[1] // out[1], math.ceil((ow + 1) * size[1] / out[1]))
            yield oh, ow, [(h, w) for h in rows for w in columns]


def adaptive_avg_pool2d_forward(x, output_size) -> Arrays:
    images, height, width, channels = x.shape
    y = np.zeros((images, *output_size, channels))
    for oh, ow, inside in adaptive((height, width), output_size):
        for n in range(images):
            for c in range(channels):
                y[n, oh, ow, c] = sum(float(x[n, h, w, c]) for h, w in inside) / len(inside)
    return {"y": y}


def adaptive_avg_pool2d_backward(dy, size) -> Arrays:
    images, *out, channels = dy.shape
    dx = np.zeros((images, *size, channels))
    for oh, ow, inside in adaptive(size, out):
        for n in range(images):
            for c in range(channels):
                for h, w in inside:
                    dx[n, h, w, c] += dy[n, oh, ow, c] / len(inside)
    return {"dx": dx}
