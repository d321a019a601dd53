"""``nnfast info``: what a bug report should say."""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

HELP = "print versions, processor, threads, backends and caches"
DESCRIPTION = "Print what nnfast runs on and with."

_EXTRAS = {"pillow": "data", "pooch": "data"}
_FEATURES = ("sse4.2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512bf16", "amx-tile",
             "neon", "sve")  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments: there are none."""


def run(arguments: argparse.Namespace) -> int:
    """Print, and return the exit code."""
    facts: dict[str, Callable[[], str]] = {
        "nnfast": _nnfast,
        "Python": lambda: f"{platform.python_version()} ({platform.python_implementation()}), {sys.executable}",
        "system": platform.platform,
        "packages": lambda: ", ".join(map(_package, ("numpy", "scipy", "numba", "llvmlite", "matplotlib", "tqdm"))),
        "extras": lambda: ", ".join(_extra(name, extra) for name, extra in _EXTRAS.items()),
        "built with": _built_with,
        "processor": _processor,
        "vectors": _vectors,
        "Cython kernels": _instruction_set,
        "threads": _threads,
        "threaded build": lambda: "yes" if _runtime().threaded else "no: kernels run on one thread",
        "backends": lambda: "; ".join(_backends()),
        "BLAS": lambda: "; ".join(_blas()) or "none found",
        "Numba cache": _cache,
        "digits": _digits,
    }
    width = max(map(len, facts)) + 2
    for name, fact in facts.items():
        try:
            text = fact()
        except Exception as error:  # a report on a broken installation must not break
            text = f"cannot be found out: {type(error).__name__}: {error}"
        print(f"{name + ':':{width}}{text}")
    return 0


def _nnfast() -> str:
    import nnfast

    return f"{nnfast.__version__}, {os.path.dirname(nnfast.__file__)}"


def _package(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return f"{name} missing"


def _extra(name: str, extra: str) -> str:
    found = _package(name)
    return f"{found} (pip install nnfast[{extra}])" if found.endswith("missing") else found


def _runtime() -> Any:
    from nnfast.kernels import runtime

    return runtime


def _built_with() -> str:
    _runtime()
    # Modules that Cython made share their types in a module whose name carries its version.
    found = {match[1] for name in sys.modules if (match := re.fullmatch(r"_cython_(\d+_\d+_\w+)", name))}
    return f"Cython {', '.join(sorted(found)).replace('_', '.')}" if found else "a Cython that leaves no trace"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            names = {line.split(":", 1)[1].strip() for line in file if line.startswith(("model name", "Model"))}
    except OSError:
        names = set()
    return ", ".join(sorted(names)) or platform.processor() or platform.machine()


def _vectors() -> str:
    from nnfast.kernels.numba_jit import objects

    name, features = objects.cpu()
    found = [feature for feature in _FEATURES if f"+{feature}" in features.split(",")]
    return f"{objects.vector_lanes()} lanes of float32; LLVM calls the processor {name}; {' '.join(found)}"


def _instruction_set() -> str:
    from nnfast.kernels.instruction_sets import VARIABLE, built, instruction_set, runnable

    forced = f", forced by {VARIABLE}" if os.environ.get(VARIABLE) else ""
    return f"{instruction_set()}{forced}; built for {', '.join(built())}; this processor runs {', '.join(runnable())}"


def _threads() -> str:
    import nnfast
    from nnfast.kernels.threads import cgroup_quota

    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else "unknown"
    quota = cgroup_quota()
    limit = "none" if quota is None else f"{quota:g}"
    variable = os.environ.get("OMP_NUM_THREADS") or "not set"
    return (
        f"{nnfast.get_num_threads()} by default; CPUs {os.cpu_count()}, affinity {affinity}, control group's quota "
        f"{limit}, OMP_NUM_THREADS {variable}"
    )


def _backends() -> Iterator[str]:
    from nnfast.kernels import BACKENDS, OPS, current_backend
    from nnfast.kernels.backends import cython_module
    from nnfast.kernels.launch import get

    for backend in BACKENDS:
        using = " (default)" if backend == current_backend() else ""
        try:
            modules = sorted({op.module for op in OPS.values()})
            for module in modules if backend != "numba" else ("compiler",):
                if backend == "cython":
                    cython_module(module)
                else:
                    folder = "numba_jit" if backend == "numba" else backend
                    import_module(f"nnfast.kernels.{folder}.{module}")
            get("relu_forward", backend)
            yield f"{backend}{using} yes"
        except Exception as error:  # whatever is wrong with it is the answer
            yield f"{backend}{using} no: {type(error).__name__}: {' '.join(str(error).split())}"


def _blas() -> Iterator[str]:
    import scipy.linalg.blas  # noqa: F401 - loads the library that is to be found
    from threadpoolctl import threadpool_info

    for pool in threadpool_info():
        if pool["user_api"] == "blas":
            yield (
                f"{pool['internal_api']} {pool['version']} ({pool.get('architecture', 'unknown architecture')}, "
                f"{pool['num_threads']} threads, {os.path.basename(pool['filepath'])})"
            )


def _cache() -> str:
    from nnfast.kernels.numba_jit import objects

    folder = objects.cache_root() / objects.fingerprint()
    if not folder.is_dir():
        return f"{folder} (not there yet)"
    kernels = list(folder.glob("*.o"))
    size = sum(kernel.stat().st_size for kernel in kernels)
    return f"{folder}, {len(kernels)} kernels, {size / 1e6:.1f} MB"


def _digits() -> str:
    from nnfast.data import digits

    train, test = digits()
    return f"{len(train):,} to train on, {len(test):,} held out"
