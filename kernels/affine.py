"""Declarations of what is left of a batch norm, an activation and a sum of two branches where no convolution does it.

Rows are pixels, and each channel has a scale and a shift, as in `fused.py`; `reference/affine.py` says what they mean.
"""

from __future__ import annotations

from .blocking import blocks, summed_rows
from .operation import Operation, Sizes, algorithm, operation


def _row_blocks(s: Sizes) -> int:
    return blocks(s.M, s.ROWS)


_BLOCK = {"ROWS": lambda s: summed_rows(s.M, s.C)}

AFFINE: tuple[Operation, ...] = (
    operation(
        "affine.affine_forward", "x: M C; scale: P; shift: P; r: MR C; r_scale: Q; r_shift: Q", "y: M C",
        attributes="activation: int", either={"P": (0, "C"), "MR": (0, "M"), "Q": (0, "C")},
        derive=_BLOCK, tasks=_row_blocks),
    operation(
        "affine.affine_backward",
        "dy: M C; dy2: M2 C; y: MY C; z: MZ C; scale: P; shift: P; centre: E; r: MR C; r_centre: F",
        "dx: M C; sums(double): 2 E; r_sums(double): 2 F", attributes="activation: int",
        either={"M2": (0, "M"), "MY": (0, "M"), "MZ": (0, "M"), "P": (0, "C"), "E": (0, "C"), "MR": (0, "M"),
                "F": (0, "C")},
        derive=_BLOCK | {"PARTS": _row_blocks},
        algorithms={"default": algorithm(
            ("affine_backward", _row_blocks),
            ("affine_backward_combine", lambda s: 1),
            workspace="partial(double): PARTS 2 E; r_partial(double): PARTS 2 F")}),
    operation(
        "affine.affine_gradient", "dy: M C; z: M C; slope: C; factor: C; offset: C", "dx: M C",
        derive=_BLOCK, tasks=_row_blocks),
)  # fmt: skip
