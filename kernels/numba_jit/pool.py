"""Pooling: forward one output pixel at a time, backward by gathering for every input pixel the windows that met it."""

from __future__ import annotations

import numpy as np

from .compiler import inline, kernel
from .exponential import INFINITY, ZERO, at, at_most, copy, fill, floats, ints
from .im2col import first_inside, first_outside, window

CHANNELS = 256  # channels of a pixel that are handled at a time


@inline
def _take_tap(source, tap, count, best, where):  # type: ignore[no-untyped-def]
    """Where `source` beats `best`, or is NaN, take it and note the tap."""
    for j in range(count):
        value = source[j]
        better = (value > best[j]) | (value != value)
        best[j] = value if better else best[j]
        where[j] = tap if better else where[j]


@kernel
def max_pool2d_forward(x, y, argmax, H, W, C, OH, OW, R, S, stride, padding, dilation, begin, end):  # type: ignore[no-untyped-def]
    """Compares tap by tap in window order; task i handles row i of the N * OH output rows."""
    best, where = floats(CHANNELS), ints(CHANNELS)
    for task in range(begin, end):
        n, top = task // OH, task % OH * stride[0] - padding[0]
        r_low, r_high = first_inside(top, dilation[0]), first_outside(top, dilation[0], R, H)
        for ow in range(OW):
            left = ow * stride[1] - padding[1]
            s_low, s_high = first_inside(left, dilation[1]), first_outside(left, dilation[1], S, W)
            for c in range(0, C, CHANNELS):
                count = at_most(C - c, CHANNELS)
                fill(best, -INFINITY, count)
                fill(where, np.int32(r_low * S + s_low), count)
                for r in range(r_low, r_high):
                    line = at(x, (n * H + top + r * dilation[0]) * W * C + c)
                    for s in range(s_low, s_high):
                        _take_tap(at(line, (left + s * dilation[1]) * C), np.int32(r * S + s), count, best, where)
                pixel = (task * OW + ow) * C + c
                copy(best, at(y, pixel), count)
                copy(where, at(argmax, pixel), count)


@kernel
def max_pool2d_backward(dy, argmax, dx, H, W, C, OH, OW, R, S, stride, padding, dilation, begin, end):  # type: ignore[no-untyped-def]
    """Adds the gradients of the windows whose maximum stood here; task i writes row i of the N * H rows of dx."""
    total = floats(CHANNELS)
    for task in range(begin, end):
        n, h = task // H, task % H
        for w in range(W):
            for c in range(0, C, CHANNELS):
                count = at_most(C - c, CHANNELS)
                fill(total, ZERO, count)
                for r in range(R):
                    oh = window(h + padding[0], r, stride[0], dilation[0], OH)
                    if oh < 0:
                        continue
                    for s in range(S):
                        ow = window(w + padding[1], s, stride[1], dilation[1], OW)
                        if ow < 0:
                            continue
                        pixel = ((n * OH + oh) * OW + ow) * C + c
                        gradient, where, tap = at(dy, pixel), at(argmax, pixel), np.uint16(r * S + s)
                        for j in range(count):
                            total[j] += gradient[j] if where[j] == tap else ZERO
                copy(total, at(dx, (task * W + w) * C + c), count)


@inline
def _extent(index, kernel_size, stride, padding, size, count_include_pad):  # type: ignore[no-untyped-def]
    """First and last + 1 input coordinate of an averaging window, and the length that it is averaged over."""
    start = index * stride - padding
    stop = at_most(start + kernel_size, size + padding)
    padded = stop - start
    low, high = (start if start > 0 else 0), at_most(stop, size)
    return low, high, padded if count_include_pad else high - low


@inline
def _average(x, image, W, C, c, count, h_low, h_high, w_low, w_high, divisor, total, y):  # type: ignore[no-untyped-def]
    """Set `count` elements of y to a rectangle's sum over `divisor`; `image` is the first row of the image in x."""
    fill(total, ZERO, count)
    for h in range(h_low, h_high):
        for w in range(w_low, w_high):
            source = at(x, ((image + h) * W + w) * C + c)
            for j in range(count):
                total[j] += source[j]
    for j in range(count):
        y[j] = total[j] / divisor


@kernel
def avg_pool2d_forward(x, y, H, W, C, OH, OW, R, S, stride, padding, count_include_pad, begin, end):  # type: ignore[no-untyped-def]
    """Adds the window's pixels in order, then divides; task i handles row i of the N * OH output rows."""
    total = floats(CHANNELS)
    for task in range(begin, end):
        n, oh = task // OH, task % OH
        h_low, h_high, height = _extent(oh, R, stride[0], padding[0], H, count_include_pad)
        for ow in range(OW):
            w_low, w_high, width = _extent(ow, S, stride[1], padding[1], W, count_include_pad)
            divisor = np.float32(height * width)
            for c in range(0, C, CHANNELS):
                count, target = at_most(C - c, CHANNELS), at(y, (task * OW + ow) * C + c)
                _average(x, n * H, W, C, c, count, h_low, h_high, w_low, w_high, divisor, total, target)


@inline
def _add_divided(source, divisor, count, total):  # type: ignore[no-untyped-def]
    for j in range(count):
        total[j] += source[j] / divisor


@kernel
def avg_pool2d_backward(dy, dx, H, W, C, OH, OW, R, S, stride, padding, count_include_pad, begin, end):  # type: ignore[no-untyped-def]
    """Adds the windows' shares; task i writes row i of the N * H rows of dx."""
    total = floats(CHANNELS)
    for task in range(begin, end):
        n, h = task // H, task % H
        for w in range(W):
            for c in range(0, C, CHANNELS):
                count = at_most(C - c, CHANNELS)
                fill(total, ZERO, count)
                for r in range(R):
                    oh = window(h + padding[0], r, stride[0], 1, OH)
                    if oh < 0:
                        continue
                    _, _, height = _extent(oh, R, stride[0], padding[0], H, count_include_pad)
                    for s in range(S):
                        ow = window(w + padding[1], s, stride[1], 1, OW)
                        if ow < 0:
                            continue
                        _, _, width = _extent(ow, S, stride[1], padding[1], W, count_include_pad)
                        source = at(dy, ((n * OH + oh) * OW + ow) * C + c)
                        _add_divided(source, np.float32(height * width), count, total)
                copy(total, at(dx, (task * W + w) * C + c), count)


@inline
def _adaptive_start(index, size, outputs):  # type: ignore[no-untyped-def]
    """floor(index * size / outputs)."""
    return index * size // outputs


@inline
def _adaptive_stop(index, size, outputs):  # type: ignore[no-untyped-def]
    """ceil((index + 1) * size / outputs)."""
    return ((index + 1) * size + outputs - 1) // outputs


@kernel
def adaptive_avg_pool2d_forward(x, y, H, W, C, OH, OW, begin, end):  # type: ignore[no-untyped-def]
    """Adds the window's pixels in order, then divides; task i handles row i of the N * OH output rows."""
    total = floats(CHANNELS)
    for task in range(begin, end):
        n, oh = task // OH, task % OH
        h_low, h_high = _adaptive_start(oh, H, OH), _adaptive_stop(oh, H, OH)
        for ow in range(OW):
            w_low, w_high = _adaptive_start(ow, W, OW), _adaptive_stop(ow, W, OW)
            divisor = np.float32((h_high - h_low) * (w_high - w_low))
            for c in range(0, C, CHANNELS):
                count, target = at_most(C - c, CHANNELS), at(y, (task * OW + ow) * C + c)
                _average(x, n * H, W, C, c, count, h_low, h_high, w_low, w_high, divisor, total, target)


@kernel
def adaptive_avg_pool2d_backward(dy, dx, H, W, C, OH, OW, begin, end):  # type: ignore[no-untyped-def]
    """Adds the windows' shares; task i writes row i of the N * H rows of dx.

    The windows that meet coordinate i of an axis are those that pooling the other way would average for output i.
    """
    total = floats(CHANNELS)
    for task in range(begin, end):
        n, h = task // H, task % H
        for w in range(W):
            for c in range(0, C, CHANNELS):
                count = at_most(C - c, CHANNELS)
                fill(total, ZERO, count)
                for oh in range(_adaptive_start(h, OH, H), _adaptive_stop(h, OH, H)):
                    height = _adaptive_stop(oh, H, OH) - _adaptive_start(oh, H, OH)
                    for ow in range(_adaptive_start(w, OW, W), _adaptive_stop(w, OW, W)):
                        width = _adaptive_stop(ow, W, OW) - _adaptive_start(ow, W, OW)
                        source = at(dy, ((n * OH + oh) * OW + ow) * C + c)
                        _add_divided(source, np.float32(height * width), count, total)
                copy(total, at(dx, (task * W + w) * C + c), count)
