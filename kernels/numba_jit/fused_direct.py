"""Direct convolution with prologues and epilogues: the loops of `direct.py`, with what `kernels/fused.py` declares."""

from __future__ import annotations

from ..fused import NO_ACTIVATION
from .compiler import kernel
from .direct import convolve, convolve_back, pack_backward_data, pack_forward
from .direct_weight import correlate, reduce_parts
from .exponential import ZERO
from .finishing import Masking, Moments
from .fusion import add_tasks
from .memory import at, fill
from .tiles import ASK_ALL_TWO, ASK_TWO_LATER


@kernel
def fused_direct_conv2d_forward_pack(w, packed, K, KG, DEPTH, PANELS, begin, end):  # type: ignore[no-untyped-def]
    """Weights in panels of output channels."""
    pack_forward(w, packed, K, KG, DEPTH, PANELS, begin, end)


@kernel
def fused_direct_conv2d_forward(  # type: ignore[no-untyped-def]
    x, b, packed, staged, places, shifts, moments, y, stride, padding, dilation, N, H, W, C, K, R, S, CG, KG, B, OH, OW,
    GROUPS, PANELS, DEPTH, IMAGES, BAND, BANDS, BLOCKS, TASKS, HP, WP, P, scale, shift, activation, E, centre,
    task_sums, begin, end,
):  # fmt: skip
    """A task has a run of blocks; images are activated while they are copied, sums taken of results in registers."""
    sums = at(moments, 0)
    fill(sums, ZERO, 2 * E)
    for task in range(begin, end):
        total = at(task_sums, task * 2 * E)
        fill(total, 0.0, 2 * E)
        convolve(ASK_TWO_LATER, x, b, packed, staged, places, shifts, y, stride, padding, dilation, N, H, W, C, K, R, S,
                 CG, KG, B, OH, OW, GROUPS, PANELS, DEPTH, IMAGES, BAND, BANDS, HP, WP, P, at(scale, 0), at(shift, 0),
                 activation, Moments(at(centre, 0), sums, E), E, sums, total, task * BLOCKS // TASKS,
                 (task + 1) * BLOCKS // TASKS)  # fmt: skip


@kernel
def fused_direct_conv2d_forward_sums(task_sums, sums, TASKS, E, begin, end):  # type: ignore[no-untyped-def]
    """One task adds the sums of all tasks in order."""
    add_tasks(at(task_sums, 0), at(sums, 0), TASKS, E)


@kernel
def fused_direct_conv2d_backward_data_pack(  # type: ignore[no-untyped-def]
    w, packed, K, R, S, CG, KG, TAPS, PANELS, stride, padding, dilation, begin, end
):  # fmt: skip
    """Weights in panels of input channels, phase by phase."""
    pack_backward_data(w, packed, K, R, S, CG, KG, TAPS, PANELS, stride, padding, dilation, begin, end)


@kernel
def fused_direct_conv2d_backward_data(  # type: ignore[no-untyped-def]
    dy, packed, staged, places, shifts, moments, dx, stride, padding, dilation, N, H, W, C, OH, OW, K, R, S, CG, KG,
    GROUPS, TAPS, PANELS, PH, PW, IMAGES, BAND, BANDS, BLOCKS, TASKS, HP, WP, z, G, slope, factor, offset, x, P, scale,
    shift, activation, E, centre, task_sums, begin, end,
):  # fmt: skip
    """A task has a run of blocks; gradients are composed while they are copied, masked and added in registers."""
    sums = at(moments, 0)
    fill(sums, ZERO, 2 * E)
    finishes = 1 if activation != NO_ACTIVATION or E > 0 else 0
    epilogue = Masking(at(centre, 0), sums, C, E, at(x, 0), P, at(scale, 0), at(shift, 0), activation)
    for task in range(begin, end):
        total = at(task_sums, task * 2 * E)
        fill(total, 0.0, 2 * E)
        convolve_back(ASK_TWO_LATER, dy, packed, staged, places, shifts, dx, stride, padding, dilation, N, H, W, C, OH,
                      OW, K, R, S, CG, KG, GROUPS, TAPS, PANELS, PH, PW, IMAGES, BAND, BANDS, HP, WP, at(z, 0), G,
                      at(slope, 0), at(factor, 0), at(offset, 0), at(x, 0), finishes, epilogue, E, sums, total,
                      task * BLOCKS // TASKS, (task + 1) * BLOCKS // TASKS)  # fmt: skip


@kernel
def fused_direct_conv2d_backward_data_sums(task_sums, sums, TASKS, E, begin, end):  # type: ignore[no-untyped-def]
    """One task adds the sums of all tasks in order."""
    add_tasks(at(task_sums, 0), at(sums, 0), TASKS, E)


@kernel
def fused_direct_conv2d_backward_weight(  # type: ignore[no-untyped-def]
    x, dy, staged, gradients, places, shifts, partial, stride, padding, dilation, N, H, W, C, OH, OW, K, R, S, CG, KG,
    GROUPS, PANELS, DEPTH, IMAGES, BAND, BANDS, BLOCKS, HP, WP, PARTS, SPLIT, P, scale, shift, activation, z, G, slope,
    factor, offset, begin, end,
):  # fmt: skip
    """As the plain kernel; images and gradients are changed while they are copied."""
    correlate(ASK_ALL_TWO, x, dy, staged, at(gradients, 0), places, shifts, partial, stride, padding, dilation, N, H, W,
              C, OH, OW, K, R, S, CG, KG, GROUPS, PANELS, DEPTH, IMAGES, BAND, BANDS, BLOCKS, HP, WP, PARTS, SPLIT, P,
              at(scale, 0), at(shift, 0), activation, at(z, 0), G, at(slope, 0), at(factor, 0), at(offset, 0), begin,
              end)  # fmt: skip


@kernel
def fused_direct_conv2d_backward_weight_reduce(  # type: ignore[no-untyped-def]
    partial, dw, K, KG, DEPTH, PANELS, GROUPS, PARTS, begin, end
):  # fmt: skip
    """The sum of the partial results, turned."""
    reduce_parts(partial, dw, K, KG, DEPTH, PANELS, GROUPS, PARTS, begin, end)
