"""Lifetimes of buffers, and where they stand in the arena."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Mapping

from nnfast.kernels.blocking import blocks

from ..graph import MADE, Buffer, Graph

LINE = 64
"""Bytes of a cache line: where every buffer begins at a multiple of it, kernels may write around the caches."""
STAGGER = 17 * LINE
"""Buffers of whole pages are this much longer, so that equal places of them do not fall on the same cache sets."""
CLOSE, ROUNDS = 1.01, 16
"""Buffers are placed well enough if they need this much of what they fill at the peak; how often that is tried."""


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


def peak(
    lives: Mapping[Buffer, tuple[int, int]], size_of: Callable[[Buffer], int] = lambda buffer: buffer.nbytes
) -> tuple[int, int]:
    """The time at which most bytes are in use, and how many."""
    change: dict[int, int] = {}
    for buffer, (first, last) in lives.items():
        change[first] = change.get(first, 0) + size_of(buffer)
        change[last + 1] = change.get(last + 1, 0) - size_of(buffer)
    best, size, now = 0, 0, 0
    for time in sorted(change):
        now += change[time]
        if now > size:
            best, size = time, now
    return best, size


def placement(lives: Mapping[Buffer, tuple[int, int]]) -> tuple[dict[Buffer, int], int]:
    """Offsets of all buffers in one piece of memory, and how long it is.

    Buffers in use at the same time do not overlap. Each takes the lowest gap that it fits into, in the order of size or
    of size times time in use, whichever needs less memory. While that is more than buffers fill at the peak, those that
    stood near the end are placed first, and all others anew.
    """

    def largest(buffer: Buffer) -> tuple[int, int]:
        return -buffer.nbytes, lives[buffer][0]

    def longest(buffer: Buffer) -> tuple[int, int]:
        first, last = lives[buffer]
        return -buffer.nbytes * (last - first + 1), first

    tried = [(order, *_placed(lives, order)) for order in (sorted(lives, key=longest), sorted(lives, key=largest))]
    order, offsets, size = best = min(tried, key=lambda found: found[2])
    goal = CLOSE * peak(lives, _room)[1]
    for _ in range(ROUNDS):
        if best[2] <= goal:
            break
        last = {buffer: CLOSE * (offsets[buffer] + _room(buffer)) >= size for buffer in order}
        order = sorted(order, key=last.__getitem__, reverse=True)
        offsets, size = _placed(lives, order)
        best = min(best, (order, offsets, size), key=lambda found: found[2])
    return best[1], best[2]


def _room(buffer: Buffer) -> int:
    size = blocks(buffer.nbytes, LINE) * LINE
    return size + (STAGGER if size >= 4096 else 0)


def _placed(lives: Mapping[Buffer, tuple[int, int]], order: list[Buffer]) -> tuple[dict[Buffer, int], int]:
    placed: list[tuple[int, int, int, int]] = []  # offset, end, first, last; sorted
    offsets: dict[Buffer, int] = {}
    for buffer in order:
        first, last = lives[buffer]
        size, offset = _room(buffer), 0
        for begin, end, start, stop in placed:
            if start <= last and first <= stop:
                if begin - offset >= size:
                    break
                offset = max(offset, end)
        offsets[buffer] = offset
        insort(placed, (offset, offset + size, first, last))
    return offsets, max((end for _, end, _, _ in placed), default=0)
