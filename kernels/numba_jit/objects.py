"""Object code of compiled kernels: kept on disk, loaded without importing Numba.

A kernel is one file in the cache's folder (`cache.py`), written under a temporary name, synced and renamed, with a
checksum in front: it is whole or absent. Object code is loaded, never unpickled.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from functools import cache, lru_cache
from inspect import signature
from pathlib import Path

from llvmlite import binding as llvm

from ..cache import cache_root, opened

DIGEST = 32  # bytes of SHA-256
# Code and constants of a kernel in one piece: in a process that has mapped gigabytes, LLVM's own memory manager lets
# them stand more than 2 GB apart, which is further than their references to each other reach.
_NEAR = {"use_lmm": True} if "use_lmm" in signature(llvm.create_mcjit_compiler).parameters else {}
_engines: list[llvm.ExecutionEngine] = []  # an engine owns the memory that its kernels' addresses point into


def cpu() -> tuple[str, str]:
    """LLVM's name and feature string of the processor to compile for.

    ``NUMBA_CPU_NAME`` and ``NUMBA_CPU_FEATURES`` cut it down, as they do for Numba; a name alone brings no features.
    """
    name, features = os.environ.get("NUMBA_CPU_NAME"), os.environ.get("NUMBA_CPU_FEATURES")
    if features is None:
        features = "" if name else llvm.get_host_cpu_features().flatten()
    return name or llvm.get_host_cpu_name(), features


def vector_lanes() -> int:
    """How many float32 the widest registers of `cpu` hold."""
    features = cpu()[1].split(",")
    return 16 if "+avx512f" in features else 8 if "+avx" in features else 4


def has_fma() -> bool:
    """Whether `cpu` multiplies and adds in one instruction; all do but old x86 ones."""
    return "+fma" in cpu()[1].split(",") or not llvm.get_process_triple().startswith("x86")


@lru_cache(maxsize=1)
def target_machine() -> llvm.TargetMachine:
    """The machine that code is generated for."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    name, features = cpu()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(cpu=name, features=features, opt=3, reloc="pic", codemodel="default", jit=True)


def load(code: bytes) -> int:
    """The address of the function ``kernel`` in object code."""
    module = llvm.parse_assembly("")
    module.triple = llvm.get_process_triple()
    engine = llvm.create_mcjit_compiler(module, target_machine(), **_NEAR)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _engines.append(engine)
    return engine.get_function_address("kernel")


def _folder() -> Path | None:
    """The folder of the cache; without one, one warning says what that means."""
    folder = opened(cache_root())
    if isinstance(folder, str):
        _tell(folder)
        return None
    return folder


@cache
def _tell(reason: str) -> None:
    warnings.warn(f"nnfast compiles its Numba kernels anew in every process: {reason}", RuntimeWarning, stacklevel=4)


def _checksum(code: bytes) -> bytes:
    """Of object code and the processor that it is for, as LLVM sees it: `cache.processor` may know less."""
    return hashlib.sha256(b"\0".join([*(item.encode() for item in cpu()), code])).digest()


def read(name: str) -> bytes | None:
    """The object code kept under `name`, or None if there is none that is whole."""
    folder = _folder()
    if folder is None:
        return None
    try:
        content = (folder / f"{name}.o").read_bytes()
    except OSError:
        return None
    code = content[DIGEST:]
    return code if _checksum(code) == content[:DIGEST] else None


def write(name: str, code: bytes) -> None:
    """Keep object code under `name`; a full disk only means that it is compiled again next time."""
    folder = _folder()
    if folder is None:
        return
    handle, temporary = tempfile.mkstemp(prefix=".writing-", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_checksum(code) + code)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, folder / f"{name}.o")
    except OSError as error:
        os.unlink(temporary)
        warnings.warn(f"nnfast could not keep a compiled kernel: {error}", RuntimeWarning, stacklevel=2)
