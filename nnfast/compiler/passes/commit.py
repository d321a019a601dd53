"""Change what outlives a run as late as possible: behind the guard, so that a run that fails leaves no trace."""

from __future__ import annotations

from ..graph import GUARD, OUTSIDE, Buffer, Graph, Node


def commit(graph: Graph) -> None:
    """Move operations that only write memory from outside behind the last guard, where nobody before it minds.

    They are counters and running statistics. What is behind the guard is put in order of dependence, first all that
    depends on nothing there: counters, then the steps of optimizers.
    """
    last = max((i for i, item in enumerate(graph.nodes) if item.op is GUARD), default=-1)
    if last < 0:
        return
    head, tail = graph.nodes[: last + 1], graph.nodes[last + 1 :]
    gradients = {operand.buffer for _, operand in graph.gradients}
    kept: list[Node] = []
    moved: list[Node] = []
    touched: set[Buffer] = set()
    written: set[Buffer] = set()
    for item in reversed(head):
        writes, reads = {x.buffer for x in item.writes}, {x.buffer for x in item.reads}
        outside = bool(writes) and all(x.kind == OUTSIDE and x not in gradients for x in writes)
        if outside and not writes & touched and not reads & written:
            moved.append(item)
            continue
        kept.append(item)
        touched |= writes | reads
        written |= writes
    graph.nodes = kept[::-1] + _by_level(moved[::-1] + tail)


def _by_level(nodes: list[Node]) -> list[Node]:
    """Nodes in an order in which those that depend on equally long chains of others stand together."""
    written: dict[Buffer, int] = {}
    read: dict[Buffer, int] = {}
    levels: list[int] = []
    for item in nodes:
        writes, reads = [x.buffer for x in item.writes], [x.buffer for x in item.reads]
        before = [written.get(x, -1) for x in reads] + [max(written.get(x, -1), read.get(x, -1)) for x in writes]
        level = max(before, default=-1) + 1
        levels.append(level)
        for x in writes:
            written[x] = level
        for x in reads:
            read[x] = max(read.get(x, -1), level)
    return [item for _, item in sorted(zip(levels, nodes, strict=True), key=lambda pair: pair[0])]
