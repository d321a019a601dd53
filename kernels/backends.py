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

from .cache import cache_folder
from .instruction_sets import instruction_set
from .operation import Operation

BACKENDS = ("numba", "cython", "reference")

_default: str | None = None
_chosen: ContextVar[str | None] = ContextVar("nnfast_backend", default=None)


def _known(name: str, who: str) -> str:
    if name not in BACKENDS:
        raise ValueError(f"{who}: backend is {name!r}, expected one of {', '.join(BACKENDS)}")
    return name


def current_backend() -> str:
    """The backend in use: the chosen one, else numba, else, where Numba is not installed, cython."""
    return chosen_backend() or ("numba" if has_numba() else "cython")


def chosen_backend() -> str | None:
    """The backend that somebody chose: by ``with backend(...)``, else `set_backend`, else ``$NNFAST_BACKEND``."""
    named = _chosen.get() or _default or os.environ.get("NNFAST_BACKEND")
    return _known(named, "NNFAST_BACKEND") if named else None


def has_numba() -> bool:
    """Whether Numba can be used, as far as is known without importing it."""
    return not why_without_numba()


def why_without_numba() -> str:
    """Why Numba cannot be used; nothing if it can, as far as is known.

    It is looked for, not imported: that takes longer than most networks' first training step.
    """
    global _without_numba
    if _without_numba is None:
        missing = [name for name in ("numba", "llvmlite") if not _found(name)]
        verb = "is" if len(missing) == 1 else "are"
        _without_numba = f"{' and '.join(missing)} {verb} not installed" if missing else ""
    return _without_numba


def try_numba() -> None:
    """Import Numba, unless it has compiled something before, to find out whether it can be: for who waits for it."""
    global _without_numba
    folder = cache_folder()
    if has_numba() and (folder is None or next(folder.glob("*.o"), None) is None):
        try:
            import_module("numba")
        except Exception as error:  # it does not suit Python, NumPy or the system; what it raises then differs
            _without_numba = f"Numba cannot be imported: {error}"


_without_numba: str | None = None


def _found(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):  # somebody keeps it from being imported
        return False


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
    ImportError : the backend is not installed; the message says what to do.
    NotImplementedError : there is no such kernel.
    """
    try:
        from .numba_jit import objects

        name = f"{op.name}.{algorithm}.{stage}"
        code = objects.read(name)
        if code is None:
            code = _compiled(op, algorithm, stage)
            objects.write(name, code)
    except ImportError as error:
        raise ImportError(f"{op.name}: the numba backend cannot be imported ({error}); install numba, or call "
                          "nnfast.set_backend('cython')") from error  # fmt: skip
    return code


def _compiled(op: Operation, algorithm: str, stage: str) -> bytes:
    from .numba_jit.compiler import compile_object

    module = import_module(f".numba_jit.{op.module}", __package__)
    function = getattr(module, stage, None)
    if function is None or not getattr(function, "is_kernel", False):
        raise _missing(op, algorithm, stage, "numba")
    return compile_object(function, op, algorithm)


def _numba_address(op: Operation, algorithm: str, stage: str) -> int:
    code = numba_code(op, algorithm, stage)
    from .numba_jit import objects

    return objects.load(code)
