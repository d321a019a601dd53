"""Drop operations whose results nobody reads."""

from __future__ import annotations

from ..graph import MADE, Buffer, Graph


def dead_code(graph: Graph) -> None:
    """Keep what is needed by results, losses and memory that outlives a run, and by what is kept.

    A gradient of the network's input, where nobody asked for one, goes this way too.
    """
    needed: set[Buffer] = {operand.buffer for operand in (*graph.results, *graph.losses)}
    kept = []
    for node in reversed(graph.nodes):
        writes = node.writes
        # An operation without any result is a guard.
        if not writes or any(operand.buffer.kind != MADE or operand.buffer in needed for operand in writes):
            kept.append(node)
            needed.update(operand.buffer for operand in node.reads)
    graph.nodes = kept[::-1]
