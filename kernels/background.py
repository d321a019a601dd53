"""Numba kernels compiled, and algorithms chosen, by another process while this one computes with Cython's.

A thread would not do: Numba holds the interpreter's lock for seconds on end. The process is told what is needed as soon
as that is known and leaves everything on disk, kernel by kernel, so that this one has only to look there. What was
needed last is compiled first: in a run that is ended early, what is complete is then complete for the next one.

It chooses algorithms too, for measuring takes a large network a few seconds: on more runs than `choice.py` makes where
nothing else computes.

The process never outlives this one. It is killed by `Builder.end`; where that is not called, because this process was
killed, it ends when its input does, or when it sees that its parent is another one, whichever is first: a process that
this one forked holds the other end of the input too.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, NamedTuple

import numpy as np

from . import choice
from .backends import numba_code
from .binding import Binding, bind
from .build import Kernel
from .cache import kept
from .launch import run_compiled
from .ops import OPS
from .threads import get_num_threads, set_num_threads

LONG_ENOUGH = 0.2
"""Seconds of runs that a choice is made by: others compute at the same time."""
LOOK = 0.5
"""Seconds between two looks whether the parent is still there."""


class Need(NamedTuple):
    """An operation that a plan needs: its name, the shapes and types of its operands (None: absent), attributes."""

    op: str
    operands: Mapping[str, tuple[tuple[int, ...], str] | None]
    attributes: Mapping[str, Any]

    def bound(self, algorithm: str | None = None) -> Binding:
        """The operation bound to its sizes."""
        shapes = {name: (0,) if operand is None else operand[0] for name, operand in self.operands.items()}
        op = OPS[self.op]
        arrays: Any = {array.name: SimpleNamespace(shape=shapes[array.name]) for array in op.inputs + op.updates}
        return bind(self.op, arrays, self.attributes, algorithm)


def contenders(need: Need) -> tuple[str, ...]:
    """The algorithms among which is yet to be chosen, or the chosen one."""
    binding = need.bound()
    return choice.contenders(binding.op, binding.sizes, binding.key, "numba")


def kernels(needs: Iterable[Need]) -> list[Kernel]:
    """The kernels of needs, those of all algorithms that may be chosen."""
    named = {
        (need.op, name, stage.kernel): None
        for need in needs
        for name in contenders(need)
        for stage in OPS[need.op].algorithms[name].stages
    }
    return list(named)


def missing(needs: Iterable[Need]) -> list[Kernel]:
    """Those kernels of needs that are not on disk."""
    return [kernel for kernel in kernels(needs) if not kept(".".join(kernel))]


def unsettled(needs: Iterable[Need]) -> list[Need]:
    """The needs whose algorithm is yet to be chosen."""
    return [need for need in needs if len(contenders(need)) > 1]


# ---------------------------------------------------------------- this process


class Builder:
    """The process that compiles.

    Parameters
    ----------
    folder : of the cache.
    """

    def __init__(self, folder: Path) -> None:
        self._owner = os.getpid()
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], cwd=folder, env={**os.environ, "NNFAST_CACHE_DIR": str(folder.parent)},
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._errors,
        )  # fmt: skip
        self._send((self._owner, [os.path.abspath(place) for place in sys.path]))

    def need(self, needs: Sequence[Need]) -> None:
        """Have kernels compiled, and algorithms chosen as this process would now."""
        self._send((choice.get_conv_algorithm(), get_num_threads(), [tuple(need) for need in needs]))

    def failure(self) -> str | None:
        """Why the process has ended, or None while it runs."""
        if os.getpid() != self._owner or self._process.poll() is None:
            return None
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return said[-1] if said else f"the compiling process ended with status {self._process.returncode}"

    def end(self) -> None:
        """End the process; what it has compiled stays."""
        if os.getpid() != self._owner:
            return  # a forked process, which has no say in it
        with suppress(OSError):
            self._process.kill()
        with suppress(OSError):
            self._process.stdin.close()  # type: ignore[union-attr]
        self._process.wait()
        self._errors.close()

    def _send(self, message: Any) -> None:
        stream = self._process.stdin
        assert stream is not None
        with suppress(OSError):  # it has ended, which `failure` tells
            pickle.dump(message, stream)
            stream.flush()


# ---------------------------------------------------------------- the other process

PROGRAM = """
import pickle, sys
parent, sys.path[:] = pickle.load(sys.stdin.buffer)
from nnfast.kernels.background import serve
serve(parent)
"""


def serve(parent: int) -> None:
    """Compile and choose what is asked for on standard input, until it or the process of this number ends."""
    asked: queue.SimpleQueue[tuple[str, int, list[Need]]] = queue.SimpleQueue()
    if os.name == "posix":  # elsewhere nothing forks, so that the input's end tells
        threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()
    threading.Thread(target=_receive, args=(asked,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to act on
    needs: list[Need] = []
    try:
        while True:
            for fixed, threads, more in _taken(asked, wait=not _work(needs)):
                choice.set_conv_algorithm(fixed)
                set_num_threads(threads)
                needs = [*more, *needs]
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # Python's own end would wait for the thread that reads, and die of it


def _work(needs: Sequence[Need]) -> bool:
    """Compile one kernel, or choose one algorithm; whether there was something to do."""
    for need in needs:
        for op, algorithm, stage in missing([need]):
            numba_code(OPS[op], algorithm, stage)
            if not kept(f"{op}.{algorithm}.{stage}"):
                raise OSError("a compiled kernel could not be kept")
            return True
    for need in unsettled(needs):
        _choose(need)
        return True
    return False


def _choose(need: Need) -> None:
    """Choose and remember the algorithm of an operation, on memory of its own."""
    memory = {
        name: np.empty(0, np.float32) if operand is None else np.ones(*operand)
        for name, operand in need.operands.items()
    }

    def seconds(algorithm: str) -> float:
        start = time.perf_counter()
        run_compiled(need.bound(algorithm), memory, "numba", None)
        return time.perf_counter() - start

    binding = need.bound()
    choice.choose(binding.op, binding.sizes, binding.key, "numba", seconds, LONG_ENOUGH)


def _taken(asked: queue.SimpleQueue[Any], wait: bool) -> Iterator[tuple[str, int, list[Need]]]:
    """What has been asked for since the last look; the next, if need be after a while, if `wait`."""
    if wait:
        yield asked.get()
    with suppress(queue.Empty):
        while True:
            yield asked.get_nowait()


def _receive(asked: queue.SimpleQueue[Any]) -> None:
    try:
        while True:
            fixed, threads, needs = pickle.load(sys.stdin.buffer)
            asked.put((fixed, threads, [Need(*need) for need in needs]))
    finally:  # the input has ended, or been cut off
        os._exit(0)


def _end_with_parent(parent: int) -> None:
    """End when the process of this number has, be it that something stands between the two that has not."""
    own = os.getppid()
    with suppress(OSError):
        while os.getppid() == own:
            os.kill(parent, 0)  # sends nothing
            time.sleep(LOOK)
    os._exit(0)
