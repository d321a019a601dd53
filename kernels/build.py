"""Compile many Numba kernels at once, in as many processes as there are CPUs: LLVM uses one for each kernel.

Each process goes through the same list from another place on, skips what is on disk by then, and leaves what it
compiled there. Nobody waits for anybody, and a process that fails only leaves its work to this one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from .backends import numba_code
from .cache import cache_folder, kept
from .ops import OPS
from .threads import default_num_threads

Kernel = tuple[str, str, str]
"""The names of an operation, of an algorithm and of a stage."""
FEW = 4
"""Kernels for which it is not worth to start a process, which imports Numba first."""


def build(kernels: Sequence[Kernel]) -> None:
    """See that the object code of kernels is on disk, where there is a place for it."""
    folder = cache_folder()
    if folder is None:
        return  # what others compile could not be found
    missing = [kernel for kernel in kernels if not kept(".".join(kernel))]
    others = min(default_num_threads(), len(missing) // FEW) - 1
    processes = []
    for number in range(1, others + 1):
        with suppress(OSError):
            processes.append(_start(turned(missing, number, others + 1), folder))
    try:
        compile_missing(missing)
    finally:
        for process in processes:
            with suppress(OSError):
                process.kill()  # what is left is being compiled a second time
            process.wait()


def turned(kernels: Sequence[Kernel], number: int, count: int) -> list[Kernel]:
    """The list as the process with a number takes it: from another place on, odd ones backwards."""
    place = len(kernels) * number // count
    order = [*kernels[place:], *kernels[:place]]
    return order[::-1] if number % 2 else order


PROGRAM = """
import json, sys
given = json.load(sys.stdin)
sys.path[:] = given["path"]
from nnfast.kernels.build import compile_missing
compile_missing(given["kernels"])
"""


def _start(kernels: list[Kernel], folder: Path) -> subprocess.Popen[bytes]:
    """A process that compiles kernels; it starts in `folder`, where no module hides one that it imports."""
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], cwd=folder, stdin=subprocess.PIPE,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    assert process.stdin is not None
    given = {"path": [os.path.abspath(place) for place in sys.path], "kernels": kernels}
    with suppress(OSError):  # it ended at once
        process.stdin.write(json.dumps(given).encode())
        process.stdin.close()
    return process


def compile_missing(kernels: Sequence[Kernel]) -> None:
    """Compile those of the kernels that are not on disk when it is their turn."""
    for op, algorithm, stage in kernels:
        if not kept(f"{op}.{algorithm}.{stage}"):
            numba_code(OPS[op], algorithm, stage)
