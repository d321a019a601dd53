"""What this machine can do: multiply-adds a second, and bytes a second from and to memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from . import runtime
from .binding import bind
from .launch import aligned_empty, run_compiled
from .numba_jit import objects
from .operation import Operation, operation
from .threads import get_num_threads

LANES = objects.vector_lanes()
SUMS = 24 if LANES == 16 else 12  # chains of multiply-adds in registers, more than two pipelines need
MULTIPLIES = operation("limits.multiply_add", "x: TASKS W", "y: TASKS W", attributes="rounds: int",
                       tasks=lambda s: s.TASKS)  # fmt: skip
TASKS = 64
COPIED = 1 << 24  # floats of an array that is copied: 64 MB, beyond the caches
SECONDS = 0.12  # how long each limit is measured


@dataclass(frozen=True)
class Limits:
    """Floating-point operations, and bytes read and written, a second."""

    flops: float
    bandwidth: float


def limits() -> Limits:
    """The limits on the threads that are set, measured by the first call for so many threads in about 0.3 s.

    The peak is that of a kernel which multiplies and adds in registers, in float32; the bandwidth that of
    ``arithmetic.scale`` from one array of 64 MB to another, both counted. Each is the best of several runs: what else
    the machine does in all of them makes the limits too low.
    """
    return _measured(runtime.usable_threads(get_num_threads()))


@cache
def _measured(threads: int) -> Limits:
    multiply, flops = multiply_adds(rounds=2_000)
    arrays = {name: aligned_empty(name, (COPIED,), np.dtype(np.float32)) for name in "xy"}
    arrays["x"][...] = 1
    copy = bind("scale", {"x": arrays["x"]}, {"alpha": 1.0, "beta": 0.0})
    copied = _shortest(lambda: run_compiled(copy, arrays, "numba", None))
    return Limits(flops / _shortest(multiply), (arrays["x"].nbytes + arrays["y"].nbytes) / copied)


def _shortest(call: Callable[[], None]) -> float:
    call()  # compiles it, touches its memory
    best, end = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        begin = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - begin)
    return best


def multiply_adds(rounds: int = 20_000) -> tuple[Callable[[], None], int]:
    """A call that does nothing but multiply and add, and how many floating-point operations it is."""
    x, y = (aligned_empty(name, (TASKS, SUMS), np.dtype(np.float32)) for name in "xy")
    x[...] = np.linspace(0.4, 0.6, SUMS)
    flops = 2 * TASKS * rounds * SUMS * LANES
    return bound(objects.load(_multiply_add_code()), MULTIPLIES, {"x": x, "y": y}, rounds=rounds), flops


@cache
def _multiply_add_code() -> bytes:
    code = objects.read(MULTIPLIES.name)
    if code is None:
        from .numba_jit.compiler import compile_object
        from .numba_jit.limits import multiply_add

        code = compile_object(multiply_add, MULTIPLIES, "default")
        objects.write(MULTIPLIES.name, code)
    return code


def bound(address: int, op: Operation, arrays: Mapping[str, np.ndarray], **attributes: Any) -> Callable[[], None]:
    """A function that runs a kernel, which is no operation of `OPS`, over `arrays` on the threads that are set."""
    sizes = op.bind({array.name: arrays[array.name].shape for array in op.inputs}, attributes)
    layout, stage = op.layout("default"), op.algorithms["default"].stages[0]
    addresses = [arrays[array.name].ctypes.data for array in layout.arrays]
    block = np.array(addresses + layout.numbers(sizes, attributes), np.int64)
    nodes = np.array([[address, block.ctypes.data, 0, stage.tasks(sizes), 0]], np.int64)
    memory = block, dict(arrays)

    def call() -> None:
        assert memory  # what the addresses point to lives as long as this function
        runtime.run(nodes, get_num_threads())

    return call
