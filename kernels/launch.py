"""Binding an operation to arrays and running it: sizes, output and scratch memory, argument blocks."""

from __future__ import annotations

import math
import mmap
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any

import numpy as np

from . import runtime
from .backends import current_backend, reference_function
from .binding import ALIGNMENT, Binding, bind
from .blocking import blocks
from .choice import choose
from .operation import DTYPES, Array, Operation
from .ops import OPS
from .threads import get_num_threads

LARGE = 1 << 16  # bytes
FLOAT64 = np.dtype(np.float64)
Allocate = Callable[[str, tuple[int, ...], np.dtype], np.ndarray]


def aligned_empty(name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Memory that begins at a cache line, which NumPy's own does not: kernels write large results around the caches."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < LARGE:
        return np.empty(shape, dtype)
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


def _check(op: Operation, array: Array, value: np.ndarray, floating: np.dtype, writable: bool) -> None:
    expected = floating if array.dtype == "float" else DTYPES[array.dtype]
    if value.dtype != expected:
        raise TypeError(f"{op.name}: {array.name} is {value.dtype}, expected {expected}")
    flags = value.flags
    if not flags.c_contiguous:
        raise ValueError(f"{op.name}: {array.name} is not C-contiguous")
    if writable and not flags.writeable:
        raise ValueError(f"{op.name}: {array.name} is read-only, but the operation writes it")


def floating_dtype(op: Operation, arrays: Mapping[str, np.ndarray], backend: str) -> np.dtype:
    """What ``float`` means for this call: float32, or float64 where the reference gets float64.

    Outputs among the `arrays` say it for an operation that has no inputs or updates of this type.

    Raises
    ------
    TypeError : float64 for a compiled backend.
    """
    for name in op.floating:
        if name in arrays and arrays[name].dtype == FLOAT64:
            if backend != "reference":
                raise TypeError(f"{op.name}: {name} is float64, and the {backend} backend computes in float32; "
                                "convert it, or use the reference backend")  # fmt: skip
            return FLOAT64
    return DTYPES["float"]


def prepare(
    name: str,
    arrays: Mapping[str, np.ndarray],
    attributes: Mapping[str, Any],
    outputs: Mapping[str, np.ndarray] | None,
    backend: str,
    allocate: Allocate = aligned_empty,
    algorithm: str | None = None,
) -> tuple[Binding, dict[str, np.ndarray]]:
    """Check what an operation is given, and allocate the outputs that are missing; see `run`."""
    binding = bind(name, arrays, attributes, algorithm)
    op = binding.op
    floating = floating_dtype(op, {**arrays, **outputs} if outputs else arrays, backend)
    for array in op.inputs:
        _check(op, array, arrays[array.name], floating, writable=False)
    for array in op.updates:
        _check(op, array, arrays[array.name], floating, writable=True)
    results = {}
    for array, shape in binding.outputs:
        given = None if outputs is None else outputs.get(array.name)
        if given is None:
            given = allocate(array.name, shape, floating if array.dtype == "float" else DTYPES[array.dtype])
        _check(op, array, given, floating, writable=True)
        if given.shape != shape:
            raise ValueError(f"{op.name}: {array.name} has shape {given.shape}, expected {shape}")
        results[array.name] = given
    return binding, results


def run(
    name: str,
    arrays: Mapping[str, np.ndarray],
    attributes: Mapping[str, Any],
    outputs: Mapping[str, np.ndarray] | None = None,
    backend: str | None = None,
    allocate: Allocate = aligned_empty,
    algorithm: str | None = None,
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
    algorithm : a key of the operation's algorithms; `choice.py` chooses if None.

    Raises
    ------
    TypeError, ValueError : arrays that contradict the declaration; the message names operation and array.
    """
    backend = backend or current_backend()
    binding, results = prepare(name, arrays, attributes, outputs, backend, allocate, algorithm)
    op = binding.op
    memory = {**arrays, **results}
    if backend == "reference":
        with single_threaded_blas():
            reference_function(op)(**memory, **attributes)
    else:
        own = None if allocate is aligned_empty else allocate
        if algorithm is None and len(op.algorithms) > 1:

            def seconds(rival: str) -> float:
                start = time.perf_counter()
                run_compiled(bind(name, arrays, attributes, rival), memory, backend, own)
                return time.perf_counter() - start

            chosen = choose(op, binding.sizes, binding.key, backend, seconds)
            binding = bind(name, arrays, attributes, chosen)
        run_compiled(binding, memory, backend, own)
    return results


def single_threaded_blas() -> AbstractContextManager[Any]:
    """BLAS on one thread, for how it shares out a product would show in the reference's bits."""
    global _blas
    if _blas is None:
        from threadpoolctl import ThreadpoolController

        _blas = ThreadpoolController().select(user_api="blas")
    return _blas.limit(limits=1)


_blas: Any = None


def run_compiled(binding: Binding, memory: Mapping[str, np.ndarray], backend: str, allocate: Allocate | None) -> None:
    """Run a bound operation's compiled kernels over `memory` (every input, update and output)."""
    prepared(binding, memory, backend, allocate).run()


def prepared(
    binding: Binding, memory: Mapping[str, np.ndarray], backend: str, allocate: Allocate | None = None
) -> runtime.Launch:
    """The same, to be run later, on the threads that are set now. The next operation on this thread may use its scratch
    memory, unless `allocate` has made it."""
    threads = runtime.usable_threads(get_num_threads())
    temporaries, arena, owners = place_temporaries(binding, threads, allocate)
    arrays = [memory[name] for name in binding.operands]
    return runtime.Launch(binding.nodes(backend), binding.block, arrays, temporaries, arena, threads, owners)


_arena = threading.local()
HUGE = 1 << 21  # bytes of a huge page


def _arena_memory(size: int) -> np.ndarray:
    """At least `size` bytes that belong to this Python thread and are used again by its next call.

    They are mapped in huge pages: scratch is strided over, and a page is looked up each time.
    """
    memory = getattr(_arena, "memory", None)
    if memory is None or memory.nbytes < size:
        memory = _arena.memory = huge_pages(size)
    return memory


def huge_pages(size: int) -> np.ndarray:
    """At least `size` bytes of zeros, mapped in huge pages where the system has them; touched when they are used."""
    length = max(1, blocks(size, HUGE)) * HUGE
    if hasattr(mmap, "MADV_HUGEPAGE"):
        # Shared memory, which is what mmap gives unless told otherwise, has no huge pages.
        mapping = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        with suppress(OSError):  # a kernel without them
            mapping.madvise(mmap.MADV_HUGEPAGE)
    else:
        mapping = mmap.mmap(-1, length)
    return np.frombuffer(mapping, np.uint8)


def release_scratch() -> None:
    """Give the memory that this thread's calls use for scratch back."""
    _arena.memory = None


def place_temporaries(
    binding: Binding, threads: int, allocate: Allocate | None
) -> tuple[np.ndarray, np.ndarray | None, Sequence[np.ndarray]]:
    """Where workspace and scratch stand, a row for each worker: in a piece of memory, or else addresses of arrays."""
    offsets, size = binding.placed(threads)
    if allocate is None:
        return offsets, _arena_memory(size) if size else None, ()
    owners: dict[str, np.ndarray] = {}
    addresses = offsets.copy()
    shared = len(binding.op.algorithms[binding.algorithm].workspace)
    for worker in range(len(offsets)):
        for i, (array, shape) in enumerate(binding.temporaries):
            name = array.name if i < shared else f"{array.name}#{worker}"
            if name not in owners:
                owners[name] = allocate(name, shape, DTYPES[array.dtype])
            [addresses[worker, i]] = runtime.addresses([owners[name]])
    return addresses, None, list(owners.values())


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
