"""Choose the backend and the algorithm of every operation."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from nnfast.kernels.binding import Binding, bind
from nnfast.kernels.build import build
from nnfast.kernels.choice import choose, contenders
from nnfast.kernels.launch import release_scratch, run_compiled
from nnfast.kernels.operation import COMPILED

from ..graph import GUARD, Graph, Node, Operand

if TYPE_CHECKING:
    from nnfast.kernels.background import Need

ABSENT = np.empty(0, np.float32)


def arrays_of(node: Node) -> dict[str, Operand | np.ndarray]:
    """The inputs and updates of a node; absent ones have no elements."""
    return {array.name: node.operands[array.name] or ABSENT for array in node.op.inputs + node.op.updates}


def binding_of(node: Node, algorithm: str | None = None) -> Binding:
    """A node's operation bound to its sizes."""
    return bind(node.name, arrays_of(node), node.attributes, algorithm or node.algorithm or None)  # type: ignore[arg-type]


def algorithms(graph: Graph, backend: str) -> None:
    """Set `backend` and `algorithm` of all nodes.

    Of several algorithms the first run for a shape measures which is faster, on memory of its own, and remembers it.
    An operation that the backend has no kernels for is computed by the other compiled one; the listing says so.
    """
    bindings: dict[Node, Binding] = {}
    for node in graph.nodes:
        if node.op is GUARD or backend == "reference":
            node.backend, node.algorithm = backend, next(iter(node.op.algorithms))
        else:
            binding = bindings[node] = binding_of(node)
            node.backend = backend if node.op.suitable(binding.sizes, backend) else _other(backend)
    _build(bindings)
    for node, binding in bindings.items():
        node.algorithm = choose(node.op, binding.sizes, binding.key, node.backend, _Timer(node).seconds)
    release_scratch()  # a plan has its own


def needs_of_numba(graph: Graph) -> list[Need]:
    """What `algorithms` would ask of Numba for this graph, each kind of work once."""
    from nnfast.kernels.background import Need

    needs = {}
    for node in graph.nodes:
        if node.op is not GUARD and node.op.suitable(binding_of(node).sizes, "numba"):
            operands = {name: None if x is None else (x.shape, x.dtype.str) for name, x in node.operands.items()}
            needs[binding_of(node).key] = Need(node.name, operands, node.attributes)
    return list(needs.values())


def _build(bindings: Mapping[Node, Binding]) -> None:
    """Compile the kernels that are not on disk, all CPUs at once."""
    kernels: dict[tuple[str, str, str], None] = {}
    for node, binding in bindings.items():
        if node.backend == "numba":
            for name in contenders(node.op, binding.sizes, binding.key, "numba"):
                stages = node.op.algorithms[name].stages
                kernels.update(dict.fromkeys((node.name, name, stage.kernel) for stage in stages))
    if kernels:
        build(list(kernels))


def _other(backend: str) -> str:
    return next(name for name in COMPILED if name != backend)


class _Timer:
    """Runs a node's operation on memory that is made when it is first needed."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.memory: dict[str, np.ndarray] = {}

    def seconds(self, algorithm: str) -> float:
        """The time of one run with an algorithm."""
        if not self.memory:
            self.memory = _ones(self.node.operands)
        start = time.perf_counter()
        run_compiled(binding_of(self.node, algorithm), self.memory, self.node.backend, None)
        return time.perf_counter() - start


def _ones(operands: Mapping[str, Operand | None]) -> dict[str, np.ndarray]:
    return {
        name: ABSENT if operand is None else np.ones(operand.shape, operand.dtype) for name, operand in operands.items()
    }
