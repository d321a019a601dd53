"""Declarations of pooling, plain and fused.

A fused maximum takes images that are ``activation(x * scale + shift)``, a batch norm and its ReLU; its gradient is
masked by that activation, and added up for the gradient of that norm. `reference/pool.py` writes them as the plain
compositions that they are.
"""

from __future__ import annotations

from .blocking import BLOCK, PARTIALS, blocks
from .convolution import INPUT_SIZE, KERNEL, WINDOW, convolved
from .operation import algorithm, operation


def pooled(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: int) -> int:
    """Output length of a pooling window; in ceil mode the last window must start inside the input or left padding."""
    if not ceil_mode:
        return convolved(size, kernel, stride, padding, dilation)
    length = blocks(size + 2 * padding - dilation * (kernel - 1) - 1, stride) + 1
    return length - 1 if (length - 1) * stride >= size + padding else length


_POOLED = {
    **KERNEL,
    "OH": lambda s: pooled(s.H, s.R, s.stride[0], s.padding[0], s.dilation[0], s.ceil_mode),
    "OW": lambda s: pooled(s.W, s.S, s.stride[1], s.padding[1], s.dilation[1], s.ceil_mode),
}
_AVERAGED = {
    **KERNEL,
    "OH": lambda s: pooled(s.H, s.R, s.stride[0], s.padding[0], 1, s.ceil_mode),
    "OW": lambda s: pooled(s.W, s.S, s.stride[1], s.padding[1], 1, s.ceil_mode),
}

POOLING = (
    operation(
        "pool.max_pool2d_forward", "x: N H W C", "y: N OH OW C; argmax(uint8): N OH OW C",
        attributes=f"kernel_size: pair; {WINDOW}; ceil_mode: int", derive=_POOLED, tasks=lambda s: s.N * s.OH),
    operation(
        "pool.max_pool2d_backward", "dy: N OH OW C; argmax(uint8): N OH OW C", "dx: N H W C",
        attributes=f"size: pair; kernel_size: pair; {WINDOW}",
        derive={**INPUT_SIZE, **KERNEL}, tasks=lambda s: s.N * s.H),
    operation(
        "pool.fused_max_pool2d_forward", "x: N H W C; scale: P; shift: P", "y: N OH OW C; argmax(uint8): N OH OW C",
        attributes=f"activation: int; kernel_size: pair; {WINDOW}; ceil_mode: int", either={"P": (0, "C")},
        derive=_POOLED, tasks=lambda s: s.N * s.OH),
    operation(
        "pool.fused_max_pool2d_backward",
        "dy: N OH OW C; argmax(uint8): N OH OW C; y: NY OH OW C; x: NX H W C; centre: E",
        "dx: N H W C; sums(double): 2 E", attributes=f"activation: int; size: pair; kernel_size: pair; {WINDOW}",
        either={"NY": (0, "N"), "NX": (0, "N"), "E": (0, "C")},
        derive={**INPUT_SIZE, **KERNEL,
                # Rows of dx that a task handles.
                "ROWS": lambda s: max(1, BLOCK // max(1, s.W * s.C), blocks(s.N * s.H, PARTIALS)),
                "PARTS": lambda s: blocks(s.N * s.H, s.ROWS)},
        algorithms={"default": algorithm(
            ("fused_max_pool2d_backward", lambda s: s.PARTS),
            ("fused_max_pool2d_backward_sums", lambda s: 1),
            workspace="partial(double): PARTS 2 E")}),
    operation(
        "pool.avg_pool2d_forward", "x: N H W C", "y: N OH OW C",
        attributes="kernel_size: pair; stride: pair; padding: pair; ceil_mode: int; count_include_pad: int",
        derive=_AVERAGED, tasks=lambda s: s.N * s.OH),
    operation(
        "pool.avg_pool2d_backward", "dy: N OH OW C", "dx: N H W C",
        attributes="size: pair; kernel_size: pair; stride: pair; padding: pair; count_include_pad: int",
        derive={**INPUT_SIZE, **KERNEL}, tasks=lambda s: s.N * s.H),
    operation(
        "pool.adaptive_avg_pool2d_forward", "x: N H W C", "y: N OH OW C", attributes="output_size: pair",
        derive={"OH": lambda s: s.output_size[0], "OW": lambda s: s.output_size[1]}, tasks=lambda s: s.N * s.OH),
    operation(
        "pool.adaptive_avg_pool2d_backward", "dy: N OH OW C", "dx: N H W C", attributes="size: pair",
        derive=INPUT_SIZE, tasks=lambda s: s.N * s.H),
)  # fmt: skip
