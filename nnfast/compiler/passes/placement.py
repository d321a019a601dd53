"""Lifetimes of buffers, and where they stand in the arena."""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping

from nnfast.kernels.blocking import blocks

from ..graph import MADE, Buffer, Graph

LINE = 64
"""Bytes of a cache line: where every buffer begins at a multiple of it, kernels may write around the caches."""
STAGGER = 17 * LINE
"""Buffers of whole pages are this much longer, so that equal places of them do not fall on the same cache sets."""


def lifetimes(graph: Graph) -> dict[Buffer, tuple[int, int]]:
    """The first and the last time at which every made buffer is in use.

    A time is the number of a node, or for nodes that may run at once, that of their group; what is returned is in use
    until the end.
    """
    found: dict[Buffer, tuple[int, int]] = {}
    time = -1
    group = -1
    for node in graph.nodes:
        if node.group < 0 or node.group != group:
            time += 1
        group = node.group
        buffers = [operand.buffer for operand in node.touches]
        for buffer in (*buffers, *([] if node.temporary is None else [node.temporary])):
            if buffer.kind == MADE:
                found[buffer] = (found.get(buffer, (time,))[0], time)
    for operand in (*graph.results, *graph.losses):
        if operand.buffer.kind == MADE:
            found[operand.buffer] = (found.get(operand.buffer, (0,))[0], time + 1)
    return found


def placement(lives: Mapping[Buffer, tuple[int, int]]) -> tuple[dict[Buffer, int], int]:
    """Offsets of all buffers in one piece of memory, and how long it is.

    Buffers in use at the same time do not overlap. Each takes the lowest gap that it fits into; of two orders, largest
    first and longest in use first (by bytes times nodes), the one that needs less memory is taken.
    """

    def largest(buffer: Buffer) -> tuple[int, int]:
        return -buffer.nbytes, lives[buffer][0]

    def longest(buffer: Buffer) -> tuple[int, int]:
        first, last = lives[buffer]
        return -buffer.nbytes * (last - first + 1), first

    return min((_placed(lives, sorted(lives, key=order)) for order in (longest, largest)), key=lambda found: found[1])


def _placed(lives: Mapping[Buffer, tuple[int, int]], order: list[Buffer]) -> tuple[dict[Buffer, int], int]:
    placed: list[tuple[int, int, int, int]] = []  # offset, end, first, last; sorted
    offsets: dict[Buffer, int] = {}
    for buffer in order:
        first, last = lives[buffer]
        size = blocks(buffer.nbytes, LINE) * LINE
        size += STAGGER if size >= 4096 else 0
        offset = 0
        for begin, end, start, stop in placed:
            if start <= last and first <= stop:
                if begin - offset >= size:
                    break
                offset = max(offset, end)
        offsets[buffer] = offset
        insort(placed, (offset, offset + size, first, last))
    return offsets, max((end for _, end, _, _ in placed), default=0)
