"""Pooling: forward one row of output pixels at a time, backward one row of dx at a time, from the windows that met it.

Windows that lie wholly inside the image pass as one run, those that hang over its edges one by one. Backward, max
pooling writes every pixel of dx once; averages do so where windows stand side by side, and else start at 0 and add.
"""

from __future__ import annotations

import numpy as np

from .channels import WIDE
from .compiler import inline, kernel
from .exponential import ZERO
from .im2col import first_inside, first_outside, window_at
from .memory import at, at_most, fill, streams
from .simd import LANES
from .window import rows_mean, window_maximum, window_mean
from .window_gradients import gather_where, give_share, give_where

LARGE = 16  # pixels of a window
NEAR = 1 << 13  # elements that the first cache holds beside others
SMALL = 1 << 17  # elements of images that the second cache holds
WHOLE = WIDE * LANES  # the most channels of which pixels are read whole


@inline
def _inside(taps, stride, padding, dilation, size, count):  # type: ignore[no-untyped-def]
    """First and last + 1 of the windows, of `count`, that lie wholly inside the image along one axis."""
    room = size + padding - dilation * (taps - 1) - 1
    return (padding + stride - 1) // stride, at_most(room // stride + 1, count) if room >= 0 else 0


@inline
def _run(window, inside):  # type: ignore[no-untyped-def]
    """How many windows from this one on lie `inside`; 1 if it does not itself."""
    return inside[1] - window if inside[0] <= window < inside[1] else 1


@inline
def _fetched(rows, columns, size):  # type: ignore[no-untyped-def]
    """How many pixels each window fetches of what comes next: none if all images, of `size` elements, are in cache."""
    return (0, 0) if size <= SMALL else (rows, columns)


@kernel
def max_pool2d_forward(x, y, argmax, N, H, W, C, OH, OW, R, S, stride, padding, dilation, begin, end):  # type: ignore[no-untyped-def]
    """Compares tap by tap in window order; task i handles row i of the N * OH output rows."""
    inside = _inside(S, stride[1], padding[1], dilation[1], W, OW)
    row_step, step, size = dilation[0] * W * C, dilation[1] * C, N * OH * OW * C
    around = streams(y, size, C), streams(argmax, size, C // 4) if C % 64 == 0 else 0
    for task in range(begin, end):
        n, top = task // OH, task % OH * stride[0] - padding[0]
        r, r_stop = first_inside(top, dilation[0]), first_outside(top, dilation[0], R, H)
        line = at(x, (n * H + top + r * dilation[0]) * W * C)
        ow, rows = 0, r_stop - r
        below = at(x, (n * H + top + dilation[0] * (R - 1) + 1) * W * C)
        fetched = _fetched(at_most(stride[0], rows), stride[1], N * H * W * C)
        while ow < OW:
            run, left = _run(ow, inside), ow * stride[1] - padding[1]
            s, s_stop = first_inside(left, dilation[1]), first_outside(left, dilation[1], S, W)
            source, columns, pixel = at(line, (left + s * dilation[1]) * C), s_stop - s, (task * OW + ow) * C
            target, winner, tap, ahead = at(y, pixel), at(argmax, pixel), r * S + s, at(below, fetched[0] * left * C)
            if rows == 2 and columns == 2:
                window_maximum(2, 2, run, source, stride[1] * C, row_step, step, ahead, fetched, tap, S,
                               target, winner, around, C)  # fmt: skip
            elif rows == 3 and columns == 3:
                window_maximum(3, 3, run, source, stride[1] * C, row_step, step, ahead, fetched, tap, S,
                               target, winner, around, C)  # fmt: skip
            else:
                window_maximum(rows, columns, run, source, stride[1] * C, row_step, step, ahead, fetched, tap, S,
                               target, winner, around, C)  # fmt: skip
            ow += run


@inline
def _steps(stride, dilation):  # type: ignore[no-untyped-def]
    """How many taps and how many windows part two neighbours among the windows that meet the same coordinate."""
    taps = stride if dilation == 1 else 1
    while taps * dilation % stride != 0:
        taps += 1
    return taps, taps * dilation // stride


@inline
def _meeting(index, phase, stride, dilation, steps, taps, count):  # type: ignore[no-untyped-def]
    """The windows, of `count`, that meet padded coordinate ``index * stride + phase``: first tap, its window, how many.

    Every further one is ``steps[0]`` taps on and ``steps[1]`` windows back.
    """
    tap, window = phase, index
    if dilation != 1:
        tap = 0
        while tap < steps[0] and (tap * dilation - phase) % stride != 0:
            tap += 1
        window = index - (tap * dilation - phase) // stride if tap < steps[0] else -1
    while window >= count:
        tap, window = tap + steps[0], window - steps[1]
    found = 0
    while tap + found * steps[0] < taps and window >= found * steps[1]:
        found += 1
    return tap, window, found


@kernel
def max_pool2d_backward(dy, argmax, dx, N, H, W, C, OH, OW, R, S, stride, padding, dilation, begin, end):  # type: ignore[no-untyped-def]
    """Takes for task i, row i of the N * H rows of dx, what each window that met a pixel sends back to it.

    Windows that stand side by side pass from left to right. Otherwise pixels gather, phase by phase of the stride:
    those that are a stride apart meet the same taps of neighbouring windows, and pass as one run away from the edges.
    """
    down, across = _steps(stride[0], dilation[0]), _steps(stride[1], dilation[1])
    row_step, step, row_taps, tap_step = -down[1] * OW * C, -across[1] * C, down[0] * S, across[0]
    jump, ahead, around = stride[1] * C, (W * C, OW * C), streams(dx, N * H * W * C, C)
    side_by_side = stride[1] == S and dilation[1] == 1 and padding[1] == 0 and OW * S <= W
    for task in range(begin, end):
        n, position, row = task // H, task % H + padding[0], at(dx, task * W * C)
        r, oh, rows = _meeting(position // stride[0], position % stride[0], stride[0], dilation[0], down, R, OH)
        if rows == 0:
            fill(row, ZERO, W * C)
        elif rows == 1 and side_by_side:
            pixel = (n * OH + oh) * OW * C
            give_where(OW, S, row, W * C, at(dy, pixel), at(argmax, pixel), OW * C, r * S, around, C)
            fill(at(row, OW * S * C), ZERO, (W - OW * S) * C)
        else:
            for phase in range(stride[1]):
                index = (padding[1] - phase + stride[1] - 1) // stride[1]
                stop = (W + padding[1] - phase - 1) // stride[1] + 1
                while index < stop:
                    s, ow, columns = _meeting(index, phase, stride[1], dilation[1], across, S, OW)
                    # A run ends where a window at the right is missing; at the left, the next pixel meets one more.
                    run = at_most(OW - ow, stop - index) if s + columns * tap_step >= S else 1
                    pixel = ((n * OH + oh) * OW + ow) * C
                    target = at(row, (index * stride[1] + phase - padding[1]) * C)
                    gradient, winner, taps = at(dy, pixel), at(argmax, pixel), (r * S + s, row_taps, tap_step)
                    if columns == 1:
                        gather_where(1, rows, run, target, jump, gradient, winner, row_step, step, taps, ahead,
                                     around, C)  # fmt: skip
                    elif columns == 2:
                        gather_where(2, rows, run, target, jump, gradient, winner, row_step, step, taps, ahead,
                                     around, C)  # fmt: skip
                    else:
                        gather_where(columns, rows, run, target, jump, gradient, winner, row_step, step, taps, ahead,
                                     around, C)  # fmt: skip
                    index += run


# ---------------------------------------------------------------- averages


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
    inside, around = _inside(S, stride[1], padding[1], 1, W, OW), streams(y, N * OH * OW * C, C)
    for task in range(begin, end):
        n, oh = task // OH, task % OH
        h_low, h_high, height = _extent(oh, R, stride[0], padding[0], H, count_include_pad)
        line, below = at(x, (n * H + h_low) * W * C), at(x, (n * H + h_high) * W * C)
        ow, fetched = 0, _fetched(at_most(stride[0], h_high - h_low), stride[1], N * H * W * C)
        while ow < OW:
            run = _run(ow, inside)
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
    inside = _inside(S, stride[1], padding[1], 1, W, OW)
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
                run = _run(ow, inside)
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
            fetched, target = _fetched(rows, columns, N * H * W * C), at(y, (task * OW + ow) * C)
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
