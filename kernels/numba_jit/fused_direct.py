"""Direct convolution with prologues and epilogues: the loops of `direct.py`, with what `kernels/fused.py` declares."""

from __future__ import annotations

from .compiler import kernel
from .direct import convolve, convolve_back, pack_backward_data, pack_forward
from .direct_weight import correlate, reduce_parts
from .fusion import add_tasks
from .memory import at, fill


@kernel
def fused_direct_conv2d_forward_pack(w, packed, K, KG, DEPTH, PANELS, begin, end):  # type: ignore[no-untyped-def]
    """Weights in panels of output channels."""
    pack_forward(w, packed, K, KG, DEPTH, PANELS, begin, end)


@kernel
def fused_direct_conv2d_forward(  # type: ignore[no-untyped-def]
    x, b, packed, staged, places, shifts, y, stride, padding, dilation, N, H, W, C, K, R, S, CG, KG, B, OH, OW, GROUPS,
    PANELS, DEPTH, IMAGES, BAND, BANDS, HP, WP, P, scale, shift, activation, E, centre, task_sums, begin, end,
):  # fmt: skip
    """As the plain kernel; images are activated while they are copied, sums taken while the block is in cache."""
    fill(at(task_sums, begin * 2 * E), 0.0, (end - begin) * 2 * E)
    convolve(x, b, packed, staged, places, shifts, y, stride, padding, dilation, N, H, W, C, K, R, S, CG, KG, B, OH, OW,
             GROUPS, PANELS, DEPTH, IMAGES, BAND, BANDS, HP, WP, P, at(scale, 0), at(shift, 0), activation, E,
             at(centre, 0), at(task_sums, 0), begin, end)  # fmt: skip


@kernel
def fused_direct_conv2d_forward_sums(task_sums, sums, BLOCKS, E, begin, end):  # type: ignore[no-untyped-def]
    """One task adds the sums of all blocks in order."""
    add_tasks(at(task_sums, 0), at(sums, 0), BLOCKS, E)


@kernel
def fused_direct_conv2d_backward_data_pack(  # type: ignore[no-untyped-def]
    w, packed, K, R, S, CG, KG, TAPS, PANELS, stride, padding, dilation, begin, end
):  # fmt: skip
    """Weights in panels of input channels, phase by phase."""
    pack_backward_data(w, packed, K, R, S, CG, KG, TAPS, PANELS, stride, padding, dilation, begin, end)


@kernel
def fused_direct_conv2d_backward_data(  # type: ignore[no-untyped-def]
    dy, packed, staged, places, shifts, dx, stride, padding, dilation, N, H, W, C, OH, OW, K, R, S, CG, KG, GROUPS,
    TAPS, PANELS, PH, PW, IMAGES, BAND, BANDS, HP, WP, z, G, slope, factor, offset, x, P, scale, shift, activation, E,
    centre, task_sums, begin, end,
):  # fmt: skip
    """As the plain kernel; gradients are composed while they are copied, masked and added while in cache."""
    fill(at(task_sums, begin * 2 * E), 0.0, (end - begin) * 2 * E)
    convolve_back(dy, packed, staged, places, shifts, dx, stride, padding, dilation, N, H, W, C, OH, OW, K, R, S, CG,
                  KG, GROUPS, TAPS, PANELS, PH, PW, IMAGES, BAND, BANDS, HP, WP, at(z, 0), G, at(slope, 0),
                  at(factor, 0), at(offset, 0), at(x, 0), P, at(scale, 0), at(shift, 0), activation, E, at(centre, 0),
                  at(task_sums, 0), begin, end)  # fmt: skip


@kernel
def fused_direct_conv2d_backward_data_sums(task_sums, sums, BLOCKS, E, begin, end):  # type: ignore[no-untyped-def]
    """One task adds the sums of all blocks in order."""
    add_tasks(at(task_sums, 0), at(sums, 0), BLOCKS, E)


@kernel
def fused_direct_conv2d_backward_weight(  # type: ignore[no-untyped-def]
    x, dy, staged, gradients, places, shifts, partial, stride, padding, dilation, N, H, W, C, OH, OW, K, R, S, CG, KG,
    GROUPS, PANELS, DEPTH, IMAGES, BAND, BANDS, BLOCKS, HP, WP, PARTS, SPLIT, P, scale, shift, activation, z, G, slope,
    factor, offset, begin, end,
):  # fmt: skip
    """As the plain kernel; images and gradients are changed while they are copied."""
    correlate(x, dy, staged, at(gradients, 0), places, shifts, partial, stride, padding, dilation, N, H, W, C, OH, OW,
              K, R, S, CG, KG, GROUPS, PANELS, DEPTH, IMAGES, BAND, BANDS, BLOCKS, HP, WP, PARTS, SPLIT, P,
              at(scale, 0), at(shift, 0), activation, at(z, 0), G, at(slope, 0), at(factor, 0), at(offset, 0),
              begin, end)  # fmt: skip


@kernel
def fused_direct_conv2d_backward_weight_reduce(  # type: ignore[no-untyped-def]
    partial, dw, K, KG, DEPTH, PANELS, GROUPS, PARTS, begin, end
):  # fmt: skip
    """The sum of the partial results, turned."""
    reduce_parts(partial, dw, K, KG, DEPTH, PANELS, GROUPS, PARTS, begin, end)
