"""The one place where kernels are run, and what operations need around it: memory, aliases, checks of values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .dtypes import float32, float64
from .kernels import launch
from .kernels.ops import OPS
from .tensor import Storage, Tensor, memory_shape, wrap_memory
from .tracing import Recorder, recorder

_ABSENT = {dtype: np.empty(0, dtype) for dtype in (float32, float64)}

timed_run: Callable[..., dict[str, np.ndarray]] | None = None
"""What a profile puts in the place of `launch.run` while it is open."""


def apply(name: str, into: Mapping[str, Tensor] | None = None, /, **operands: Any) -> Any:
    """Run one operation.

    Parameters
    ----------
    name : a key of `nnfast.kernels.ops.OPS`.
    into : tensors that become the outputs of these names, instead of new memory.
    operands : its inputs and updates (tensors; arrays for numbers that live outside of any tensor, such as a learning
        rate; None for an absent one) and its attributes. Tensors of four dimensions are passed as they lie in memory.

    Returns
    -------
    Tensor, tuple of Tensor, or None
        The outputs, off the tape: one, several, or none.
    """
    op = OPS[name]
    arrays: dict[str, np.ndarray] = {}
    absent = []
    floating: np.dtype = float32
    capture = recorder()
    for declared in op.inputs + op.updates:
        value = operands.pop(declared.name)
        if value is None:
            absent.append(declared.name)
            continue
        if isinstance(value, Tensor):
            if capture is not None:
                capture.uses(value)
            elif value.storage.capture is not None:
                value.storage.capture.reads(value)
            arrays[declared.name] = array = value.memory
        else:
            arrays[declared.name] = array = value
        if declared.dtype == "float" and array.dtype == float64:
            floating = float64
        if isinstance(value, Tensor) and declared in op.updates:
            value.storage.version += 1
    for missing in absent:
        arrays[missing] = _ABSENT[floating]
    run = capture.run if capture is not None else timed_run or launch.run
    if into is None:
        results = run(name, arrays, operands)
        made = tuple(_new(results[output.name], capture) for output in op.outputs)
    else:
        results = run(name, arrays, operands, {key: value.memory for key, value in into.items()})
        for value in into.values():
            if capture is not None:
                capture.uses(value)
            value.storage.version += 1
        made = tuple(
            into[output.name] if output.name in into else _new(results[output.name], capture) for output in op.outputs
        )
    return made if len(made) > 1 else made[0] if made else None


def _new(memory: np.ndarray, capture: Recorder | None) -> Tensor:
    """A tensor on memory that an operation made."""
    storage = Storage()
    storage.capture = capture
    return wrap_memory(memory, storage)


def allocate(shape: tuple[int, ...], dtype: np.dtype) -> Tensor:
    """New memory, its contents undefined."""
    capture = recorder()
    if capture is None:
        return _new(np.empty(memory_shape(shape), dtype), None)
    return _new(capture.empty(memory_shape(shape), dtype), capture)


def filled(shape: tuple[int, ...], dtype: np.dtype, value: float) -> Tensor:
    """New memory, every element `value`."""
    made = allocate(shape, dtype)
    apply("fill", y=made, value=float(value))
    return made


def reinterpret(x: Tensor, *memory_shape: int) -> Tensor:
    """The same memory as (N, H, W, C) or any other shape, in the order in which it lies; off the tape."""
    capture = recorder()
    if capture is not None:
        capture.views(x)
    return wrap_memory(x.memory.reshape(memory_shape), x.storage)


def part(x: Tensor, start: int, stop: int) -> Tensor:
    """Elements of a tensor of one dimension, on the same memory; off the tape."""
    return wrap_memory(x.memory[start:stop], x.storage)


def rows(x: Tensor) -> Tensor:
    """The same memory as (M, C), where C is innermost in memory: the channels of (N, C) and (N, C, H, W)."""
    columns = x.memory.shape[-1] if x.ndim else 1
    return reinterpret(x, math.prod(x.memory.shape[:-1]), columns)


def shaped_like(x: Tensor, y: Tensor) -> Tensor:
    """The memory of `x` under the shape of `y`; off the tape."""
    return reinterpret(x, *y.memory.shape)


def check_values(x: Tensor, check: Callable[[np.ndarray], None]) -> None:
    """Call ``check(values of x)``, which raises if they are not what an operation accepts."""
    capture = recorder()
    if capture is None:
        check(x.read())
    else:
        capture.checks(x, check)
