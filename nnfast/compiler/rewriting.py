"""Changes to a graph: replace nodes where they stand, and put one operand in the place of another."""

from __future__ import annotations

import numpy as np

from .graph import OUTSIDE, Buffer, Graph, Node, Operand, Uses


class Rewriting:
    """A graph that is being rewritten; `close` puts the new nodes into it.

    Attributes
    ----------
    uses : who reads and writes what, as of now.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.uses = Uses(graph)
        self._instead: dict[Node, list[Node]] = {}

    def replace(self, old: Node, *new: Node) -> None:
        """Put nodes (none: nothing) in the place of one."""
        self._instead[old] = list(new)
        self.uses.remove(old)
        for item in new:
            self.uses.add(item)

    def update(self, item: Node, **operands: Operand | None) -> None:
        """Give a node other operands."""
        self.uses.remove(item)
        item.operands.update(operands)
        self.uses.add(item)

    def substitute(self, old: Operand, new: Operand) -> None:
        """Let everyone who reads `old`, all of its buffer, read `new` instead, which has the same values."""
        for reader in list(self.uses.readers.get(old.buffer, [])):
            changed = {
                name: Operand(new.buffer, operand.shape, operand.dtype, new.offset + operand.offset)
                for name, operand in reader.operands.items()
                if operand is not None and operand.buffer is old.buffer and not reader.is_output(name)
            }
            self.update(reader, **changed)
        for kept in (self.graph.results, self.graph.losses):
            for i, operand in enumerate(kept):
                if operand.buffer is old.buffer:
                    kept[i] = Operand(new.buffer, operand.shape, operand.dtype, new.offset + operand.offset)
                    self.uses.kept.add(new.buffer)

    def close(self) -> None:
        """Put the new nodes into the graph."""
        made: list[Node] = []

        def visit(item: Node) -> None:
            if item in self._instead:
                for other in self._instead[item]:
                    visit(other)
            else:
                made.append(item)

        for item in self.graph.nodes:
            visit(item)
        self.graph.nodes = made


def zeros(count: int) -> Operand:
    """A vector of zeros that no run changes."""
    array = np.zeros(count, np.float32)
    return Operand(Buffer(array.nbytes, OUTSIDE, "zeros", array), (count,), array.dtype)


def rows(operand: Operand) -> Operand:
    """Images or vectors as (M, C): the innermost size stays."""
    channels = operand.shape[-1]
    return operand.reshaped(int(np.prod(operand.shape[:-1], dtype=np.int64)), channels)


def same(first: Operand | None, second: Operand | None) -> bool:
    """Whether both are absent, or the same memory."""
    if first is None or second is None:
        return first is second
    return first.same_memory(second)
