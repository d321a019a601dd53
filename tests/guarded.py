"""Runs cases of one backend in guarded memory: ``python guarded.py numba end 0``; `test_memory.py` starts it.

Every array - inputs, outputs, workspace, each worker's scratch - ends (``end``) or begins (``begin``) exactly at a page
that may not be touched, and inputs may not be written: a kernel that does dies of a signal, and the last line printed
names its case. What lies between an array and the other end of its pages is filled, and checked afterwards.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import sys
import traceback

import numpy as np
from judging import algorithms
from nnfast.kernels.cases import Case, cases
from nnfast.kernels.launch import run
from nnfast.kernels.ops import OPS
from nnfast.kernels.threads import set_num_threads

PAGE = mmap.PAGESIZE
NONE, READ = 0, 1  # PROT_NONE, PROT_READ
FILL = 0xA5
libc = ctypes.CDLL(None, use_errno=True)
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def protect(address: int, length: int, protection: int) -> None:
    if libc.mprotect(address, length, protection):
        raise OSError(ctypes.get_errno(), "mprotect failed")


class Guarded:
    """An array with a forbidden page right behind it, or right before it."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, side: str) -> None:
        length = math.prod(shape) * np.dtype(dtype).itemsize
        self.pages = -(-length // PAGE) * PAGE
        self.mapping = mmap.mmap(-1, self.pages + 2 * PAGE)
        base = ctypes.addressof(ctypes.c_char.from_buffer(self.mapping))
        self.first = base + PAGE
        whole = np.frombuffer(self.mapping, np.uint8)[PAGE : PAGE + self.pages]
        whole[...] = FILL
        start = self.pages - length if side == "end" else 0
        self.array = whole[start : start + length].view(dtype).reshape(shape)
        if not length:  # NumPy may give an empty slice any address
            address = self.first
            interface = {"shape": shape, "typestr": np.dtype(dtype).str, "data": (address, False), "version": 3}
            self.array = np.asarray(type("Empty", (), {"__array_interface__": interface})())
        self.slack = whole[:start] if side == "end" else whole[length:]
        protect(base, PAGE, NONE)
        protect(self.first + self.pages, PAGE, NONE)

    def forbid_writing(self) -> None:
        if self.pages:
            protect(self.first, self.pages, READ)

    def check(self, name: str) -> None:
        assert (self.slack == FILL).all(), f"{name}: the memory beside it was written"


def run_guarded(case: Case, backend: str, side: str, algorithm: str) -> None:
    """A case in guarded memory gives the bits that it gives in ordinary memory."""
    op = OPS[case.op]
    kept: dict[str, Guarded] = {}

    def allocate(name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        kept[name] = Guarded(shape, dtype, side)
        kept[name].array.reshape(-1).view(np.uint8)[...] = 0xFF
        return kept[name].array

    ordinary = case.arrays()
    arrays = {}
    for name, value in ordinary.items():
        kept[name] = Guarded(value.shape, value.dtype, side)
        kept[name].array[...] = value
        arrays[name] = kept[name].array
    for array in op.inputs:
        kept[array.name].forbid_writing()
    results = run(case.op, arrays, case.attributes, backend=backend, allocate=allocate, algorithm=algorithm)
    for name, memory in kept.items():
        memory.check(name)
    expected = run(case.op, ordinary, case.attributes, backend=backend, algorithm=algorithm)
    for name in expected:
        assert results[name].tobytes() == expected[name].tobytes(), f"{name} differs from a run in ordinary memory"
    for array in op.updates:
        assert arrays[array.name].tobytes() == ordinary[array.name].tobytes(), f"{array.name} differs likewise"


def main(backend: str, side: str, start: int) -> None:
    set_num_threads(2)
    for position, case in enumerate(cases()):
        if position < start:
            continue
        for algorithm in algorithms(case, backend):
            print("case", position, algorithm, flush=True)
            try:
                run_guarded(case, backend, side, algorithm)
            except Exception:
                print("failed", position, algorithm, repr(traceback.format_exc(limit=-2)), flush=True)
    print("done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
