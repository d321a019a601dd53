"""Convolutions with few channels, with prologues and epilogues: the loops of `narrow.py`, see `kernels/fused.py`."""

from __future__ import annotations

from .compiler import kernel
from .direct_weight import reduce_parts
from .fusion import add_tasks
from .memory import at, fill
from .narrow import convolve, correlate, pack_forward


@kernel
def fused_narrow_conv2d_forward_pack(w, packed, C, K, R, S, begin, end):  # type: ignore[no-untyped-def]
    """One task turns the weights."""
    pack_forward(w, packed, C, K, R, S)


@kernel
def fused_narrow_conv2d_forward(  # type: ignore[no-untyped-def]
    x, b, packed, staged, y, stride, padding, dilation, N, H, W, C, K, R, S, B, OH, OW, IMAGES, BAND, BANDS, HP, WP, P,
    scale, shift, activation, E, centre, task_sums, begin, end,
):  # fmt: skip
    """As the plain kernel; images are activated while they are copied, sums taken while the block is in cache."""
    fill(at(task_sums, begin * 2 * E), 0.0, (end - begin) * 2 * E)
    convolve(x, b, packed, staged, y, stride, padding, dilation, N, H, W, C, K, R, S, B, OH, OW, IMAGES, BAND, BANDS,
             HP, WP, P, at(scale, 0), at(shift, 0), activation, E, at(centre, 0), at(task_sums, 0), begin,
             end)  # fmt: skip


@kernel
def fused_narrow_conv2d_forward_sums(task_sums, sums, BLOCKS, E, begin, end):  # type: ignore[no-untyped-def]
    """One task adds the sums of all blocks in order."""
    add_tasks(at(task_sums, 0), at(sums, 0), BLOCKS, E)


@kernel
def fused_narrow_conv2d_backward_weight(  # type: ignore[no-untyped-def]
    x, dy, staged, gradients, places, shifts, partial, stride, padding, dilation, N, H, W, C, OH, OW, K, R, S, DEPTH,
    IMAGES, BAND, BANDS, BLOCKS, HP, WP, PARTS, P, scale, shift, activation, z, G, slope, factor, offset, begin, end,
):  # fmt: skip
    """As the plain kernel; images and gradients are changed while they are copied."""
    correlate(x, dy, staged, at(gradients, 0), places, shifts, partial, stride, padding, dilation, N, H, W, C, OH, OW,
              K, R, S, DEPTH, IMAGES, BAND, BANDS, BLOCKS, HP, WP, PARTS, P, at(scale, 0), at(shift, 0), activation,
              at(z, 0), G, at(slope, 0), at(factor, 0), at(offset, 0), begin, end)  # fmt: skip


@kernel
def fused_narrow_conv2d_backward_weight_reduce(partial, dw, K, DEPTH, PARTS, begin, end):  # type: ignore[no-untyped-def]
    """The sum of the partial results, turned."""
    reduce_parts(partial, dw, K, K, DEPTH, 1, 1, PARTS, begin, end)
