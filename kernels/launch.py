"""Binding an operation to arrays and running it: sizes, output and scratch memory, argument blocks."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from . import runtime
from .backends import current_backend, kernel_address, reference_function
from .operation import DTYPES, Array, Layout, Operation, Sizes
from .ops import OPS
from .threads import get_num_threads

ALIGNMENT = 64  # bytes: a cache line, and the widest vector

Allocate = Callable[[str, tuple[int, ...], np.dtype], np.ndarray]


def _empty(name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    return np.empty(shape, dtype)


@dataclass(frozen=True)
class Binding:
    """An operation with all its sizes and attributes known, but no memory yet."""

    op: Operation
    algorithm: str
    sizes: Sizes
    attributes: Mapping[str, Any]

    @cached_property
    def layout(self) -> Layout:
        """The argument block's layout."""
        return self.op.layout(self.algorithm)

    @cached_property
    def numbers(self) -> list[int]:
        """The argument block's fields behind the addresses: sizes and attributes."""
        return self.layout.numbers(self.sizes, self.attributes)

    @cached_property
    def tasks(self) -> list[tuple[str, int]]:
        """The kernel and the number of tasks of every stage."""
        return [(stage.kernel, stage.tasks(self.sizes)) for stage in self.op.algorithms[self.algorithm].stages]


@lru_cache(maxsize=4096)
def _bind(name: str, shapes: tuple[tuple[int, ...], ...], attributes: tuple[tuple[str, Any], ...]) -> Binding:
    op = OPS[name]
    named = dict(attributes)
    names = (array.name for array in op.inputs + op.updates)
    sizes = op.bind(dict(zip(names, shapes, strict=True)), named)
    return Binding(op, op.algorithm_for(sizes), sizes, named)


def bind(name: str, arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any]) -> Binding:
    """The operation called `name` for the shapes of `arrays` (its inputs and updates) and `attributes`.

    Raises
    ------
    ValueError : shapes that contradict the declaration.
    TypeError : an array or attribute that is missing or unknown.
    """
    op = OPS[name]
    wanted = [array.name for array in op.inputs + op.updates]
    given = [*arrays, *attributes]
    expected = [*wanted, *(item.name for item in op.attributes)]
    if sorted(given) != sorted(expected):
        raise TypeError(f"{name}: takes {', '.join(expected)}; got {', '.join(given)}")
    return _bind(name, tuple(arrays[key].shape for key in wanted), tuple(sorted(attributes.items())))


def _check(op: Operation, array: Array, value: np.ndarray, floating: np.dtype, writable: bool) -> None:
    expected = floating if array.dtype == "float" else DTYPES[array.dtype]
    if value.dtype != expected:
        raise TypeError(f"{op.name}: {array.name} is {value.dtype}, expected {expected}")
    if not value.flags.c_contiguous:
        raise ValueError(f"{op.name}: {array.name} is not C-contiguous")
    if writable and not value.flags.writeable:
        raise ValueError(f"{op.name}: {array.name} is read-only, but the operation writes it")


def floating_dtype(op: Operation, arrays: Mapping[str, np.ndarray], backend: str) -> np.dtype:
    """What ``float`` means for this call: float32, or float64 where the reference gets float64.

    Raises
    ------
    TypeError : float64 for a compiled backend.
    """
    for array in op.inputs + op.updates:
        if array.dtype == "float" and arrays[array.name].dtype == np.float64:
            if backend != "reference":
                raise TypeError(f"{op.name}: {array.name} is float64, and the {backend} backend computes in float32; "
                                "convert it, or use the reference backend")  # fmt: skip
            return np.dtype(np.float64)
    return DTYPES["float"]


def run(
    name: str,
    arrays: Mapping[str, np.ndarray],
    attributes: Mapping[str, Any],
    outputs: Mapping[str, np.ndarray] | None = None,
    backend: str | None = None,
    allocate: Allocate = _empty,
) -> dict[str, np.ndarray]:
    """Run an operation now and return its outputs.

    Parameters
    ----------
    name : a key of `OPS`.
    arrays : its inputs and updates, C-contiguous, of the declared types.
    attributes : all of its attributes.
    outputs : memory for the outputs; what is missing is allocated.
    backend : the current one if None.
    allocate : called as ``allocate(name, shape, dtype)`` for outputs; for workspace and scratch too if it is given.

    Raises
    ------
    TypeError, ValueError : arrays that contradict the declaration; the message names operation and array.
    """
    backend = backend or current_backend()
    binding = bind(name, arrays, attributes)
    op = binding.op
    floating = floating_dtype(op, arrays, backend)
    for array in op.inputs:
        _check(op, array, arrays[array.name], floating, writable=False)
    for array in op.updates:
        _check(op, array, arrays[array.name], floating, writable=True)
    results = {}
    for array in op.outputs:
        shape = array.shape(binding.sizes)
        given = None if outputs is None else outputs.get(array.name)
        if given is None:
            given = allocate(array.name, shape, floating if array.dtype == "float" else DTYPES[array.dtype])
        _check(op, array, given, floating, writable=True)
        if given.shape != shape:
            raise ValueError(f"{op.name}: {array.name} has shape {given.shape}, expected {shape}")
        results[array.name] = given
    memory = {**arrays, **results}
    if backend == "reference":
        with _single_threaded_blas():
            reference_function(op)(**memory, **attributes)
    else:
        run_compiled(binding, memory, backend, None if allocate is _empty else allocate)
    return results


def _single_threaded_blas() -> AbstractContextManager[Any]:
    """BLAS on one thread, for how it shares out a product would show in the reference's bits."""
    global _blas
    if _blas is None:
        from threadpoolctl import ThreadpoolController

        _blas = ThreadpoolController().select(user_api="blas")
    return _blas.limit(limits=1)


_blas: Any = None


def run_compiled(binding: Binding, memory: dict[str, np.ndarray], backend: str, allocate: Allocate | None) -> None:
    """Run a bound operation's compiled kernels over `memory` (every input, update and output)."""
    threads = runtime.usable_threads(get_num_threads())
    chosen = binding.op.algorithms[binding.algorithm]
    addresses = {name: array.ctypes.data for name, array in memory.items()}
    per_worker = place_temporaries(chosen.workspace, chosen.scratch, binding.sizes, threads, allocate)
    blocks = np.array([binding.layout.addresses(addresses | own) + binding.numbers
                       for own in per_worker.addresses], np.int64)  # fmt: skip
    stride = blocks.shape[1] if len(blocks) > 1 else 0
    nodes = np.array(
        [(kernel_address(binding.op.name, binding.algorithm, stage, backend), blocks.ctypes.data, stride, tasks)
         for stage, tasks in binding.tasks], np.int64)  # fmt: skip
    runtime.run(nodes, threads)


@dataclass(frozen=True)
class Temporaries:
    """Addresses of workspace and scratch, one mapping per worker (a single one if there is no scratch)."""

    addresses: list[dict[str, int]]
    owners: list[np.ndarray]


_arena = threading.local()


def _arena_memory(size: int) -> np.ndarray:
    """At least `size` bytes that belong to this Python thread and are used again by its next call."""
    memory = getattr(_arena, "memory", None)
    if memory is None or memory.nbytes < size:
        memory = _arena.memory = np.empty(size, np.uint8)
    return memory


def place_temporaries(
    workspace: Sequence[Array], scratch: Sequence[Array], sizes: Sizes, threads: int, allocate: Allocate | None
) -> Temporaries:
    """Give every workspace array one place and every scratch array one place per worker."""
    wanted = [("", array) for array in workspace]
    workers = threads if scratch else 1
    wanted += [(f"#{worker}", array) for worker in range(workers) for array in scratch]
    owners: list[np.ndarray] = []
    placed: dict[str, int] = {}
    if allocate is not None:
        for suffix, array in wanted:
            owners.append(allocate(array.name + suffix, array.shape(sizes), DTYPES[array.dtype]))
            placed[array.name + suffix] = owners[-1].ctypes.data
    else:
        lengths = [math.prod(array.shape(sizes)) * DTYPES[array.dtype].itemsize for _, array in wanted]
        steps = [-(-length // ALIGNMENT) * ALIGNMENT for length in lengths]
        owners.append(_arena_memory(sum(steps) + ALIGNMENT))
        address = -(-owners[0].ctypes.data // ALIGNMENT) * ALIGNMENT
        for (suffix, array), step in zip(wanted, steps, strict=True):
            placed[array.name + suffix] = address
            address += step
    shared = {array.name: placed[array.name] for array in workspace}
    return Temporaries(
        [shared | {array.name: placed[f"{array.name}#{worker}"] for array in scratch} for worker in range(workers)],
        owners)  # fmt: skip


def get(name: str, backend: str | None = None) -> Callable[..., Any]:
    """The operation called `name` as a function of NumPy arrays.

    Parameters
    ----------
    name : a key of `OPS`.
    backend : ``"numba"``, ``"cython"`` or ``"reference"``; None means the current one at each call.

    Returns
    -------
    A function that takes the operation's arrays and attributes by name. Optional arrays may be left out; inputs are
    made C-contiguous; updates are changed in place; outputs may be given as memory to write. It returns the output, or
    a tuple of them, or None if there is none.

    Raises
    ------
    KeyError : there is no operation of that name.

    Examples
    --------
    >>> import numpy as np
    >>> get("linear_forward", "reference")(x=np.ones((1, 2), np.float32), w=np.ones((3, 2), np.float32))
    array([[2., 2., 2.]], dtype=float32)
    """
    if name not in OPS:
        raise KeyError(f"no operation {name!r}; there are {', '.join(OPS)}")
    op = OPS[name]

    def call(**arguments: Any) -> Any:
        arrays, attributes, outputs = sort_arguments(op, arguments)
        results = tuple(run(name, arrays, attributes, outputs, backend).values())
        return results[0] if len(results) == 1 else results or None

    call.__name__ = call.__qualname__ = name
    return call


def sort_arguments(
    op: Operation, arguments: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], dict[str, Any], dict[str, np.ndarray]]:
    """Arguments by name as (inputs and updates, attributes, outputs); inputs made contiguous, absent ones empty.

    Raises
    ------
    TypeError : an argument that the operation does not take, or one that is missing.
    """
    unknown = set(arguments) - set(op.parameters)
    if unknown:
        raise TypeError(f"{op.name}: takes {', '.join(op.parameters)}; got {', '.join(sorted(unknown))}")
    arrays = {}
    given = [arguments.get(array.name) for array in op.inputs + op.updates if array.dtype == "float"]
    floating = np.dtype(
        np.float64 if any(getattr(value, "dtype", None) == np.float64 for value in given) else np.float32
    )
    for array in op.inputs + op.updates:
        value = arguments.get(array.name)
        if value is None and array.dims[0] in op.either and op.either[array.dims[0]][0] == 0:
            value = np.empty(0, floating if array.dtype == "float" else DTYPES[array.dtype])
        elif value is None:
            raise TypeError(f"{op.name}: {array.name} is missing")
        arrays[array.name] = np.asarray(value, order="C") if array in op.inputs else value
    outputs = {array.name: arguments[array.name] for array in op.outputs if arguments.get(array.name) is not None}
    attributes = {}
    for attribute in op.attributes:
        if attribute.name not in arguments:
            raise TypeError(f"{op.name}: {attribute.name} is missing")
        value = arguments[attribute.name]
        attributes[attribute.name] = tuple(value) if attribute.kind in ("pair", "six") else value
    return arrays, attributes, outputs
