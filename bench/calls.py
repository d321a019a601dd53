"""A workload's variants as functions without arguments, whose time is the kernel's and nothing else's.

Checking arguments, taking memory and limiting BLAS to one thread is done once, before. So it is in a compiled training
step; NumPy's reference gets the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from nnfast.kernels import get_num_threads, launch, runtime, winograd
from nnfast.kernels.backends import reference_function
from nnfast.kernels.launch import run, single_threaded_blas
from nnfast.kernels.tolerance import error_bounds, worst_error

from .memory import aligned_copy
from .values import inputs_of, outputs_of
from .workload import Workload

Call = Callable[[], object]


class Prepared:
    """A workload's arrays, and the exact results that every variant is judged by.

    Parameters
    ----------
    workload : what is computed.

    Attributes
    ----------
    memory : inputs, updates and outputs, which all variants share. Updates change from call to call.
    """

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        op = workload.operation
        self.given = inputs_of(workload)
        updates = {array.name: aligned_copy(self.given[array.name]) for array in op.updates}
        self.memory = self.given | updates | outputs_of(workload)
        wide = {array.name: self.given[array.name].astype(np.float64) if array.dtype == "float"
                else self.given[array.name].copy() for array in op.inputs + op.updates}  # fmt: skip
        self.exact = run(workload.op, wide, workload.attributes, backend="reference")
        self.exact |= {array.name: wide[array.name] for array in op.updates}
        self.bounds: dict[str | None, Mapping[str, np.ndarray]] = {}

    def call(self, backend: str, algorithm: str) -> Call:
        """A variant as a function.

        Raises
        ------
        ImportError, NotImplementedError : the backend is not there, or has no such kernel.
        """
        workload = self.workload
        if backend == "reference":
            return partial(reference_function(workload.operation), **self.memory, **workload.attributes)
        return compiled(workload, self.memory, backend, algorithm)

    def share_of_bound(self, call: Call, algorithm: str) -> dict[str, float]:
        """By output and update: the largest error of one call, as a share of what it may be."""
        op = self.workload.operation
        for array in op.updates:
            self.memory[array.name][...] = self.given[array.name]
        for array in op.outputs:
            self.memory[array.name][...] = 0  # what another variant left must not pass for this one's
        with single_threaded_blas():
            call()
        shares = self._shares(None)
        if max(shares.values()) > 1 and algorithm in winograd.FORMS:
            return self._shares(algorithm)
        return shares

    def _shares(self, algorithm: str | None) -> dict[str, float]:
        """Errors as shares of what they may be for any algorithm that adds the formula's own terms.

        Winograd's does not; most of its results hold all the same. Its own bounds, which take long, are for the others.
        """
        if algorithm not in self.bounds:
            self.bounds[algorithm] = error_bounds(
                self.workload.op, self.given, self.workload.attributes, self.exact, algorithm=algorithm)  # fmt: skip
        bounds = self.bounds[algorithm]
        return {name: worst_error(self.memory[name], exact, bounds[name]) for name, exact in self.exact.items()}


def compiled(workload: Workload, memory: Mapping[str, np.ndarray], backend: str, algorithm: str) -> Call:
    """A compiled variant over `memory`, on the threads that are set now."""
    op = workload.operation
    arrays = {array.name: memory[array.name] for array in op.inputs + op.updates}
    binding = launch.bind(workload.op, arrays, workload.attributes, algorithm)
    if hasattr(launch, "prepared"):
        return launch.prepared(binding, memory, backend).run
    return _prepared(binding, memory, backend)


def _prepared(binding: Any, memory: Mapping[str, np.ndarray], backend: str) -> Call:
    """What `launch.prepared` does, in commits that have none and are compared with later ones."""
    threads = runtime.usable_threads(get_num_threads())
    temporaries, owners = launch.place_temporaries(binding, threads, None)
    own = len(binding.op.arrays)
    arguments = np.repeat(binding.block[None], len(temporaries), axis=0)
    arguments[:, :own] = runtime.addresses([memory[array.name] for array in binding.op.arrays])
    arguments[:, own : own + temporaries.shape[1]] = temporaries
    nodes = binding.nodes(backend).copy()
    nodes[:, 1] = runtime.addresses([arguments])
    nodes[:, 2] = arguments.shape[1] if len(arguments) > 1 else 0
    alive = arguments, owners, dict(memory)

    def call() -> None:
        assert alive  # what the addresses point to lives as long as this function
        runtime.run(nodes, threads)

    return call
