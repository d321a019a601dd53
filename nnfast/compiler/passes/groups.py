"""Find operations in a row that do not depend on each other, between which the executor needs no barrier.

So the gradients of a convolution with respect to data and weights share the cores, and all parameters are stepped in
one pass: the flat optimizer, without moving any parameter.
"""

from __future__ import annotations

from ..graph import GUARD, Buffer, Graph, Node, Operand


def groups(graph: Graph) -> None:
    """Number the groups; a node joins the group before it if it conflicts with none of its members."""
    number = -1
    reads: dict[Buffer, list[Operand]] = {}
    writes: dict[Buffer, list[Operand]] = {}
    open_group = False
    for item in graph.nodes:
        if not open_group or item.op is GUARD or _conflicts(item, reads, writes):
            number += 1
            reads, writes = {}, {}
        open_group = item.op is not GUARD
        item.group = number
        for operand in item.reads:
            reads.setdefault(operand.buffer, []).append(operand)
        for operand in item.writes:
            writes.setdefault(operand.buffer, []).append(operand)


def _conflicts(item: Node, reads: dict[Buffer, list[Operand]], writes: dict[Buffer, list[Operand]]) -> bool:
    """Whether it reads what a member writes, or writes what one reads or writes."""
    return any(operand.overlaps(other) for operand in item.reads for other in writes.get(operand.buffer, ())) or any(
        operand.overlaps(other)
        for operand in item.writes
        for other in (*reads.get(operand.buffer, ()), *writes.get(operand.buffer, ()))
    )
