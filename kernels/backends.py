"""The three backends, which of them is in use, and where each keeps an operation's kernels."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from .instruction_sets import instruction_set
from .operation import Operation, Sizes

BACKENDS = ("numba", "cython", "reference")

_default: str | None = None
_chosen: ContextVar[str | None] = ContextVar("nnfast_backend", default=None)


def _known(name: str, who: str) -> str:
    if name not in BACKENDS:
        raise ValueError(f"{who}: backend is {name!r}, expected one of {', '.join(BACKENDS)}")
    return name


def current_backend() -> str:
    """The backend in use: of ``with backend(...)``, else `set_backend`, else ``$NNFAST_BACKEND``, else numba."""
    return _chosen.get() or _default or _known(os.environ.get("NNFAST_BACKEND") or "numba", "NNFAST_BACKEND")


def set_backend(name: str) -> None:
    """Use the backend called `name` from now on, in all threads.

    Raises
    ------
    ValueError : `name` is none of ``numba``, ``cython``, ``reference``.
    """
    global _default
    _default = _known(name, "set_backend")


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Use the backend called `name` inside a ``with`` block, in this thread.

    Raises
    ------
    ValueError : `name` is none of ``numba``, ``cython``, ``reference``.

    Examples
    --------
    >>> with backend("cython"):
    ...     current_backend()
    'cython'
    """
    token = _chosen.set(_known(name, "backend"))
    try:
        yield
    finally:
        _chosen.reset(token)


def reference_function(op: Operation) -> Callable[..., None]:
    """The NumPy function that specifies `op`."""
    return getattr(import_module(f".reference.{op.module}", __package__), op.name)


def has_kernels(op: Operation, sizes: Sizes, backend: str) -> bool:
    """Whether a compiled backend has an algorithm for an operation of these sizes."""
    if backend == "numba" and find_spec("numba") is None:
        return False
    return bool(op.suitable(sizes, backend))


@cache
def kernel_address(op_name: str, algorithm: str, stage: str, backend: str) -> int:
    """The address of a stage's kernel; Numba compiles it now if it is not on disk.

    Raises
    ------
    ImportError : the backend is not installed; the message says what to do.
    NotImplementedError : the backend has no such kernel.
    """
    from .ops import OPS

    op = OPS[op_name]
    find = _numba_address if backend == "numba" else _cython_address
    return find(op, algorithm, stage)


def _missing(op: Operation, algorithm: str, stage: str, backend: str) -> NotImplementedError:
    return NotImplementedError(f"{op.name}: the {backend} backend has no kernel {stage} (algorithm {algorithm!r})")


def cython_module(name: str) -> ModuleType:
    """The Cython kernels of a module of operations, for the instruction set in use.

    Raises
    ------
    ImportError, ValueError : as `instruction_set`.
    """
    return import_module(f".cython_ext.{instruction_set()}.{name}", __package__)


def _cython_address(op: Operation, algorithm: str, stage: str) -> int:
    module = cython_module(op.module)
    try:
        return module.ADDRESSES[stage]
    except KeyError:
        raise _missing(op, algorithm, stage, "cython") from None


def numba_code(op: Operation, algorithm: str, stage: str) -> bytes:
    """The object code of a stage's Numba kernel: from disk, or compiled now and kept.

    Raises
    ------
    NotImplementedError : there is no such kernel.
    """
    from .numba_jit import objects

    name = f"{op.name}.{algorithm}.{stage}"
    code = objects.read(name)
    if code is None:
        from .numba_jit.compiler import compile_object

        module = import_module(f".numba_jit.{op.module}", __package__)
        function = getattr(module, stage, None)
        if function is None or not getattr(function, "is_kernel", False):
            raise _missing(op, algorithm, stage, "numba")
        code = compile_object(function, op, algorithm)
        objects.write(name, code)
    return code


def _numba_address(op: Operation, algorithm: str, stage: str) -> int:
    try:
        from .numba_jit import objects

        return objects.load(numba_code(op, algorithm, stage))
    except ImportError as error:
        raise ImportError(f"{op.name}: the numba backend cannot be imported ({error}); install numba, or call "
                          "nnfast.set_backend('cython')") from error  # fmt: skip
