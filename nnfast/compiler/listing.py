"""Listings: a graph, or a compiled function's plan, as text for people and as fields for programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nnfast.kernels.backends import current_backend

from .graph import INPUT, MADE, Buffer, Graph, Node, Operand

if TYPE_CHECKING:
    from .function import Variant

LEGEND = """\
A line is number {group} module operation algorithm: what it reads -> what it writes.
  %1 is made in the run, x0 an argument, $lr other memory that outlives runs; := is changed in place
  @offset+bytes is the place in the arena; %1+64 begins 64 bytes behind the begin of %1
  {2}: nodes in a row of the same group may run at once; !cython! is a backend other than the current one"""


@dataclass(frozen=True)
class Line:
    """One node of a graph as text.

    Attributes
    ----------
    number : its place in the graph.
    place : the path of its module.
    operation, algorithm, backend : what computes it; the last two are empty before they are chosen.
    group : nodes in a row of the same number may run at once; -1 for none.
    reads, writes : operands with names and shapes; those changed in place are among `writes`.
    marked : whether the backend is another one than the graph was made for.
    """

    number: int
    place: str
    operation: str
    algorithm: str
    backend: str
    group: int
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    marked: bool

    @property
    def computed_by(self) -> str:
        """The algorithm, where there are several to choose from, and a backend that is not the current one."""
        parts = [self.algorithm if self.algorithm != "default" else "", f"!{self.backend}!" if self.marked else ""]
        return " ".join(filter(None, parts))


class Names:
    """What buffers are called: `x0` arguments, `%0` made ones, others by their modules or, with $, by their use."""

    def __init__(self, *graphs: Graph) -> None:
        self._names: dict[Buffer, str] = {}
        self._uses: dict[str, int] = {}
        self._made = 0
        for graph in graphs:
            for node in graph.nodes:
                for array in node.op.arrays:
                    operand = node.operands[array.name]
                    if operand is not None:
                        self._see(operand.buffer, array.name)
                if node.temporary is not None:
                    self._see(node.temporary, "temporary")
            for operand in graph.results:
                self._see(operand.buffer, "result")

    def _see(self, buffer: Buffer, use: str) -> None:
        if buffer in self._names:
            return
        if buffer.kind == MADE:
            self._names[buffer] = f"%{self._made}"
            self._made += 1
        elif buffer.kind == INPUT:
            self._names[buffer] = f"x{buffer.argument}"
        else:
            name = buffer.name or f"${use}"
            count = self._uses[name] = self._uses.get(name, 0) + 1
            self._names[buffer] = name if count == 1 else f"{name}#{count}"

    def operand(self, operand: Operand) -> str:
        """An operand's buffer, the bytes that it begins behind it, its shape, and its type unless it is float32."""
        behind = f"+{operand.offset}" if operand.offset else ""
        shape = ",".join(map(str, operand.shape))
        kind = "" if operand.dtype == np.float32 else f":{operand.dtype}"
        return f"{self._names[operand.buffer]}{behind}[{shape}]{kind}"


def lines(graph: Graph, names: Names, backend: str, offsets: Mapping[Buffer, int] | None = None) -> list[Line]:
    """The nodes of a graph; `backend` is what it was made for, `offsets` say where buffers stand in the arena."""
    places = offsets or {}

    def placed(operand: Operand) -> str:
        if operand.buffer not in places:
            return names.operand(operand)
        return f"{names.operand(operand)}@{places[operand.buffer] + operand.offset}+{operand.nbytes}"

    def line(number: int, node: Node) -> Line:
        of = node.operands
        reads = [f"{a.name}={names.operand(x)}" for a in node.op.inputs if (x := of[a.name]) is not None]
        changed = [f"{a.name}:={placed(x)}" for a in node.op.updates if (x := of[a.name]) is not None]
        written = [f"{a.name}={placed(x)}" for a in node.op.outputs if (x := of[a.name]) is not None]
        if node.temporary is not None and node.temporary in places:
            written.append(f"temporary@{places[node.temporary]}+{node.temporary.nbytes}")
        marked = node.backend not in ("", backend)
        return Line(number, node.place, node.name, node.algorithm, node.backend, node.group, tuple(reads),
                    (*changed, *written), marked)  # fmt: skip

    return [line(number, node) for number, node in enumerate(graph.nodes)]


def text(rows: Iterable[Line]) -> str:
    """Lines in columns."""
    rows = list(rows)
    columns = [
        [str(row.number) for row in rows],
        [f"{{{row.group}}}" if row.group >= 0 else "" for row in rows],
        [row.place for row in rows],
        [row.operation for row in rows],
        [row.computed_by for row in rows],
    ]
    widths = [max(map(len, column), default=0) for column in columns]
    made = []
    for i, row in enumerate(rows):
        cells = [columns[0][i].rjust(widths[0])]
        cells += [column[i].ljust(width) for column, width in zip(columns[1:], widths[1:], strict=True) if width]
        made.append("  ".join([*cells, " ".join(filter(None, [*row.reads, "->", *row.writes]))]))
    return "\n".join(made)


def graph_listing(graph: Graph) -> str:
    """One graph, a line a node; ``print(graph)`` shows it."""
    names = Names(graph)
    results = "returns " + " ".join(names.operand(operand) for operand in graph.results) if graph.results else ""
    return "\n".join(filter(None, [text(lines(graph, names, current_backend())), results]))


@dataclass(frozen=True)
class Listing:
    """What was captured and what runs; ``str()`` or ``print()`` gives the text.

    Attributes
    ----------
    captured, nodes : the lines before and after the passes.
    backend, threads : what the plan was made for.
    arena_bytes : the memory of all made buffers, which share it over time.
    buffer_bytes : the sum of their lengths.
    parameters : the number of elements of each parameter.
    returned : the results' operands.
    """

    captured: tuple[Line, ...]
    nodes: tuple[Line, ...]
    backend: str
    threads: int
    arena_bytes: int
    buffer_bytes: int
    parameters: tuple[int, ...]
    returned: tuple[str, ...]

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return "\n".join([
            f"captured: {len(self.captured)} nodes",
            text(self.captured),
            "",
            f"after the passes: {len(self.nodes)} nodes, {self.backend} backend, {threads}",
            text(self.nodes),
            "",
            LEGEND,
            f"returns: {' '.join(self.returned) or 'no tensors of its own'}",
            f"nodes: {len(self.captured)} captured, {len(self.nodes)} after the passes",
            f"arena: {self.arena_bytes / 1e6:.3f} MB for buffers of {self.buffer_bytes / 1e6:.3f} MB in all",
            f"parameters: {len(self.parameters)} with {sum(self.parameters):,} elements",
        ])  # fmt: skip


def listed(variant: Variant) -> Listing:
    """The listing of a captured function, with fields."""
    names = Names(variant.captured, variant.graph)
    offsets = variant.plan.offsets
    return Listing(
        captured=tuple(lines(variant.captured, names, variant.backend)),
        nodes=tuple(lines(variant.graph, names, variant.backend, offsets)),
        backend=variant.backend,
        threads=variant.graph.threads,
        arena_bytes=variant.plan.size,
        buffer_bytes=sum(buffer.nbytes for buffer in offsets),
        parameters=variant.parameters,
        returned=tuple(names.operand(operand) for operand in variant.graph.results),
    )


def listing(variant: Variant) -> str:
    """The graph of a captured function before and after the passes, as text."""
    return str(listed(variant))
