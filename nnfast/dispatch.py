"""The one place where kernels are run, and what operations need around it: memory, aliases, checks of values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .dtypes import float32, float64
from .kernels import launch
from .kernels.ops import OPS
from .tensor import Tensor, wrap_memory

_ABSENT = {dtype: np.empty(0, dtype) for dtype in (float32, float64)}


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
    for declared in op.inputs + op.updates:
        value = operands.pop(declared.name)
        if value is None:
            absent.append(declared.name)
            continue
        arrays[declared.name] = array = value.memory if isinstance(value, Tensor) else value
        if declared.dtype == "float" and array.dtype == float64:
            floating = float64
        if isinstance(value, Tensor) and declared in op.updates:
            value.storage.version += 1
    for missing in absent:
        arrays[missing] = _ABSENT[floating]
    if into is None:
        results = launch.run(name, arrays, operands)
        made = tuple(wrap_memory(results[output.name]) for output in op.outputs)
    else:
        results = launch.run(name, arrays, operands, {key: value.memory for key, value in into.items()})
        for value in into.values():
            value.storage.version += 1
        made = tuple(
            into[output.name] if output.name in into else wrap_memory(results[output.name]) for output in op.outputs
        )
    return made if len(made) > 1 else made[0] if made else None


def allocate(shape: tuple[int, ...], dtype: np.dtype) -> Tensor:
    """New memory, its contents undefined."""
    return wrap_memory(np.empty(_memory_shape(shape), dtype))


def filled(shape: tuple[int, ...], dtype: np.dtype, value: float) -> Tensor:
    """New memory, every element `value`."""
    made = allocate(shape, dtype)
    apply("fill", y=made, value=float(value))
    return made


def _memory_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], shape[2], shape[3], shape[1]) if len(shape) == 4 else shape


def reinterpret(x: Tensor, *memory_shape: int) -> Tensor:
    """The same memory as (N, H, W, C) or any other shape, in the order in which it lies; off the tape."""
    return wrap_memory(x.memory.reshape(memory_shape), x.storage)


def rows(x: Tensor) -> Tensor:
    """The same memory as (M, C), where C is innermost in memory: the channels of (N, C) and (N, C, H, W)."""
    columns = x.memory.shape[-1] if x.ndim else 1
    return reinterpret(x, math.prod(x.memory.shape[:-1]), columns)


def shaped_like(x: Tensor, y: Tensor) -> Tensor:
    """The memory of `x` under the shape of `y`; off the tape."""
    return reinterpret(x, *y.memory.shape)


def check_values(x: Tensor, check: Callable[[np.ndarray], None]) -> None:
    """Call ``check(values of x)``, which raises if they are not what an operation accepts."""
    check(x.read())
