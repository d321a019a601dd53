"""A plan: the nodes of a graph as kernel addresses and argument blocks, run by the executor in one call."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnfast.kernels import runtime
from nnfast.kernels.backends import reference_function
from nnfast.kernels.launch import huge_pages, single_threaded_blas

from .graph import GUARD, INPUT, MADE, OUTSIDE, Buffer, Graph, Node, Operand
from .passes.algorithms import binding_of
from .passes.placement import lifetimes, placement

_NOWHERE = Buffer(0)
"""Where absent arrays are: at the arena's begin. Masked loads of nothing from address 0 take thousands of cycles."""


def give_back() -> None:
    """Return memory that was freed to the system, where glibc keeps it: a model's making leaves holes of its size."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


class Arena:
    """Memory that all plans of one function share; it grows to what the largest needs.

    Attributes
    ----------
    memory : bytes, mapped in huge pages where the system has them.
    """

    def __init__(self) -> None:
        self.memory = np.empty(0, np.uint8)

    def place(self, lives: Mapping[Buffer, tuple[int, int]]) -> tuple[dict[Buffer, int], int]:
        """Where buffers of these lifetimes stand in the memory, and how much they need."""
        return placement(lives)

    def reserve(self, size: int) -> None:
        """See that `memory` has at least `size` bytes. What plans kept there before is gone."""
        if self.memory.nbytes >= size:
            return
        self.memory = np.empty(0, np.uint8)  # the old one is given back first
        give_back()
        self.memory = huge_pages(size)


@dataclass
class Step:
    """Nodes that the executor runs in one call, or one reference kernel.

    `stages` tells for each row of `rows` the node that it belongs to and its kernel.
    """

    rows: np.ndarray
    counters: np.ndarray
    stages: list[tuple[Node, str]]
    python: Callable[[], None] | None = None


class Plan:
    """A graph that is ready to run.

    Parameters
    ----------
    graph : with backends and algorithms chosen.
    arena : where its buffers go.

    Attributes
    ----------
    size : bytes of the arena that it needs.
    """

    def __init__(self, graph: Graph, arena: Arena) -> None:
        self.graph, self.arena = graph, arena
        self.bindings = {node: binding_of(node) for node in graph.nodes if _compiled(node)}
        for node, binding in self.bindings.items():
            _, size = binding.placed(graph.threads)
            node.temporary = Buffer(size, MADE, "temporary") if size else None
        self.offsets, self.size = arena.place(lifetimes(graph))
        self._arguments = np.zeros(0, np.int64)
        self._memory: np.ndarray | None = None
        # Fields of the arguments that hold addresses in the arena or of an argument, and how far behind its begin.
        self._fields: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._settings: dict[Callable[[], Mapping[str, Any]], dict[Node, list[slice]]] = {}
        self._current: dict[Callable[[], Mapping[str, Any]], Mapping[str, Any]] = {}
        for node in graph.nodes:
            if node.settings is not None:
                self._settings.setdefault(node.settings, {})[node] = []
        self.steps = self._assemble()

    # ------------------------------------------------------------ assembling

    def _assemble(self) -> list[Step]:
        fields: dict[int, tuple[list[int], list[int]]] = {}
        parts: list[np.ndarray] = []
        begins: dict[Node, tuple[int, int]] = {}
        position = 0
        for node in self.graph.nodes:
            if node.op is GUARD:
                continue
            if node in self.bindings:
                block = self._block(node, position, fields)
                begins[node] = (position, block.shape[1] if len(block) > 1 else 0)
                parts.append(block.reshape(-1))
                position += block.size
        self._arguments = np.concatenate(parts) if parts else np.zeros(0, np.int64)
        self._fields = {
            number: (np.array(places, np.int64), np.array(offsets, np.int64))
            for number, (places, offsets) in fields.items()
        }
        [base] = runtime.addresses([self._arguments])
        return self._steps(base, begins)

    def _block(self, node: Node, position: int, fields: dict[int, tuple[list[int], list[int]]]) -> np.ndarray:
        """A node's argument block, one row a worker; addresses that move are noted in `fields`."""
        binding = self.bindings[node]
        temporaries, _ = binding.placed(self.graph.threads)
        block = np.repeat(binding.block[None], len(temporaries), axis=0)
        if node.settings is not None:
            numbers = slice(len(binding.layout.arrays), block.shape[1])
            for row in range(len(block)):
                start = position + row * block.shape[1]
                self._settings[node.settings][node].append(slice(start + numbers.start, start + numbers.stop))

        def note(row: int, column: int, buffer: Buffer, offset: int) -> None:
            """Write an address down, or, if it moves, where it must be written."""
            if buffer.kind == OUTSIDE:
                assert buffer.array is not None
                [start] = runtime.addresses([_bytes(buffer.array)])
                block[row, column] = start + offset
                return
            places, offsets = fields.setdefault(buffer.argument if buffer.kind == INPUT else -1, ([], []))
            places.append(position + row * block.shape[1] + column)
            offsets.append(offset if buffer.kind == INPUT else self.offsets.get(buffer, 0) + offset)

        for row in range(len(block)):
            for column, array in enumerate(binding.op.arrays):
                operand = node.operands[array.name]
                if operand is not None:
                    note(row, column, operand.buffer, operand.offset)
                else:
                    note(row, column, _NOWHERE, 0)
            for i, offset in enumerate(temporaries[row]):
                if node.temporary is not None:
                    note(row, len(binding.op.arrays) + i, node.temporary, int(offset))
        return block

    def _steps(self, base: int, begins: Mapping[Node, tuple[int, int]]) -> list[Step]:
        steps: list[Step] = []
        rows: list[tuple[int, int, int, int, int]] = []
        stages: list[tuple[Node, str]] = []

        def close() -> None:
            if rows:
                counters = np.zeros(runtime.counter_bytes(len(rows)), np.uint8)
                steps.append(Step(np.array(rows, np.int64), counters, list(stages)))
            rows.clear()
            stages.clear()

        for group in _groups(self.graph.nodes):
            if group[0].op is GUARD:
                rows.append((0, 0, 0, 0, 0))
                stages.append((group[0], "guard"))
            elif group[0] not in self.bindings:
                close()
                for node in group:
                    none = np.zeros((0, runtime.NODE_FIELDS), np.int64)
                    steps.append(Step(none, np.zeros(0, np.uint8), [(node, node.name)], self._python(node)))
            else:
                self._add_rows(group, base, begins, rows, stages)
        close()
        return steps

    def _add_rows(
        self,
        group: Sequence[Node],
        base: int,
        begins: Mapping[Node, tuple[int, int]],
        rows: list[tuple[int, int, int, int, int]],
        stages: list[tuple[Node, str]],
    ) -> None:
        """The nodes of a group stage by stage: first stages may run at once, then second ones, and so on."""
        of = [self.bindings[node].nodes(node.backend) for node in group]
        for number in range(max(len(kernels) for kernels in of)):
            present = [(node, kernels) for node, kernels in zip(group, of, strict=True) if number < len(kernels)]
            for i, (node, kernels) in enumerate(present):
                begin, stride = begins[node]
                kernel, _, _, tasks = (int(value) for value in kernels[number][:4])
                flags = runtime.JOINED if i + 1 < len(present) else 0
                rows.append((kernel, base + 8 * begin, stride, tasks, flags))
                stages.append((node, self.bindings[node].tasks[number][0]))

    def _python(self, node: Node) -> Callable[[], None]:
        """A call of a reference kernel."""
        function = reference_function(node.op)

        def run() -> None:
            floating = next((x.dtype for x in node.touches if x.dtype.kind == "f"), np.dtype(np.float32))
            arrays = {
                array.name: np.empty(0, floating) if operand is None else self.view(operand)
                for array, operand in ((array, node.operands[array.name]) for array in node.op.arrays)
            }
            with single_threaded_blas():
                function(**arrays, **node.attributes)

        return run

    # ------------------------------------------------------------ memory

    def view(self, operand: Operand) -> np.ndarray:
        """The array that an operand is in this run."""
        buffer = operand.buffer
        if buffer.kind == MADE:
            start = self.offsets[buffer] + operand.offset
            memory = self.arena.memory[start : start + operand.nbytes]
        else:
            array = self._inputs[buffer.argument] if buffer.kind == INPUT else buffer.array
            assert array is not None
            return view_of(array, operand)
        return memory.view(operand.dtype).reshape(operand.shape)

    def attach(self, inputs: Sequence[np.ndarray]) -> None:
        """Take the memory of the function's arguments for the next run."""
        self._inputs = inputs
        if self._memory is not self.arena.memory:
            self.arena.reserve(max(self.size, 1))  # absent arrays stand at its begin
            self._memory = self.arena.memory
            if -1 in self._fields:
                places, offsets = self._fields[-1]
                self._arguments[places] = offsets + runtime.addresses([self._memory])[0]
            for step in self.steps:
                for row, (node, _) in zip(step.rows, step.stages, strict=False):
                    if node.op is GUARD:
                        [row[1]] = runtime.addresses([self.view(node["total"])])
        for number, address in enumerate(runtime.addresses([_bytes(array) for array in inputs])):
            if number in self._fields:
                places, offsets = self._fields[number]
                self._arguments[places] = offsets + address

    def _refresh(self) -> None:
        """Fill in settings that changed since the last run, such as a momentum."""
        for settings, nodes in self._settings.items():
            attributes = settings()
            if attributes == self._current.get(settings):
                continue
            self._current[settings] = attributes
            for node, places in nodes.items():
                node.attributes = dict(attributes)
                for place in places:
                    binding = self.bindings[node]
                    self._arguments[place] = binding.layout.numbers(binding.sizes, attributes)

    # ------------------------------------------------------------ running

    def run(self, times: list[np.ndarray] | None = None) -> Node | None:
        """Run all nodes on the arguments that were attached; the guard that stopped the run, or None.

        Parameters
        ----------
        times : gets, for each step, the begin and end of each of its stages in seconds of `time.perf_counter`; zeros
            for those behind a guard that stopped the run.
        """
        self._refresh()
        for step in self.steps:
            measured = None if times is None else np.zeros((len(step.stages), 2))
            if times is not None and measured is not None:
                times.append(measured)
            if step.python is None:
                stopped = runtime.run(step.rows, self.graph.threads, measured, step.counters)
                if stopped < len(step.rows):
                    return step.stages[stopped][0]
                continue
            begin = time.perf_counter()
            step.python()
            if measured is not None:
                measured[0] = begin, time.perf_counter()
        return None

    def first_node(self, wanted: Callable[[Node], bool]) -> Node | None:
        """Run node by node up to the guard; the first one that `wanted` accepts when it has run, or None."""
        for step in self.steps:
            if step.python is not None:
                step.python()
                if wanted(step.stages[0][0]):
                    return step.stages[0][0]
                continue
            for i, (node, _) in enumerate(step.stages):
                if node.op is GUARD:
                    return None
                runtime.run(step.rows[i : i + 1], self.graph.threads)
                ended = all(other is not node for other, _ in step.stages[i + 1 :])
                if ended and wanted(node):
                    return node
        return None


def view_of(array: np.ndarray, operand: Operand) -> np.ndarray:
    """The array that an operand is if `array` is the memory of its buffer."""
    memory = _bytes(array)[operand.offset : operand.offset + operand.nbytes]
    return memory.view(operand.dtype).reshape(operand.shape)


def _bytes(array: np.ndarray) -> np.ndarray:
    """The memory of an array in C order, or of one that transposes such an array."""
    if not array.flags.c_contiguous:
        array = array.transpose(np.argsort(array.strides)[::-1])
    return array.reshape(-1).view(np.uint8)


def _compiled(node: Node) -> bool:
    return node.op is not GUARD and node.backend != "reference"


def _groups(nodes: Sequence[Node]) -> list[list[Node]]:
    """Nodes in a row that have the same group number; others alone."""
    found: list[list[Node]] = []
    for node in nodes:
        if found and node.group >= 0 and found[-1][0].group == node.group:
            found[-1].append(node)
        else:
            found.append([node])
    return found
