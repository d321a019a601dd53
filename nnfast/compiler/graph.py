"""The graph of a captured function: a list of operations on buffers, in the order in which they run.

Passes read and rewrite it. A buffer is one piece of memory, an operand a view of it that an operation takes, as the
operation sees it: C-contiguous, images as (N, H, W, C).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nnfast.kernels.operation import Operation, operation
from nnfast.kernels.ops import OPS

MADE, INPUT, OUTSIDE = "made", "input", "outside"
"""Kinds of buffers: made in every run; an argument, elsewhere in every run; memory that outlives runs."""

GUARD = operation("graph.guard", "total(double): 1", "", tasks=lambda s: 1)
"""No kernel: a run ends here if the number is not finite."""


@dataclass(eq=False)
class Buffer:
    """One piece of memory.

    Parameters
    ----------
    nbytes : its length.
    kind : one of `MADE`, `INPUT`, `OUTSIDE`.
    name : for readers; of parameters, what their modules call them.
    array : the memory of an `OUTSIDE` buffer.
    argument : the number of the tensor that an `INPUT` buffer stands for.
    """

    nbytes: int
    kind: str = MADE
    name: str = ""
    array: np.ndarray | None = None
    argument: int = -1


@dataclass(frozen=True)
class Operand:
    """A view of a buffer: so many bytes behind its begin, of this shape and type."""

    buffer: Buffer
    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int = 0

    @property
    def nbytes(self) -> int:
        """The length in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def whole(self) -> bool:
        """Whether it is all of its buffer."""
        return self.offset == 0 and self.nbytes == self.buffer.nbytes

    def reshaped(self, *shape: int) -> Operand:
        """The same memory under another shape."""
        return Operand(self.buffer, shape, self.dtype, self.offset)

    def same_memory(self, other: Operand) -> bool:
        """Whether both are the same bytes."""
        return (self.buffer, self.offset, self.nbytes) == (other.buffer, other.offset, other.nbytes)

    def overlaps(self, other: Operand) -> bool:
        """Whether both have a byte in common."""
        return (
            self.buffer is other.buffer
            and self.offset < other.offset + other.nbytes
            and other.offset < self.offset + self.nbytes
        )


@dataclass(eq=False)
class Node:
    """One operation on operands.

    Parameters
    ----------
    op : its declaration.
    operands : by the names of the operation's arrays; None for an absent one.
    attributes : its numbers.
    place : the path of the module that it belongs to.
    settings : gives those attributes that may change from run to run, or None.
    backend, algorithm : what computes it; chosen by a pass.
    group : nodes in a row of the same number do not depend on each other.
    """

    op: Operation
    operands: dict[str, Operand | None]
    attributes: dict[str, Any] = field(default_factory=dict)
    place: str = ""
    settings: Callable[[], Mapping[str, Any]] | None = None
    backend: str = ""
    algorithm: str = ""
    group: int = -1
    temporary: Buffer | None = None

    @property
    def name(self) -> str:
        """The operation's name."""
        return self.op.name

    def __getitem__(self, name: str) -> Operand:
        found = self.operands[name]
        assert found is not None, f"{self.name} has no {name}"
        return found

    def has(self, name: str) -> bool:
        """Whether an optional operand is there."""
        return self.operands.get(name) is not None

    def _of(self, arrays: Iterable[Any]) -> list[Operand]:
        found = (self.operands[array.name] for array in arrays)
        return [operand for operand in found if operand is not None]

    @property
    def reads(self) -> list[Operand]:
        """What it reads: inputs and updates."""
        return self._of(self.op.inputs + self.op.updates)

    @property
    def writes(self) -> list[Operand]:
        """What it writes: outputs and updates."""
        return self._of(self.op.outputs + self.op.updates)

    @property
    def updates(self) -> list[Operand]:
        """What it changes in place."""
        return self._of(self.op.updates)

    def is_output(self, name: str) -> bool:
        """Whether an array of this name is only written."""
        return any(array.name == name for array in self.op.outputs)

    def change_operands(self, change: Callable[[Operand], Operand]) -> None:
        """Put what `change` gives in the place of every operand that is there."""
        self.operands = {name: None if x is None else change(x) for name, x in self.operands.items()}

    @property
    def touches(self) -> list[Operand]:
        """All operands."""
        return self._of(self.op.arrays)


def node(name: str, place: str = "", /, **operands: Any) -> Node:
    """A node of the operation called `name`; operands that are no `Operand` or None are attributes."""
    op = OPS[name]
    arrays = {array.name for array in op.arrays}
    return Node(
        op,
        {key: operands.get(key) for key in (array.name for array in op.arrays)},
        {key: value for key, value in operands.items() if key not in arrays},
        place,
    )


def made(shape: tuple[int, ...], dtype: Any = np.float32, name: str = "") -> Operand:
    """A new buffer, whole."""
    dtype = np.dtype(dtype)
    return Operand(Buffer(math.prod(shape) * dtype.itemsize, MADE, name), shape, dtype)


@dataclass(eq=False)
class Graph:
    """The operations of a function.

    Parameters
    ----------
    nodes : in the order in which they run.
    results : what the function returns; read when all nodes have run.
    losses : what backward passes started from.
    gradients : the gradients that leaves have in the end, with the leaves' names.
    watched : what a guard watches: labels, and the vector of their squares.
    threads : how many workers have scratch memory.
    """

    nodes: list[Node] = field(default_factory=list)
    results: list[Operand] = field(default_factory=list)
    losses: list[Operand] = field(default_factory=list)
    gradients: list[tuple[str, Operand]] = field(default_factory=list)
    watched: tuple[list[str], Operand] | None = None
    threads: int = 1

    def buffers(self) -> Iterator[Buffer]:
        """Every buffer once, in the order of first use."""
        seen: set[Buffer] = set()
        for item in self.nodes:
            for operand in item.touches:
                if operand.buffer not in seen:
                    seen.add(operand.buffer)
                    yield operand.buffer
            if item.temporary is not None:
                yield item.temporary
        for operand in self.results:
            if operand.buffer not in seen:
                seen.add(operand.buffer)
                yield operand.buffer

    def __str__(self) -> str:
        from .listing import graph_listing

        return graph_listing(self)

    def copy(self) -> Graph:
        """A graph with nodes of its own on the same buffers."""
        nodes = [
            Node(n.op, dict(n.operands), dict(n.attributes), n.place, n.settings, n.backend, n.algorithm, n.group)
            for n in self.nodes
        ]
        return Graph(nodes, list(self.results), list(self.losses), list(self.gradients), self.watched, self.threads)


class Uses:
    """Who reads and writes every buffer of a graph."""

    def __init__(self, graph: Graph) -> None:
        self.readers: dict[Buffer, list[Node]] = {}
        self.writers: dict[Buffer, list[Node]] = {}
        self.kept = {operand.buffer for operand in (*graph.results, *graph.losses)}
        for item in graph.nodes:
            self.add(item)

    def add(self, item: Node) -> None:
        """Count a node in."""
        for table, operands in ((self.readers, item.reads), (self.writers, item.writes)):
            for operand in operands:
                known = table.setdefault(operand.buffer, [])
                if item not in known:
                    known.append(item)

    def remove(self, item: Node) -> None:
        """Count a node out."""
        for table, operands in ((self.readers, item.reads), (self.writers, item.writes)):
            for operand in operands:
                if item in table[operand.buffer]:
                    table[operand.buffer].remove(item)

    def maker(self, operand: Operand | None) -> Node | None:
        """The one node that writes all of a made buffer and so gives `operand` its value, or None."""
        if operand is None or operand.buffer.kind != MADE or not operand.whole:
            return None
        writers = self.writers.get(operand.buffer, [])
        if len(writers) != 1 or any(update.buffer is operand.buffer for update in writers[0].updates):
            return None
        whole = any(output.buffer is operand.buffer and output.whole for output in writers[0].writes)
        return writers[0] if whole else None

    def stable(self, operand: Operand) -> bool:
        """Whether a buffer has the same values from when it is first read to the end of a run."""
        return len(self.writers.get(operand.buffer, [])) <= (operand.buffer.kind == MADE)

    def made_by(self, operand: Operand | None, *names: str) -> Node | None:
        """`maker`, if it is one of the operations called `names`."""
        maker = self.maker(operand)
        return maker if maker is not None and maker.name in names else None

    def others(self, operand: Operand, reader: Node) -> bool:
        """Whether somebody besides `reader` needs the values of a buffer."""
        return operand.buffer in self.kept or any(item is not reader for item in self.readers[operand.buffer])
