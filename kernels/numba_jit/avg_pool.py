"""Average pooling: forward one row of output pixels at a time, backward one row of dx at a time.

Windows that lie wholly inside the image pass as one run, those that hang over its edges one by one. Backward, every
pixel of dx is written once where windows stand side by side; else it starts at 0 and the windows that met it add.
"""

from __future__ import annotations

import numpy as np

from .channels import WIDE
from .compiler import inline, kernel
from .exponential import ZERO
from .im2col import window_at
from .memory import at, at_most, fill, streams
from .simd import LANES
from .window import fetched_pixels, rows_mean, run_of, whole_windows, window_mean
from .window_gradients import give_share

LARGE = 16  # pixels of a window
NEAR = 1 << 13  # elements that the first cache holds beside others
WHOLE = WIDE * LANES  # the most channels of which pixels are read whole


@inline
def _extent(index, kernel_size, stride, padding, size, count_include_pad):  # type: ignore[no-untyped-def]
    """First and last + 1 input coordinate of an averaging window, and the length that it is averaged over."""
    start = index * stride - padding
    stop = at_most(start + kernel_size, size + padding)
    padded = stop - start
    low, high = (start if start > 0 else 0), at_most(stop, size)
    return low, high, padded if count_include_pad else high - low


@inline
def _mean(rows, columns, windows, source, stride, row_step, ahead, fetched, size, y, around, C):  # type: ignore[no-untyped-def]
    """`window_mean` over `size` pixels, unrolled for the usual windows, or `rows_mean`."""
    divisor = np.float32(size)
    if rows == 2 and columns == 2:
        window_mean(2, 2, windows, source, stride, row_step, C, ahead, fetched, divisor, y, around, C)
    elif rows == 3 and columns == 3:
        window_mean(3, 3, windows, source, stride, row_step, C, ahead, fetched, divisor, y, around, C)
    elif rows * columns > LARGE and C > WHOLE and (windows == 1 or stride == columns * C):
        rows_mean(rows, columns, windows, source, row_step, divisor, y, C)
    else:
        window_mean(rows, columns, windows, source, stride, row_step, C, ahead, fetched, divisor, y, around, C)


@kernel
def avg_pool2d_forward(x, y, N, H, W, C, OH, OW, R, S, stride, padding, count_include_pad, begin, end):  # type: ignore[no-untyped-def]
    """Adds the window's pixels in order, then divides; task i handles row i of the N * OH output rows."""
    inside, around = whole_windows(S, stride[1], padding[1], 1, W, OW), streams(y, N * OH * OW * C, C)
    for task in range(begin, end):
        n, oh = task // OH, task % OH
        h_low, h_high, height = _extent(oh, R, stride[0], padding[0], H, count_include_pad)
        line, below = at(x, (n * H + h_low) * W * C), at(x, (n * H + h_high) * W * C)
        ow, fetched = 0, fetched_pixels(at_most(stride[0], h_high - h_low), stride[1], N * H * W * C)
        while ow < OW:
            run = run_of(ow, inside)
            w_low, w_high, width = _extent(ow, S, stride[1], padding[1], W, count_include_pad)
            ahead, target = at(below, fetched[0] * w_low * C), at(y, (task * OW + ow) * C)
            _mean(h_high - h_low, w_high - w_low, run, at(line, w_low * C), stride[1] * C, W * C, ahead, fetched,
                  height * width, target, around, C)  # fmt: skip
            ow += run


@inline
def _give(replace, windows, columns, target, stride, next_target, source, next_source, size, around, C):  # type: ignore[no-untyped-def]
    """Give pixels of dx their shares of the gradients of windows of `size` pixels."""
    factor = np.float32(1) / np.float32(size)
    if replace:
        give_share(0, windows, columns, target, stride, next_target, source, next_source, factor, around, C)
    else:
        give_share(1, windows, columns, target, stride, next_target, source, next_source, factor, around, C)


@kernel
def avg_pool2d_backward(dy, dx, N, H, W, C, OH, OW, R, S, stride, padding, count_include_pad, begin, end):  # type: ignore[no-untyped-def]
    """Adds up for task i, row i of the N * H rows of dx, the shares of the windows that met it, kernel row by row."""
    inside = whole_windows(S, stride[1], padding[1], 1, W, OW)
    around = streams(dx, N * H * W * C, C) if stride[0] >= R else 0
    for task in range(begin, end):
        n, h = task // H, task % H
        row = at(dx, task * W * C)
        covered = at_most(OW * S - padding[1], W) if stride[1] == S else 0  # by the first row of windows
        fill(at(row, covered * C), ZERO, (W - covered) * C)
        for r in range(R):
            oh = window_at(h + padding[0], r, stride[0], 1, OH)
            if oh < 0:
                continue
            _, _, height = _extent(oh, R, stride[0], padding[0], H, count_include_pad)
            ow = 0
            while ow < OW:
                run = run_of(ow, inside)
                w_low, w_high, width = _extent(ow, S, stride[1], padding[1], W, count_include_pad)
                source = at(dy, ((n * OH + oh) * OW + ow) * C)
                _give(covered > 0, run, w_high - w_low, at(row, w_low * C), stride[1] * C, W * C, source, OW * C,
                      height * width, around, C)  # fmt: skip
                ow += run
            covered = 0
        fill(row, ZERO, covered * C)


@inline
def _adaptive_start(index, size, outputs):  # type: ignore[no-untyped-def]
    """floor(index * size / outputs)."""
    return index * size // outputs


@inline
def _adaptive_stop(index, size, outputs):  # type: ignore[no-untyped-def]
    """ceil((index + 1) * size / outputs)."""
    return ((index + 1) * size + outputs - 1) // outputs


@kernel
def adaptive_avg_pool2d_forward(x, y, N, H, W, C, OH, OW, begin, end):  # type: ignore[no-untyped-def]
    """Adds the window's pixels in order, then divides; task i handles row i of the N * OH output rows."""
    around = streams(y, N * OH * OW * C, C)
    for task in range(begin, end):
        n, oh = task // OH, task % OH
        h_low, h_high = _adaptive_start(oh, H, OH), _adaptive_stop(oh, H, OH)
        line, run = at(x, (n * H + h_low) * W * C), OW if W % OW == 0 else 1
        # A large window that holds whole rows fetches its next row, others what lies below them.
        below = at(x, (n * H + (h_low + 1 if OW == 1 and H * W * C > NEAR else h_high)) * W * C)
        for ow in range(0, OW, run):
            w_low, w_high = _adaptive_start(ow, W, OW), _adaptive_stop(ow, W, OW)
            rows, columns = h_high - h_low, w_high - w_low
            fetched, target = fetched_pixels(rows, columns, N * H * W * C), at(y, (task * OW + ow) * C)
            _mean(rows, columns, run, at(line, w_low * C), columns * C, W * C, at(below, rows * w_low * C), fetched,
                  rows * columns, target, around, C)  # fmt: skip


@kernel
def adaptive_avg_pool2d_backward(dy, dx, N, H, W, C, OH, OW, begin, end):  # type: ignore[no-untyped-def]
    """Adds up for task i, row i of the N * H rows of dx, the shares of the windows that met it, window by window.

    The windows that meet coordinate i of an axis are those that pooling the other way would average for output i.
    """
    for task in range(begin, end):
        n, h = task // H, task % H
        row, run = at(dx, task * W * C), OW if W % OW == 0 else 1
        if run < OW:
            fill(row, ZERO, W * C)
        first, last = _adaptive_start(h, OH, H), _adaptive_stop(h, OH, H)
        around = streams(dx, N * H * W * C, C) if last - first == 1 else 0
        for oh in range(first, last):
            height = _adaptive_stop(oh, H, OH) - _adaptive_start(oh, H, OH)
            for ow in range(0, OW, run):
                w_low, w_high = _adaptive_start(ow, W, OW), _adaptive_stop(ow, W, OW)
                source = at(dy, ((n * OH + oh) * OW + ow) * C)
                width, replace = w_high - w_low, run == OW and oh == first
                _give(replace, run, width, at(row, w_low * C), width * C, W * C, source, OW * C,
                      height * width, around, C)  # fmt: skip
