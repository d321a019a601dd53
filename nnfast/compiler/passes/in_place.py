"""Let an operation on each element write into the memory of an operand that nobody needs afterwards."""

from __future__ import annotations

from dataclasses import replace

from ..graph import MADE, Buffer, Graph, Node, Operand, Uses

OVERWRITES = {"affine_backward": ("dx", ("dy", "dy2")), "affine_gradient": ("dx", ("dy",))}
"""Operations on pixels whose output may be the memory of an input; elementwise ones may always."""


def in_place(graph: Graph) -> None:
    """Put the buffer of a dying input in the place of the output's."""
    uses = Uses(graph)
    last = {}
    for item in graph.nodes:
        for operand in item.touches:
            last[operand.buffer] = item
    instead: dict[Buffer, Buffer] = {}

    def current(operand: Operand) -> Operand:
        while operand.buffer in instead:
            operand = replace(operand, buffer=instead[operand.buffer])
        return operand

    for item in graph.nodes:
        output, inputs = _may_overwrite(item)
        result = item.operands.get(output)
        if result is None or result.buffer.kind != MADE or not result.whole or uses.maker(result) is not item:
            continue
        for name in inputs:
            source = item.operands.get(name)
            if source is None or source.buffer in uses.kept or last[source.buffer] is not item:
                continue
            if (
                source.buffer.kind == MADE
                and source.whole
                and source.nbytes == result.nbytes
                and result.dtype == source.dtype
            ):
                instead[result.buffer] = source.buffer
                last[current(source).buffer] = last[result.buffer]
                break
    for item in graph.nodes:
        item.change_operands(current)
    graph.results = [current(operand) for operand in graph.results]
    graph.losses = [current(operand) for operand in graph.losses]


def _may_overwrite(item: Node) -> tuple[str, tuple[str, ...]]:
    if item.name in OVERWRITES:
        return OVERWRITES[item.name]
    outputs = [array.name for array in item.op.outputs if array.elementwise]
    if len(outputs) != 1:
        return "", ()
    return outputs[0], tuple(array.name for array in item.op.inputs if array.elementwise)
