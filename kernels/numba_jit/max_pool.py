"""Max pooling: forward one row of output pixels at a time, backward one row of dx at a time.

Windows that lie wholly inside the image pass as one run, those that hang over its edges one by one. Backward, every
pixel of dx is written once, with what the windows that met it send back. The fused kernels activate the pixels as they
are loaded, mask the gradients, and add up a row of dx while it is written or in cache.
"""

from __future__ import annotations

from ..fused import NO_ACTIVATION
from .channels import WIDE
from .compiler import inline, kernel
from .exponential import ZERO
from .fusion import CHUNK, finish_gradient
from .im2col import first_inside, first_outside
from .memory import at, at_most, fill, streams
from .simd import LANES
from .vector import AHEAD
from .window import fetched_pixels, run_of, whole_windows, window_maximum
from .window_gradients import gather_where, give_and_add, give_where


@inline
def _maximum_rows(x, y, argmax, activated, N, H, W, C, OH, OW, R, S, stride, padding, dilation, begin, end):  # type: ignore[no-untyped-def]
    """Compares tap by tap in window order; row i is one of the N * OH output rows."""
    inside = whole_windows(S, stride[1], padding[1], dilation[1], W, OW)
    row_step, step, size = dilation[0] * W * C, dilation[1] * C, N * OH * OW * C
    around = streams(y, size, C), streams(argmax, size, C // 4) if C % 64 == 0 else 0
    for task in range(begin, end):
        n, top = task // OH, task % OH * stride[0] - padding[0]
        r, r_stop = first_inside(top, dilation[0]), first_outside(top, dilation[0], R, H)
        line = at(x, (n * H + top + r * dilation[0]) * W * C)
        ow, rows = 0, r_stop - r
        below = at(x, (n * H + top + dilation[0] * (R - 1) + 1) * W * C)
        fetched = fetched_pixels(at_most(stride[0], rows), stride[1], N * H * W * C)
        while ow < OW:
            run, left = run_of(ow, inside), ow * stride[1] - padding[1]
            s, s_stop = first_inside(left, dilation[1]), first_outside(left, dilation[1], S, W)
            source, columns, pixel = at(line, (left + s * dilation[1]) * C), s_stop - s, (task * OW + ow) * C
            target, winner, tap, ahead = at(y, pixel), at(argmax, pixel), r * S + s, at(below, fetched[0] * left * C)
            if rows == 2 and columns == 2:
                window_maximum(2, 2, run, source, stride[1] * C, row_step, step, activated, ahead, fetched, tap,
                               S, target, winner, around, C)  # fmt: skip
            elif rows == 3 and columns == 3:
                window_maximum(3, 3, run, source, stride[1] * C, row_step, step, activated, ahead, fetched, tap,
                               S, target, winner, around, C)  # fmt: skip
            else:
                window_maximum(rows, columns, run, source, stride[1] * C, row_step, step, activated, ahead, fetched,
                               tap, S, target, winner, around, C)  # fmt: skip
            ow += run


@kernel
def max_pool2d_forward(x, y, argmax, N, H, W, C, OH, OW, R, S, stride, padding, dilation, begin, end):  # type: ignore[no-untyped-def]
    """Task i handles row i of the N * OH output rows."""
    plain = 0, at(x, 0), at(x, 0), NO_ACTIVATION
    _maximum_rows(x, y, argmax, plain, N, H, W, C, OH, OW, R, S, stride, padding, dilation, begin, end)


@kernel
def fused_max_pool2d_forward(  # type: ignore[no-untyped-def]
    x, scale, shift, y, argmax, N, H, W, C, P, OH, OW, R, S, activation, stride, padding, dilation, begin, end
):  # fmt: skip
    """Task i handles row i of the N * OH output rows."""
    activated = P, at(scale, 0), at(shift, 0), activation
    _maximum_rows(x, y, argmax, activated, N, H, W, C, OH, OW, R, S, stride, padding, dilation, begin, end)


# ---------------------------------------------------------------- backward


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


@inline
def _gather_row(  # type: ignore[no-untyped-def]
    windows, first, rows, row, dy, argmax, y, activation, W, C, OW, S, stride, padding, dilation, row_step, row_taps,
    across, ahead, around,
):  # fmt: skip
    """Take for a row of dx what the windows that met its pixels send back, of `rows` rows of windows from `windows` on.

    Phase by phase of the stride: pixels that are a stride apart meet the same taps of neighbouring windows, and pass as
    one run away from the edges. `first` is the first row's tap.
    """
    tap_step, step, jump = across[0], -across[1] * C, stride * C
    for phase in range(stride):
        index = (padding - phase + stride - 1) // stride
        stop = (W + padding - phase - 1) // stride + 1
        while index < stop:
            s, ow, columns = _meeting(index, phase, stride, dilation, across, S, OW)
            # A run ends where a window at the right is missing; at the left, the next pixel meets one more.
            run = at_most(OW - ow, stop - index) if s + columns * tap_step >= S else 1
            pixel = (windows + ow) * C
            target = at(row, (index * stride + phase - padding) * C)
            gradient, winner, taps = at(dy, pixel), at(argmax, pixel), (first * S + s, row_taps, tap_step)
            gate = at(y, pixel), activation
            if columns == 1:
                gather_where(1, rows, run, target, jump, gradient, winner, gate, row_step, step, taps, ahead, around, C)
            elif columns == 2:
                gather_where(2, rows, run, target, jump, gradient, winner, gate, row_step, step, taps, ahead, around, C)
            else:
                gather_where(columns, rows, run, target, jump, gradient, winner, gate, row_step, step, taps, ahead,
                             around, C)  # fmt: skip
            index += run


@inline
def _beside(S, stride, padding, dilation, W, OW):  # type: ignore[no-untyped-def]
    """Whether windows stand side by side from the left edge on, all inside the image."""
    return stride == S and dilation == 1 and padding == 0 and OW * S <= W


@kernel
def max_pool2d_backward(dy, argmax, dx, N, H, W, C, OH, OW, R, S, stride, padding, dilation, begin, end):  # type: ignore[no-untyped-def]
    """Takes for task i, row i of the N * H rows of dx, what each window that met a pixel sends back to it."""
    down, across = _steps(stride[0], dilation[0]), _steps(stride[1], dilation[1])
    ahead, around = (W * C, OW * C), streams(dx, N * H * W * C, C)
    side_by_side = _beside(S, stride[1], padding[1], dilation[1], W, OW)
    for task in range(begin, end):
        n, position, row = task // H, task % H + padding[0], at(dx, task * W * C)
        r, oh, rows = _meeting(position // stride[0], position % stride[0], stride[0], dilation[0], down, R, OH)
        windows = (n * OH + oh) * OW
        if rows == 0:
            fill(row, ZERO, W * C)
        elif rows == 1 and side_by_side:
            gradient = at(dy, windows * C)
            give_where(OW, S, row, W * C, gradient, at(argmax, windows * C), (gradient, NO_ACTIVATION), OW * C, r * S,
                       around, C)  # fmt: skip
            fill(at(row, OW * S * C), ZERO, (W - OW * S) * C)
        else:
            _gather_row(windows, r, rows, row, dy, argmax, dy, NO_ACTIVATION, W, C, OW, S, stride[1], padding[1],
                        dilation[1], -down[1] * OW * C, down[0] * S, across, ahead, around)  # fmt: skip


@inline
def _give_and_add_row(  # type: ignore[no-untyped-def]
    windows, dx, dy, argmax, y, activation, ahead, tap, around, C, products, x, centre, sums
):  # fmt: skip
    """`give_and_add` for a row of windows of two columns, in parts that may be summed in float32.

    Where not all channels pass at once, parts are few pixels: reading 256 bytes here and there took twice as long.
    """
    most = CHUNK // 2 if C <= WIDE * LANES else CHUNK // at_most(C, CHUNK)
    for first in range(0, windows, most):
        count, start, pixel = at_most(windows - first, most), first * C, 2 * first * C
        target, gradient, winner, gate = at(dx, pixel), at(dy, start), at(argmax, start), (at(y, start), activation)
        give_and_add(2, count, target, gradient, winner, gate, ahead, tap, around, C, products, at(x, pixel), centre,
                     sums)  # fmt: skip


@kernel
def fused_max_pool2d_backward(  # type: ignore[no-untyped-def]
    dy, argmax, y, x, centre, dx, partial, N, H, W, C, OH, OW, R, S, NY, NX, E, ROWS, activation, stride, padding,
    dilation, begin, end,
):  # fmt: skip
    """As the plain kernel, with gradients masked; task i handles ROWS rows of dx and adds up in place i of `partial`.

    Windows of two columns side by side are added up while they are written, others afterwards.
    """
    down, across = _steps(stride[0], dilation[0]), _steps(stride[1], dilation[1])
    ahead, around = (W * C, OW * C), streams(dx, N * H * W * C, C)
    side_by_side = _beside(S, stride[1], padding[1], dilation[1], W, OW)
    all_ahead = (*ahead, (AHEAD // (W * C + 1) + 1) * W * C)  # whole rows of x
    gates = at(y, 0) if NY > 0 else at(dy, 0)
    fill(at(partial, begin * 2 * E), 0.0, (end - begin) * 2 * E)
    for line in range(begin * ROWS, at_most(end * ROWS, N * H)):
        n, position, row = line // H, line % H + padding[0], at(dx, line * W * C)
        r, oh, rows = _meeting(position // stride[0], position % stride[0], stride[0], dilation[0], down, R, OH)
        windows, sums = (n * OH + oh) * OW, at(partial, line // ROWS * 2 * E)
        gradient, winner, gate = at(dy, windows * C), at(argmax, windows * C), at(gates, windows * C)
        if rows == 0:
            fill(row, ZERO, W * C)
        elif rows == 1 and side_by_side and (E == 0 or S == 2):
            if E > 0:
                _give_and_add_row(OW, row, gradient, winner, gate, activation, all_ahead, r * S, around, C, NX,
                                  at(x, line * W * C), at(centre, 0), sums)  # fmt: skip
            else:
                give_where(OW, S, row, W * C, gradient, winner, (gate, activation), OW * C, r * S, around, C)
            fill(at(row, OW * S * C), ZERO, (W - OW * S) * C)
        else:
            _gather_row(windows, r, rows, row, dy, argmax, gates, activation, W, C, OW, S, stride[1], padding[1],
                        dilation[1], -down[1] * OW * C, down[0] * S, across, ahead, 0 if E > 0 else around)  # fmt: skip
            finish_gradient(row, at(x, line * W * C) if NX > 0 else row, W, C, 0, at(centre, 0), at(centre, 0),
                            NO_ACTIVATION, E, at(centre, 0), sums)  # fmt: skip


@kernel
def fused_max_pool2d_backward_sums(partial, sums, NX, E, PARTS, begin, end):  # type: ignore[no-untyped-def]
    """One task adds the sums of all tasks in order; without x there are no products."""
    total = at(sums, 0)
    fill(total, 0.0, 2 * E)
    for part in range(PARTS):
        source = at(partial, part * 2 * E)
        for i in range(2 * E if NX > 0 else E):
            total[i] += source[i]
