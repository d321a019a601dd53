"""One line of the zoo: an operation, its sizes by the names of its declaration, its attributes.

Arrays are made from it when it is its turn (`values.py`), so a list of many costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any

from nnfast.kernels import BACKENDS, OPS
from nnfast.kernels.operation import DTYPES, Array, Operation

REFERENCE = ("reference", "")
"""The variant that is NumPy."""
READ_TWICE = {"batch_norm_forward": {"x"}, "batch_norm_backward": {"dy", "x"}}
"""Arrays beyond the caches of which a sum is needed before the first element of the result."""
WRITTEN = {"fill", "copy_strided"}
"""Operations that write their update without reading it."""


@dataclass(frozen=True)
class Workload:
    """One call of an operation.

    Parameters
    ----------
    op : a key of `OPS`.
    label : what is special about it; unique for the operation.
    sizes : sizes by name as the operation's declaration has them; ``...`` is the length of its elementwise arrays.
    attributes : all attributes.
    """

    op: str
    label: str
    sizes: Mapping[str, int]
    attributes: dict[str, Any]

    @property
    def name(self) -> str:
        """The operation and the label."""
        return f"{self.op} {self.label}"

    @property
    def operation(self) -> Operation:
        """Its declaration."""
        return OPS[self.op]

    def shape(self, array: Array) -> tuple[int, ...]:
        """The shape of one of the arrays; absent ones have length 0."""
        if array.elementwise:
            return (self.sizes["..."],)
        if self.sizes.get(array.dims[0]) == 0:
            return (0,)
        return tuple(int(dim) if dim.isdigit() else self.sizes[dim] for dim in array.dims)

    @cached_property
    def bound(self) -> SimpleNamespace:
        """All sizes, as the operation derives them."""
        given = self.operation.inputs + self.operation.updates
        return self.operation.bind({array.name: self.shape(array) for array in given}, self.attributes)

    @property
    def flops(self) -> int | None:
        """Multiplications and additions of the formula, where they and not memory may be the limit."""
        return self.operation.flops(self.bound) if self.operation.flops else None

    @property
    def bytes(self) -> int:
        """What must move between memory and the processor: inputs and outputs once, updates twice, and inputs twice of
        which a sum is needed first."""
        twice = READ_TWICE.get(self.op, set())
        if self.op not in WRITTEN:
            twice = twice | {array.name for array in self.operation.updates}
        sizes = {array.name: math.prod(array.shape(self.bound)) * DTYPES[array.dtype].itemsize
                 for array in self.operation.arrays}  # fmt: skip
        return sum(size * (2 if name in twice else 1) for name, size in sizes.items())

    def variants(self) -> list[tuple[str, str]]:
        """Backends and algorithms that can compute it, as the declaration says; the reference comes first."""
        compiled = [backend for backend in reversed(BACKENDS) if backend != "reference"]
        return [REFERENCE, *((backend, name) for backend in compiled
                             for name in self.operation.suitable(self.bound, backend))]  # fmt: skip


def numba_kernels(workloads: Iterable[Workload]) -> list[tuple[str, str, str]]:
    """What Numba has to compile for them: operation, algorithm, stage."""
    return list(dict.fromkeys(
        (workload.op, algorithm, stage.kernel) for workload in workloads for backend, algorithm in workload.variants()
        if backend == "numba" for stage in workload.operation.algorithms[algorithm].stages))  # fmt: skip
