"""Declarations of linear layers: matrix products C[m, n] = A[m, depth] B[depth, n] in the three transpositions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .blocking import PACKED, PANEL, blocks, evenly
from .operation import Algorithm, Operation, Sizes, algorithm, operation

Rule = Mapping[str, Callable[[Sizes], int]]

TILE_ROWS, TILE_COLUMNS = 112, 128
"""The part of a result that a task of the algorithm ``gemm`` computes."""
WIDE, DEEP, TASKS = 512, 384, 8
"""Columns of a task and depth of a product of the algorithm ``panels``, at most; and how many tasks it wants."""
HIGH = 14
"""Rows of the largest register tile; blocks of rows are whole tiles."""
WORTH_PACKING = 57
"""Rows of A from which on every panel of B is used often enough to be copied first."""


def panels(
    name: str,
    m: str,
    n: str,
    depth: str,
    *,
    always: bool = False,
    before: Rule | None = None,
    first: Sequence[tuple[str, Callable[[Sizes], int]]] = (),
    workspace: str = "",
    **rest: Any,
) -> Algorithm:
    """A task computes ROWS x COLUMNS of C; B is packed in panels if `always` or if there are rows enough.

    `m`, `n` and `depth` name the sizes; sizes that must be computed before and stages that come first may be given.
    """

    def columns(s: Sizes) -> int:
        panels = blocks(getattr(s, n), PANEL)
        wanted = max(blocks(panels, WIDE // PANEL), blocks(TASKS, max(1, blocks(getattr(s, m), s.ROWS))))
        return PANEL * evenly(panels, max(1, panels // wanted))

    return algorithm(
        *first,
        (f"panels_{name}_pack", lambda s: blocks(getattr(s, n), PACKED) if s.PACKS else 0),
        (f"panels_{name}", lambda s: blocks(getattr(s, m), s.ROWS) * blocks(getattr(s, n), s.COLUMNS)),
        derive={
            **(before or {}),
            "ROWS": lambda s: HIGH * evenly(blocks(getattr(s, m), HIGH), TILE_ROWS // HIGH),
            "COLUMNS": columns,
            "DEPTH": lambda s: min(DEEP, getattr(s, depth)),
            "STAGED": lambda s: s.ROWS + 16,  # whole tiles, whatever their height
            "PACKS": lambda s: int(always or getattr(s, m) >= WORTH_PACKING),
            "PANELS": lambda s: blocks(getattr(s, n), PANEL) if s.PACKS else 0,
        },
        workspace=f"packed: PANELS {depth} {PANEL}{workspace}",
        scratch="staged: STAGED DEPTH; places(int64): 2 ROWS; shifts(int64): 1", backends=("numba",), **rest,
    )  # fmt: skip


def _tiles(rows: str, columns: str) -> Callable[[Sizes], int]:
    return lambda s: blocks(getattr(s, rows), TILE_ROWS) * blocks(getattr(s, columns), TILE_COLUMNS)


def _gemm(*stages: tuple[str, Callable[[Sizes], int]], **rest: Any) -> Algorithm:
    derive = {"TILE_ROWS": lambda s: TILE_ROWS, "TILE_COLUMNS": lambda s: TILE_COLUMNS}
    return algorithm(*stages, derive=derive, backends=("cython",), **rest)


LINEAR: tuple[Operation, ...] = (
    operation(
        "linear.linear_forward", "x: M I; w: O I; b: B", "y: M O", either={"B": (0, "O")},
        flops=lambda s: 2 * s.M * s.I * s.O,
        algorithms={
            "panels": panels("linear_forward", "M", "O", "I", always=True),
            "gemm": _gemm(
                ("linear_forward_pack", lambda s: blocks(s.O, PACKED)), ("linear_forward", _tiles("M", "O")),
                workspace="packed: I O"),
        }),
    operation(
        "linear.linear_backward_data", "dy: M O; w: O I", "dx: M I",
        flops=lambda s: 2 * s.M * s.I * s.O,
        algorithms={
            "panels": panels("linear_backward_data", "M", "I", "O"),
            "gemm": _gemm(("linear_backward_data", _tiles("M", "I"))),
        }),
    operation(
        "linear.linear_backward_weight", "x: M I; dy: M O", "dw: O I",
        flops=lambda s: 2 * s.M * s.I * s.O,
        algorithms={
            "panels": panels("linear_backward_weight", "O", "I", "M"),
            "gemm": _gemm(("linear_backward_weight", _tiles("O", "I"))),
        }),
)  # fmt: skip
