"""Declarations of convolutions fused with what stands before and behind them in a network.

On load, an image is ``activation(x * scale + shift)`` (a batch norm and its ReLU), and a gradient is
``slope * dy + factor * z + offset`` (a batch norm's gradient, z its input). On store, the forward pass adds up what the
next batch norm needs, and the data gradient is masked by the activation and added up for that norm's own gradient.
`reference/fused.py` writes them as the plain compositions that they are. A linear layer is a 1x1 convolution of 1x1
images.
"""

from __future__ import annotations

from functools import partial

from . import narrow, winograd
from .blocking import BLOCK, PACKED, blocks, column_rows, weight_partials
from .convolution import (
    CONVOLVED,
    GROUPED,
    INPUT_SIZE,
    KERNEL,
    WINDOW,
    candidates,
    depthwise_backward_data,
    depthwise_backward_weight,
    depthwise_forward,
    direct_backward_data,
    direct_backward_weight,
    direct_forward,
    flops,
)
from .operation import Operation, algorithm, operation

NO_ACTIVATION, RELU, RELU6 = 0, 1, 2
"""Values of the attribute `activation`."""

_SUMS = "; task_sums(double): BLOCKS 2 E"
_TASK_SUMS = "; task_sums(double): TASKS 2 E"
_LOAD = "scale: P; shift: P"
_GRADIENT = "z: NZ OH OW K; slope: G; factor: G; offset: G"

# ---------------------------------------------------------------- im2col: pixels are loaded while they are unfolded

_CYTHON = {"backends": ("cython",)}

_IM2COL_FORWARD = algorithm(
    ("fused_conv2d_forward_pack", lambda s: blocks(s.K, PACKED)),
    ("fused_conv2d_forward", lambda s: s.BLOCKS),
    ("fused_conv2d_forward_sums", lambda s: 1),
    derive={
        "DEPTH": lambda s: s.TAPS * s.CG,
        "PIXELS": lambda s: s.N * s.OH * s.OW,
        "ROWS": lambda s: column_rows(s.DEPTH),
        "BLOCKS": lambda s: blocks(s.PIXELS, s.ROWS),
    },
    workspace="packed: GROUPS DEPTH KG" + _SUMS, scratch="columns: ROWS DEPTH", **_CYTHON,
)  # fmt: skip
_IM2COL_BACKWARD_DATA = algorithm(
    ("fused_conv2d_backward_data_pack", lambda s: blocks(s.K, PACKED)),
    ("fused_conv2d_backward_data", lambda s: s.BLOCKS),
    ("fused_conv2d_backward_data_sums", lambda s: 1),
    derive={
        "DEPTH": lambda s: s.TAPS * s.KG,
        "ROWS": lambda s: column_rows(s.DEPTH),
        # A block stays in one phase of dx: the pixels that meet the same taps.
        "RUNS": lambda s: blocks(s.N * blocks(s.H, s.stride[0]) * blocks(s.W, s.stride[1]), s.ROWS),
        "BLOCKS": lambda s: s.stride[0] * s.stride[1] * s.RUNS,
    },
    workspace="packed: GROUPS TAPS KG CG" + _SUMS, scratch="columns: ROWS DEPTH", **_CYTHON,
)  # fmt: skip
_IM2COL_BACKWARD_WEIGHT = algorithm(
    ("fused_conv2d_backward_weight", lambda s: s.PARTS * s.GROUPS * s.R),
    ("fused_conv2d_backward_weight_reduce", lambda s: blocks(s.K * s.R * s.DEPTH, BLOCK)),
    derive={
        "DEPTH": lambda s: s.S * s.CG,
        "PIXELS": lambda s: s.N * s.OH * s.OW,
        "ROWS": lambda s: column_rows(s.DEPTH),
        "PARTS": lambda s: max(1, min(blocks(s.PIXELS, s.ROWS), weight_partials(s.K * s.R * s.DEPTH))),
    },
    workspace="partial: PARTS K R DEPTH", scratch="columns: ROWS DEPTH; gradients: ROWS KG", **_CYTHON,
)  # fmt: skip

# ---------------------------------------------------------------- operations

FUSED: tuple[Operation, ...] = (
    operation(
        "fused.fused_conv2d_forward", f"x: N H W C; w: K R S CG; b: B; {_LOAD}; centre: E",
        "y: N OH OW K; sums(double): 2 E",
        attributes=f"activation: int; {WINDOW}; groups: int",
        either={"B": (0, "K"), "P": (0, "C"), "E": (0, "K")}, derive={**CONVOLVED, **GROUPED},
        candidates=partial(candidates, few=narrow.forward_suits, many=winograd.wide), flops=flops,
        algorithms={
            "direct": direct_forward(
                "fused_", _TASK_SUMS, "; moments: 2 E", ("fused_direct_conv2d_forward_sums", lambda s: 1)),
            "narrow": narrow.forward("fused_", _SUMS, ("fused_narrow_conv2d_forward_sums", lambda s: 1)),
            "winograd": winograd.forward("fused_", _SUMS, ("fused_winograd_conv2d_forward_sums", lambda s: 1)),
            "wide_winograd": winograd.wide_forward(
                "fused_", _SUMS, ("fused_wide_winograd_conv2d_forward_sums", lambda s: 1)),
            "depthwise": depthwise_forward(
                "fused_", _SUMS, ("fused_depthwise_conv2d_forward_sums", lambda s: 1)),
            "im2col": _IM2COL_FORWARD,
        }),
    operation(
        "fused.fused_conv2d_backward_data",
        f"dy: N OH OW K; w: K R S CG; {_GRADIENT}; x: NX H W C; {_LOAD}; centre: E",
        "dx: N H W C; sums(double): 2 E",
        attributes=f"activation: int; size: pair; {WINDOW}; groups: int",
        either={"NZ": (0, "N"), "G": (0, "K"), "NX": (0, "N"), "P": (0, "C"), "E": (0, "C")},
        derive={**INPUT_SIZE, **GROUPED, "C": lambda s: s.CG * s.groups},
        candidates=partial(candidates, many=winograd.wide), flops=flops,
        algorithms={
            "direct": direct_backward_data(
                "fused_", _TASK_SUMS, "; moments: 2 E", ("fused_direct_conv2d_backward_data_sums", lambda s: 1)),
            "winograd": winograd.backward_data(
                "fused_", _SUMS, ("fused_winograd_conv2d_backward_data_sums", lambda s: 1)),
            "wide_winograd": winograd.wide_backward_data(
                "fused_", _SUMS, ("fused_wide_winograd_conv2d_backward_data_sums", lambda s: 1)),
            "depthwise": depthwise_backward_data(
                "fused_", _SUMS, ("fused_depthwise_conv2d_backward_data_sums", lambda s: 1)),
            "im2col": _IM2COL_BACKWARD_DATA,
        }),
    operation(
        "fused.fused_conv2d_backward_weight", f"x: N H W C; dy: N OH OW K; {_LOAD}; {_GRADIENT}", "dw: K R S CG",
        attributes=f"activation: int; kernel_size: pair; {WINDOW}; groups: int",
        either={"P": (0, "C"), "NZ": (0, "N"), "G": (0, "K")},
        derive={**KERNEL, **GROUPED, "CG": lambda s: s.C // s.groups},
        candidates=partial(candidates, few=narrow.weight_suits), flops=flops,
        algorithms={
            "direct": direct_backward_weight("fused_", "; gradients: IMAGES BAND OW K"),
            "narrow": narrow.backward_weight("fused_", "; gradients: IMAGES BAND OW K"),
            "winograd": winograd.backward_weight("fused_"),
            "depthwise": depthwise_backward_weight("fused_"),
            "im2col": _IM2COL_BACKWARD_WEIGHT,
        }),
)  # fmt: skip
