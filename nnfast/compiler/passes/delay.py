"""Compute one branch of a residual block's gradient as late as possible: where the other branch's is added.

The tape takes the branch of the shortcut first. Where that one changes the size of images, its result is as large as
all that it is made of, and its weight gradient needs the block's input, which then can be made again later, too.
"""

from __future__ import annotations

from ..graph import MADE, OUTSIDE, Buffer, Graph, Node, Operand, Uses
from .placement import lifetimes, peak
from .recompute import ENOUGH, SMALLEST

TERMS = {"affine_backward": ("dy", "dy2"), "add": ("a", "b")}
"""Operations that add two gradients, and their operands."""


def delay(graph: Graph) -> None:
    """Move operations that make a term of a sum, and what else only they make possible, right before the sum."""
    if peak(lifetimes(graph))[1] <= ENOUGH:
        return
    for item in list(graph.nodes):
        if item.name in TERMS and all(item.has(name) for name in TERMS[item.name]):
            for name in TERMS[item.name]:
                _delay(graph, item, item[name])


def _delay(graph: Graph, total: Node, term: Operand) -> None:
    uses = Uses(graph)
    maker = uses.maker(term)
    if maker is None or uses.others(term, total):
        return
    branch = _branch(graph, uses, maker, total)
    end = graph.nodes.index(total)
    begin = min(graph.nodes.index(item) for item in branch)
    between = [item for item in graph.nodes[begin:end] if item not in branch]
    if not between or not _may_wait(branch, between) or not _pays(graph, branch, term, end):
        return
    members = set(branch)
    rest = [item for item in graph.nodes if item not in members]
    place = rest.index(total)
    graph.nodes = rest[:place] + sorted(branch, key=graph.nodes.index) + rest[place:]


def _branch(graph: Graph, uses: Uses, maker: Node, total: Node) -> list[Node]:
    """The operations that nobody but `total` needs, or that only add to gradients of parameters."""
    branch = [maker]
    position = {item: i for i, item in enumerate(graph.nodes)}
    for item in branch:
        for operand in item.reads:
            before = uses.maker(operand)
            if before is None or before in branch:
                continue
            results = [x.buffer for x in before.writes if x.buffer.kind == MADE]
            others = {reader for x in results for reader in uses.readers.get(x, []) if reader not in branch}
            if not uses.kept.intersection(results) and all(
                _ends(reader) and position[reader] < position[total] for reader in others
            ):
                branch += [before, *sorted(others, key=position.__getitem__)]
    return branch


def _ends(item: Node) -> bool:
    """Whether it writes nothing but memory that outlives the run."""
    return all(operand.buffer.kind == OUTSIDE for operand in item.writes)


def _may_wait(branch: list[Node], between: list[Node]) -> bool:
    """Whether nothing in between touches what the branch writes, or writes what it reads."""
    written: set[Buffer] = {operand.buffer for item in branch for operand in item.writes}
    read: set[Buffer] = {operand.buffer for item in branch for operand in item.reads}
    return not any(operand.buffer in written for item in between for operand in item.touches) and not any(
        operand.buffer in read for item in between for operand in item.writes
    )


def _pays(graph: Graph, branch: list[Node], term: Operand, end: int) -> bool:
    """Whether the term has as many bytes as what must be kept for it, apart from a few numbers."""
    lives = lifetimes(graph)
    inside = {operand.buffer for item in branch for operand in item.writes}
    kept = {
        operand.buffer
        for item in branch
        for operand in item.reads
        if operand.buffer.kind == MADE and operand.buffer not in inside and lives[operand.buffer][1] < end
    }
    return term.nbytes >= sum(buffer.nbytes for buffer in kept if buffer.nbytes >= SMALLEST)
