"""Declarations of linear layers: matrix products C[m, n] = A[m, depth] B[depth, n] in the three transpositions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .blocking import PACKED, PANEL, blocks, evenly
from .operation import Algorithm, Operation, Sizes, algorithm, operation

Rule = Mapping[str, Callable[[Sizes], int]]

LOW, TALL, WIDE, DEEP, TASKS = 8, 12, 1024, 1024, 8
"""A product of the algorithm ``panels``: tiles of rows of a task that has few and many, at most; its columns and
depth, at most; and how many tasks are wanted."""
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
    turned: bool = False,
    packs: Callable[[Sizes], bool] = lambda s: False,
    before: Rule | None = None,
    first: Sequence[tuple[str, Callable[[Sizes], int]]] = (),
    workspace: str = "",
    scratch: str = "",
    **rest: Any,
) -> Algorithm:
    """A task computes ROWS x COLUMNS of C; B is packed in panels if it is `turned`, if `packs` says so or if there are
    rows enough.

    `m`, `n` and `depth` name the sizes; sizes that must be computed before and stages that come first may be given.
    """

    def rows(s: Sizes) -> int:
        tiles = blocks(getattr(s, m), HIGH)
        heights = range(min(TALL, tiles // TASKS), LOW, -1)
        # An even number of blocks, for the last one of an odd number leaves the second of two threads without work.
        return HIGH * next((high for high in heights if blocks(tiles, high) % 2 == 0), evenly(tiles, LOW))

    def columns(s: Sizes) -> int:
        panels = blocks(getattr(s, n), PANEL)
        wanted = max(blocks(panels, WIDE // PANEL), blocks(TASKS, max(1, blocks(getattr(s, m), s.ROWS))))
        return PANEL * evenly(panels, max(1, panels // wanted))

    return algorithm(
        *first,
        (f"panels_{name}_pack", lambda s: blocks(getattr(s, n if turned else depth), PACKED) if s.PACKS else 0),
        (f"panels_{name}", lambda s: blocks(getattr(s, m), s.ROWS) * blocks(getattr(s, n), s.COLUMNS)),
        derive={
            **(before or {}),
            "ROWS": rows,
            "COLUMNS": columns,
            "DEPTH": lambda s: evenly(getattr(s, depth), DEEP),
            "STAGED": lambda s: s.ROWS + 16,  # whole tiles, whatever their height
            "PACKS": lambda s: int(turned or packs(s) or getattr(s, m) >= WORTH_PACKING),
            "PANELS": lambda s: blocks(getattr(s, n), PANEL) if s.PACKS else 0,
        },
        workspace=f"packed: PANELS {depth} {PANEL}{workspace}",
        scratch=f"staged: STAGED DEPTH; places(int64): 2 ROWS; shifts(int64): 1; {scratch}",
        **rest,
    )  # fmt: skip


LINEAR: tuple[Operation, ...] = (
    operation(
        "linear.linear_forward", "x: M I; w: O I; b: B", "y: M O", either={"B": (0, "O")},
        flops=lambda s: 2 * s.M * s.I * s.O,
        algorithms={"panels": panels("linear_forward", "M", "O", "I", turned=True)}),
    operation(
        "linear.linear_backward_data", "dy: M O; w: O I", "dx: M I",
        flops=lambda s: 2 * s.M * s.I * s.O,
        algorithms={"panels": panels("linear_backward_data", "M", "I", "O")}),
    operation(
        "linear.linear_backward_weight", "x: M I; dy: M O", "dw: O I",
        flops=lambda s: 2 * s.M * s.I * s.O,
        algorithms={"panels": panels("linear_backward_weight", "O", "I", "M")}),
)  # fmt: skip
