"""Where values stopped being finite: run a failed plan again node by node and look at each result.

Nothing that outlives a run was changed, for the guard stands before all of that, so the same values come again.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .graph import GUARD, INPUT, OUTSIDE, Graph, Operand
from .plan import Plan


class NonFiniteError(FloatingPointError):
    """The loss or a gradient of a step is NaN or infinite; the step changed neither parameters nor statistics.

    Attributes
    ----------
    place : the path of the module where it began, or "".
    """

    def __init__(self, message: str, place: str) -> None:
        super().__init__(message)
        self.place = place


def explained(plan: Plan, graph: Graph) -> NonFiniteError:
    """The error for a plan that its guard has just stopped."""
    assert graph.watched is not None
    labels, squares = graph.watched
    values = plan.view(squares)
    losses = [plan.view(loss).reshape(-1)[0] for loss in graph.losses]
    wrong = [f"the loss is {loss}" for loss in losses if not np.isfinite(loss)]
    if not wrong:
        gradients = [label for label, value in zip(labels, values, strict=True) if not np.isfinite(value)]
        more = f" and of {len(gradients) - 1} other parameters" if len(gradients) > 1 else ""
        wrong = [f"{gradients[0]}{more} is not finite"] if gradients else ["a gradient is not finite"]
    place, origin = _origin(plan, graph)
    return NonFiniteError(
        f"{wrong[0]}; {origin}. Parameters, statistics and optimizer are as before this step. A smaller learning rate, "
        "clipping of gradients or scaled inputs often help.",
        place,
    )


def _origin(plan: Plan, graph: Graph) -> tuple[str, str]:
    given = _wrong(plan, [operand for item in graph.nodes for operand in item.reads if operand.buffer.kind == INPUT])
    if given is not None:
        return "", f"argument {given.buffer.argument} of the function holds values that are not finite"
    guard = next(i for i, item in enumerate(graph.nodes) if item.op is GUARD)
    written = {operand.buffer for item in graph.nodes[:guard] for operand in item.writes}
    outside = [x for item in graph.nodes[:guard] for x in item.reads if x.buffer.kind == OUTSIDE]
    known = _wrong(plan, [operand for operand in outside if operand.buffer not in written])
    if known is not None:
        return "", f"{known.buffer.name or 'memory from outside'} held values that are not finite before the step"
    node = plan.first_node(lambda item: _wrong(plan, item.writes) is not None)
    if node is None:
        return "", "each result is finite by itself, their sum is not"
    return node.place, f"the first such values came out of {node.name} in {node.place or 'the function itself'}"


def _wrong(plan: Plan, operands: Sequence[Operand]) -> Operand | None:
    """The first operand that holds a value that is not finite."""
    for operand in operands:
        if operand.dtype.kind == "f" and not np.isfinite(plan.view(operand)).all():
            return operand
    return None
