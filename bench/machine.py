"""What results belong to: the machine, its limits, the versions of what computes, the commit."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from nnfast.kernels import get_num_threads
from nnfast.kernels.limits import Limits, limits
from nnfast.kernels.numba_jit import objects
from threadpoolctl import threadpool_info

from nnfast.commands.info import built_with, processor

from .limits import measure

ROOT = Path(__file__).parents[1]
HASH = 12  # digits of a commit, enough for a file's name
LONGEST = 48  # letters of a machine's name
REPEATS = 3


def describe(patience: float) -> dict[str, Any]:
    """The machine as a JSON object; its limits are measured now, on the threads that are set.

    Each of them waits for a quiet machine for `patience` seconds. Shorter calls are tried, too: on a busy machine some
    of them are undisturbed, and a limit is what was reached at best.
    """
    found, shorter = measure(REPEATS, patience), limits()
    flops, bandwidth = max(found.flops, shorter.flops), max(found.copy, shorter.bandwidth)
    return {
        "name": name(),
        "processor": processor(),
        "llvm_processor": objects.cpu()[0],
        "cores": os.cpu_count(),
        "threads": get_num_threads(),
        "system": platform.platform(),
        "limits": {"gflops": flops / 1e9, "gbytes": bandwidth / 1e9, "disturbed": found.disturbed},
        "blas": blas(),
        "versions": {"python": platform.python_version(), "cython": built_with().removeprefix("Cython ")}
        | {package: version(package) for package in ("numpy", "numba", "nnfast")},
    }


def limits_of(machine: dict[str, Any]) -> Limits:
    """The limits that a description holds, in operations and bytes a second."""
    return Limits(machine["limits"]["gflops"] * 1e9, machine["limits"]["gbytes"] * 1e9)


def name() -> str:
    """A short name that stays the same: the processor and how many cores of it there are.

    A hash of the whole description tells apart what the words do not.
    """
    text = f"{processor()}, {os.cpu_count()} cores"
    words = re.sub(r"[^a-z0-9]+", "-", re.sub(r"\((r|tm)\)|processor|cpu", "", processor().lower())).strip("-")
    return f"{words[:LONGEST].strip('-')}-{os.cpu_count()}-{hashlib.sha256(text.encode()).hexdigest()[:4]}"


def blas() -> dict[str, Any]:
    """The BLAS library that NumPy multiplies with, and the processor that it takes this one for."""
    near = Path(np.__file__).parent
    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    # SciPy brings a BLAS of its own. That of NumPy's wheels stands in `numpy.libs` or, on macOS, in `numpy/.dylibs`.
    beside = [pool for pool in pools if Path(pool["filepath"]).is_relative_to(near)
              or Path(pool["filepath"]).parent.name == "numpy.libs"]  # fmt: skip
    for pool in beside or pools:
        return {"name": pool["internal_api"], "version": pool["version"] or "unknown",
                "core": pool.get("architecture") or "unknown", "threads": 1}  # fmt: skip
    return {"name": "unknown", "version": "unknown", "core": "unknown", "threads": 1}


def blas_text(found: dict[str, Any]) -> str:
    """A BLAS in two words: its name and its core type."""
    return f"{found['name']} {found['core']}"


def commit(root: Path = ROOT) -> str:
    """The commit that is checked out, with ``-dirty`` behind it if files were changed, or ``unknown`` without git."""
    try:
        head = _git(root, "rev-parse", "HEAD")[:HASH]
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head}-dirty" if changed else head


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()
