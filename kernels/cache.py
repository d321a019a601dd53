"""Where compiled kernels and choices of algorithms are kept: one private folder for each version and processor.

The folder's name carries a hash of all kernel sources, of the versions of numba, llvmlite and nnfast, and of the
processor, so nothing stale can be found in it. Code from it will be run, so nobody else may write there (mode 0700).
Nothing here needs Numba or llvmlite: a process that computes with Cython's kernels looks into the folder too.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import tempfile
from functools import cache, lru_cache
from pathlib import Path

_TRAITS = re.compile(r"vendor_id|cpu family|model|model name|stepping|flags|Features|CPU \w+|isa|cpu|uarch")
"""What a line of /proc/cpuinfo begins with that tells processors apart, x86 or not; not their clock."""


def processor() -> str:
    """What tells this processor from others, and from itself where a virtual machine hides features of it.

    ``NUMBA_CPU_NAME`` and ``NUMBA_CPU_FEATURES``, which cut down what Numba compiles for, belong to it.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    traits = {line for line in lines if _TRAITS.fullmatch(line.partition(":")[0].strip())}
    chosen = [os.environ.get(name, "") for name in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")]
    return "\n".join([platform.machine(), platform.processor(), *chosen, *sorted(traits)])


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version  # takes longer to import than most of nnfast

    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


@lru_cache(maxsize=1)
def fingerprint() -> str:
    """Hash of everything that object code depends on."""
    digest = hashlib.sha256()
    root = Path(__file__).parent
    for source in sorted([*root.glob("*.py"), *root.glob("numba_jit/*.py")]):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    for item in (*(_version(package) for package in ("nnfast", "numba", "llvmlite", "numpy")), processor()):
        digest.update(item.encode() + b"\0")
    return digest.hexdigest()[:32]


def cache_root() -> Path:
    """Where kernels of all versions are kept: ``$NNFAST_CACHE_DIR``, else ``nnfast/kernels`` in the user's cache."""
    chosen = os.environ.get("NNFAST_CACHE_DIR")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nnfast" / "kernels"


@cache
def opened(root: Path) -> Path | str:
    """This version's folder below `root`, made if need be; a text that says why, if it cannot be used."""
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
        return f"its cache cannot be used ({error}). Set NNFAST_CACHE_DIR to a folder of your own."
    return folder


def cache_folder() -> Path | None:
    """This version's folder, or None if it cannot be used."""
    folder = opened(cache_root())
    return None if isinstance(folder, str) else folder


def kept(name: str) -> bool:
    """Whether there is object code under `name`."""
    folder = cache_folder()
    return folder is not None and (folder / f"{name}.o").exists()
