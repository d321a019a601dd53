"""Object code of compiled kernels: kept on disk, loaded without importing Numba.

The cache folder's name carries a hash of all kernel sources, of the versions of numba, llvmlite and nnfast, and of the
processor, so nothing stale can be found in it. A kernel is one file, written under a temporary name, synced and
renamed, with a checksum in front: it is whole or absent. Object code is loaded, never unpickled; the folder is still
private (mode 0700), since what is in it will be run.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from inspect import signature
from pathlib import Path

from llvmlite import binding as llvm

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


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


@lru_cache(maxsize=1)
def fingerprint() -> str:
    """Hash of everything that object code depends on."""
    digest = hashlib.sha256()
    root = Path(__file__).parent.parent
    for source in sorted([*root.glob("*.py"), *root.glob("numba_jit/*.py")]):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    for item in (*(_version(package) for package in ("nnfast", "numba", "llvmlite", "numpy")), *cpu()):
        digest.update(item.encode() + b"\0")
    return digest.hexdigest()[:32]


def cache_root() -> Path:
    """Where kernels of all versions are kept: ``$NNFAST_CACHE_DIR``, else ``nnfast/kernels`` in the user's cache."""
    chosen = os.environ.get("NNFAST_CACHE_DIR")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nnfast" / "kernels"


@cache
def cache_folder(root: Path) -> Path | None:
    """This version's folder below `root`, made if need be; None, with one warning, if it cannot be used."""
    folder = root / fingerprint()
    try:
        if not folder.is_dir():
            root.mkdir(parents=True, exist_ok=True)
            made = tempfile.mkdtemp(prefix=".making-", dir=root)  # mkdtemp gives mode 0700
            try:
                os.rename(made, folder)
            except OSError:  # another process was first
                os.rmdir(made)
        status = folder.stat()
        if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & 0o022):
            raise PermissionError(f"{folder} belongs to another user or is writable by others")
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        warnings.warn(f"nnfast compiles its Numba kernels anew in every process: its cache cannot be used ({error}). "
                      "Set NNFAST_CACHE_DIR to a folder of your own.", RuntimeWarning, stacklevel=2)  # fmt: skip
        return None
    return folder


def kept(name: str) -> bool:
    """Whether there is object code under `name`."""
    folder = cache_folder(cache_root())
    return folder is not None and (folder / f"{name}.o").exists()


def read(name: str) -> bytes | None:
    """The object code kept under `name`, or None if there is none that is whole."""
    folder = cache_folder(cache_root())
    if folder is None:
        return None
    try:
        content = (folder / f"{name}.o").read_bytes()
    except OSError:
        return None
    code = content[DIGEST:]
    return code if hashlib.sha256(code).digest() == content[:DIGEST] else None


def write(name: str, code: bytes) -> None:
    """Keep object code under `name`; a full disk only means that it is compiled again next time."""
    folder = cache_folder(cache_root())
    if folder is None:
        return
    handle, temporary = tempfile.mkstemp(prefix=".writing-", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(code).digest() + code)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, folder / f"{name}.o")
    except OSError as error:
        os.unlink(temporary)
        warnings.warn(f"nnfast could not keep a compiled kernel: {error}", RuntimeWarning, stacklevel=2)
