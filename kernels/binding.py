"""Binding an operation to shapes and attributes: its sizes, algorithm, argument block and temporary memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from .backends import kernel_address
from .blocking import blocks
from .operation import COMPILED, DTYPES, Array, Layout, Operation, Sizes
from .ops import OPS

ALIGNMENT = 64  # bytes: a cache line, and the widest vector
KEPT = 4096  # bindings


@dataclass(frozen=True, eq=False)
class Binding:
    """An operation with all its sizes and attributes known, but no memory yet; `key` is the same as text."""

    op: Operation
    algorithm: str
    sizes: Sizes
    attributes: Mapping[str, Any]
    key: str

    @cached_property
    def layout(self) -> Layout:
        """The argument block's layout."""
        return self.op.layout(self.algorithm)

    @cached_property
    def operands(self) -> tuple[str, ...]:
        """The names of the operation's arrays, as their addresses stand in the argument block."""
        return tuple(array.name for array in self.op.arrays)

    @cached_property
    def outputs(self) -> list[tuple[Array, tuple[int, ...]]]:
        """The operation's outputs and their shapes."""
        return [(array, array.shape(self.sizes)) for array in self.op.outputs]

    @cached_property
    def temporaries(self) -> list[tuple[Array, tuple[int, ...]]]:
        """Workspace and scratch with their shapes."""
        chosen = self.op.algorithms[self.algorithm]
        return [(array, array.shape(self.sizes)) for array in chosen.workspace + chosen.scratch]

    @cached_property
    def block(self) -> np.ndarray:
        """The argument block, where all but the addresses is filled in."""
        numbers = self.layout.numbers(self.sizes, self.attributes)
        return np.array([0] * len(self.layout.arrays) + numbers, np.int64)

    @lru_cache(maxsize=KEPT)  # noqa: B019 - one cache for all bindings, which are kept as long
    def nodes(self, backend: str) -> np.ndarray:
        """The executor's nodes of all stages, where the argument blocks' address and length are filled in later."""
        address = (kernel_address(self.op.name, self.algorithm, stage, backend) for stage, _ in self.tasks)
        return np.array([(kernel, 0, 0, tasks, 0) for kernel, (_, tasks) in zip(address, self.tasks, strict=True)],
                        np.int64)  # fmt: skip

    @lru_cache(maxsize=KEPT)  # noqa: B019
    def placed(self, threads: int) -> tuple[np.ndarray, int]:
        """Where temporaries stand in one piece of memory, a row for each worker, and how long it is.

        Workspace is shared; every worker has scratch of its own, if there is any.
        """
        chosen = self.op.algorithms[self.algorithm]
        workers = threads if chosen.scratch else 1
        steps = [blocks(math.prod(shape) * DTYPES[array.dtype].itemsize, ALIGNMENT) * ALIGNMENT
                 for array, shape in self.temporaries]  # fmt: skip
        shared = len(chosen.workspace)
        first = np.cumsum([0, *steps])[:-1]
        own = first + sum(steps[shared:]) * np.arange(workers)[:, None]
        own[:, :shared] = first[:shared]
        return own, sum(steps[:shared]) + sum(steps[shared:]) * workers

    @cached_property
    def tasks(self) -> list[tuple[str, int]]:
        """The kernel and the number of tasks of every stage."""
        return [(stage.kernel, stage.tasks(self.sizes)) for stage in self.op.algorithms[self.algorithm].stages]


@lru_cache(maxsize=KEPT)
def _bind(
    name: str, shapes: tuple[tuple[int, ...], ...], attributes: tuple[tuple[str, Any], ...], algorithm: str | None
) -> Binding:
    op = OPS[name]
    named = dict(attributes)
    names = (array.name for array in op.inputs + op.updates)
    sizes = op.bind(dict(zip(names, shapes, strict=True)), named)
    algorithm = algorithm or op.ranked(sizes, COMPILED[0])[0]
    if not op.algorithms[algorithm].suits(sizes):
        raise ValueError(f"{name}: the algorithm {algorithm!r} does not suit {shapes} {attributes}")
    return Binding(op, algorithm, op.algorithms[algorithm].sizes(sizes), named, f"{name} {shapes} {attributes}")


@lru_cache(maxsize=256)
def _operands(name: str) -> tuple[tuple[str, ...], frozenset[str], frozenset[str]]:
    """The names of an operation's inputs and updates, in order and as a set, and of its attributes."""
    op = OPS[name]
    arrays = tuple(array.name for array in op.inputs + op.updates)
    return arrays, frozenset(arrays), frozenset(item.name for item in op.attributes)


def bind(
    name: str, arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any], algorithm: str | None = None
) -> Binding:
    """The operation called `name` for the shapes of `arrays` (its inputs and updates) and `attributes`.

    `algorithm` is a key of the operation's algorithms; None takes the likeliest to be fast.

    Raises
    ------
    ValueError : shapes that contradict the declaration, or that the algorithm does not suit.
    TypeError : an array or attribute that is missing or unknown.
    """
    wanted, expected, expected_attributes = _operands(name)
    if arrays.keys() != expected or attributes.keys() != expected_attributes:
        op = OPS[name]
        takes = [*wanted, *(item.name for item in op.attributes)]
        raise TypeError(f"{name}: takes {', '.join(takes)}; got {', '.join([*arrays, *attributes])}")
    return _bind(name, tuple([arrays[key].shape for key in wanted]), tuple(sorted(attributes.items())), algorithm)
