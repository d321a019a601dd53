"""Depthwise convolution fused with what stands before and behind it: the plain kernels' tasks with other vectors.

Each task adds its sums up in doubles of its own; the last stage adds those of all tasks in order.
"""

from __future__ import annotations

from .compiler import inline, kernel
from .depthwise import add_parts, pack
from .depthwise_tasks import backward_data, backward_weight, band_of, batch, forward
from .exponential import ZERO
from .fusion import add_tasks
from .memory import at, fill


@inline
def _own_sums(task_sums, task, E):  # type: ignore[no-untyped-def]
    """A task's (2, E) sums, set to 0."""
    sums = at(task_sums, task * 2 * E)
    fill(sums, 0.0, 2 * E)
    return sums


@kernel
def fused_depthwise_conv2d_forward_pack(w, packed, K, TAPS, begin, end):  # type: ignore[no-untyped-def]
    """packed[(r, s), k] = w[k, r, s, 0], in one task."""
    for _ in range(begin, end):
        pack(w, packed, K, TAPS, False)


@kernel
def fused_depthwise_conv2d_forward(  # type: ignore[no-untyped-def]
    x, b, scale, shift, centre, packed, task_sums, y, activation, stride, padding, dilation, N, H, W, K, R, S, B, P, E,
    OH, OW, IMAGES, BAND, BANDS, begin, end,
):  # fmt: skip
    """A task computes BAND rows of IMAGES images and their sums."""
    window = (R, S, stride[0], stride[1], dilation[0], dilation[1])
    load = (at(scale, 0), at(shift, 0), P, activation)
    for task in range(begin, end):
        band = band_of(task, N, OH, IMAGES, BAND, BANDS)
        store = (at(centre, 0), _own_sums(task_sums, task, E), E)
        result = batch(at(y, 0), N, OH, OW, K, H * W)
        forward((at(x, 0), H, W), window, padding, (at(packed, 0), K), (at(b, 0), B), result, band, load, store)


@kernel
def fused_depthwise_conv2d_forward_sums(task_sums, sums, BLOCKS, E, begin, end):  # type: ignore[no-untyped-def]
    """sums = the sums of all tasks, in one task."""
    for _ in range(begin, end):
        add_tasks(at(task_sums, 0), at(sums, 0), BLOCKS, E)


@kernel
def fused_depthwise_conv2d_backward_data_pack(w, packed, K, TAPS, stride, begin, end):  # type: ignore[no-untyped-def]
    """packed[(r, s), k] = w[k, r, s, 0], in one task; turned by half a turn for stride 1."""
    for _ in range(begin, end):
        pack(w, packed, K, TAPS, stride[0] == 1 and stride[1] == 1)


@kernel
def fused_depthwise_conv2d_backward_data(  # type: ignore[no-untyped-def]
    dy, z, slope, factor, offset, x, scale, shift, centre, packed, task_sums, dx, activation, stride, padding, dilation,
    N, OH, OW, H, W, K, R, S, G, NX, P, E, IMAGES, BAND, BANDS, begin, end,
):  # fmt: skip
    """A task computes BAND rows of dx of IMAGES images and their sums."""
    window = (R, S, stride[0], stride[1], dilation[0], dilation[1])
    load = (at(z, 0), at(slope, 0), at(factor, 0), at(offset, 0), G)
    for task in range(begin, end):
        band = band_of(task, N, H, IMAGES, BAND, BANDS)
        own = _own_sums(task_sums, task, E)
        store = (at(x, 0), NX, at(scale, 0), at(shift, 0), P, activation, at(centre, 0), own, E)
        result = batch(at(dx, 0), N, H, W, K, OH * OW)
        backward_data((at(dy, 0), OH, OW), window, padding, (at(packed, 0), K), result, band, load, store)


@kernel
def fused_depthwise_conv2d_backward_data_sums(task_sums, sums, BLOCKS, E, begin, end):  # type: ignore[no-untyped-def]
    """sums = the sums of all tasks, in one task."""
    for _ in range(begin, end):
        add_tasks(at(task_sums, 0), at(sums, 0), BLOCKS, E)


@kernel
def fused_depthwise_conv2d_backward_weight(  # type: ignore[no-untyped-def]
    x, dy, scale, shift, z, slope, factor, offset, partial, activation, stride, padding, dilation, N, H, W, OH, OW, K,
    R, S, P, G, TAPS, PARTS, begin, end,
):  # fmt: skip
    """A task sums over one run of fours of output rows."""
    window = (R, S, stride[0], stride[1], dilation[0], dilation[1])
    load = (at(scale, 0), at(shift, 0), P, activation)
    compose = (at(z, 0), at(slope, 0), at(factor, 0), at(offset, 0), G)
    fours = N * ((OH + 3) // 4)
    for part in range(begin, end):
        sums = at(partial, part * TAPS * K)
        fill(sums, ZERO, TAPS * K)
        backward_weight((at(x, 0), H, W), window, padding, (at(dy, 0), OH, OW), (sums, K), part * fours // PARTS,
                        (part + 1) * fours // PARTS, load, compose)  # fmt: skip


@kernel
def fused_depthwise_conv2d_backward_weight_reduce(partial, dw, K, TAPS, PARTS, begin, end):  # type: ignore[no-untyped-def]
    """dw[k, r, s, 0] = the partial sums added in order, in one task."""
    for _ in range(begin, end):
        add_parts(partial, dw, K, TAPS, PARTS)
