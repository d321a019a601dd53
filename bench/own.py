"""nnfast's side of `bench.convolutions` and `bench.pytorch`: a kernel whose operands and results are in memory."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from nnfast.kernels import OPS, runtime
from nnfast.kernels.choice import choose
from nnfast.kernels.launch import bind, prepared, run
from nnfast.kernels.operation import DTYPES

from .memory import aligned, aligned_copy
from .torch_cases import Arrays, Case


@dataclass(frozen=True)
class Call:
    """A kernel over its operands and memory for its outputs, bound and checked, as it stands in a compiled step."""

    op: str
    memory: Arrays
    backend: str
    algorithm: str
    launch: runtime.Launch

    def run(self) -> None:
        """Compute into the outputs and updates."""
        self.launch.run()

    @property
    def results(self) -> Arrays:
        """Outputs and updates by name."""
        return {array.name: self.memory[array.name] for array in OPS[self.op].outputs + OPS[self.op].updates}


def operands(case: Case, arrays: Mapping[str, np.ndarray]) -> Arrays:
    """A kernel's inputs and updates: images as rows where it takes rows, updates as copies."""
    op, given = OPS[case.op], {}
    for array in op.inputs + op.updates:
        value = arrays[array.name]
        rows = not array.elementwise and value.ndim > len(array.dims)
        given[array.name] = value.reshape(-1, value.shape[-1]) if rows else value
        if array in op.updates:
            given[array.name] = aligned_copy(given[array.name])
    return given


def call(case: Case, arrays: Mapping[str, np.ndarray], backend: str) -> Call:
    """A case on a backend: chooses the algorithm and takes memory for the outputs.

    Raises
    ------
    NotImplementedError : the backend has no such kernel.
    """
    given = operands(case, arrays)
    binding = bind(case.op, given, case.attributes)
    outputs = {array.name: aligned(shape, DTYPES[array.dtype]) for array, shape in binding.outputs}
    memory = given | outputs
    if not binding.op.suitable(binding.sizes, backend):
        raise NotImplementedError(f"{case.op}: the {backend} backend has no kernel for these sizes")

    def prepared_with(algorithm: str) -> runtime.Launch:
        return prepared(bind(case.op, given, case.attributes, algorithm), memory, backend)

    def seconds(algorithm: str) -> float:
        launch, start = prepared_with(algorithm), time.perf_counter()
        launch.run()
        return time.perf_counter() - start

    algorithm = choose(binding.op, binding.sizes, binding.key, backend, seconds)
    return Call(case.op, memory, backend, algorithm, prepared_with(algorithm))


def reference(case: Case, arrays: Mapping[str, np.ndarray]) -> Arrays:
    """The same by the NumPy reference, slowly: outputs and updates by name."""
    given = operands(case, arrays)
    outputs = run(case.op, given, case.attributes, backend="reference")
    return outputs | {array.name: given[array.name] for array in OPS[case.op].updates}
