"""Numbers for a workload's arrays: always the same, and such as a network would give."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
from nnfast.kernels.operation import DTYPES, Array

from .memory import aligned
from .workload import Workload

SINGLE: Mapping[str, float] = {"lr": 1e-3, "momentum": 0.1, "normaliser": 1.0, "factor": 1.0, "step": 3, "seed": 7}
"""Arrays of one number or two."""
POSITIVE = {"running_var", "invstd", "var", "sums", "squares"}
POSITIVE_MODULES = {"optim", "arithmetic"}
"""Optimizers keep averages of squares; logarithms, powers and quotients need numbers above 0."""


def inputs_of(workload: Workload) -> dict[str, np.ndarray]:
    """Inputs and updates of the workload, aligned to cache lines."""
    rng = np.random.default_rng(zlib.crc32(workload.name.encode()))
    op = workload.operation
    made = {array.name: _drawn(workload, array, rng) for array in op.inputs + op.updates}
    if "lse" in made:
        made["lse"][...] = np.log(np.exp(made["x"]).sum(1))
    if workload.op in ("softmax_backward", "log_softmax_backward"):
        y = made["y"]
        np.exp(y, out=y)
        y /= y.sum(1, keepdims=True)
        if workload.op == "log_softmax_backward":
            np.log(y, out=y)
    if workload.op in ("sigmoid_backward", "tanh_backward"):
        np.tanh(made["y"], out=made["y"])
    return made


def outputs_of(workload: Workload) -> dict[str, np.ndarray]:
    """Memory for the workload's outputs, touched and aligned."""
    return {array.name: aligned(array.shape(workload.bound), DTYPES[array.dtype])
            for array in workload.operation.outputs}  # fmt: skip


def _drawn(workload: Workload, array: Array, rng: np.random.Generator) -> np.ndarray:
    values = aligned(workload.shape(array), DTYPES[array.dtype])
    if array.name in SINGLE:
        values[...] = SINGLE[array.name]
    elif array.name == "target":
        values[...] = rng.integers(0, workload.bound.C, values.shape)
    elif array.name == "argmax":
        values[...] = rng.integers(0, workload.bound.R * workload.bound.S, values.shape)
    else:
        values[...] = rng.standard_normal(values.shape, np.float32)
        if array.name in POSITIVE or workload.operation.module in POSITIVE_MODULES:
            np.abs(values, out=values)
            values += 0.5
    return values
