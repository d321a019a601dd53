"""Give every value a buffer of its own, so that whoever reads a buffer can be traced to the one who wrote it.

What overwrites all of a buffer, as ``ReLU(inplace=True)`` does, gets a new one; memory is saved later, by lifetimes.
"""

from __future__ import annotations

from dataclasses import replace

from ..graph import MADE, Buffer, Graph, Operand


def rename(graph: Graph) -> None:
    """Let every operation that overwrites a made buffer write a new one, which all who follow use."""
    current: dict[Buffer, Buffer] = {}
    written: set[Buffer] = set()

    def renamed(operand: Operand | None) -> Operand | None:
        if operand is None or operand.buffer not in current:
            return operand
        return replace(operand, buffer=current[operand.buffer])

    for node in graph.nodes:
        outputs = {array.name for array in node.op.outputs}
        before = dict(node.operands)
        node.operands.update({name: renamed(operand) for name, operand in before.items() if name not in outputs})
        for name in outputs:
            operand = before[name]
            if operand is not None and operand.buffer.kind == MADE and operand.whole and operand.buffer in written:
                current[operand.buffer] = Buffer(operand.buffer.nbytes, MADE, operand.buffer.name)
            node.operands[name] = renamed(operand)
            if operand is not None:
                written.add(operand.buffer)
        written.update(operand.buffer for array in node.op.updates if (operand := before[array.name]) is not None)
    graph.results = [operand for result in graph.results if (operand := renamed(result)) is not None]
    graph.losses = [operand for loss in graph.losses if (operand := renamed(loss)) is not None]
