"""Runs random cases of one backend in guarded memory: ``python random_shapes.py numba --count 40``.

Every kernel (an operation and an algorithm) gets so many cases. All arrays, also workspace and scratch, end or begin at
a page that may not be touched, inputs may not be written, and results are judged by `tolerance.error_bounds`. A kernel
that touches what is not its own dies of a signal; the last line printed names the case. To repeat one case:
``python random_shapes.py numba --only conv2d_forward/direct --first SEED --count 1``.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from guarded import Guarded
from judging import told_outputs
from nnfast.kernels.cases import Case
from nnfast.kernels.launch import run
from nnfast.kernels.ops import OPS
from nnfast.kernels.threads import set_num_threads
from nnfast.kernels.tolerance import error_bounds, worst_error
from random_cases import describe, draw

ENOUGH = 5
"""Failures after which a kernel is left alone."""


def kernels(backend: str) -> list[tuple[str, str]]:
    """(operation, algorithm) of everything that the backend computes."""
    return [(op.name, name) for op in OPS.values() for name, item in op.algorithms.items() if backend in item.backends]


def judge(case: Case, backend: str, algorithm: str, side: str) -> None:
    """A case in guarded memory gives results within their bounds, and leaves all other memory alone."""
    op = OPS[case.op]
    kept: dict[str, Guarded] = {}

    def allocate(name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        kept[name] = Guarded(shape, dtype, side)
        kept[name].array.reshape(-1).view(np.uint8)[...] = 0xFF
        return kept[name].array

    arrays = {}
    for name, value in case.arrays().items():
        arrays[name] = allocate(name, value.shape, value.dtype)
        arrays[name][...] = value
    for array in op.inputs:
        kept[array.name].forbid_writing()
    actual = run(case.op, arrays, case.attributes, backend=backend, allocate=allocate, algorithm=algorithm)
    actual |= {array.name: arrays[array.name] for array in op.updates}
    for name, memory in kept.items():
        memory.check(name)
    exact = case.arrays(np.float64)
    told = told_outputs(case, np.float64)
    expected = run(case.op, exact, case.attributes, told, backend="reference")
    expected |= {array.name: exact[array.name] for array in op.updates}
    bounds = error_bounds(case.op, case.arrays(np.float64), case.attributes, expected, algorithm=algorithm)
    for name, wanted in expected.items():
        ratio = worst_error(actual[name], wanted, bounds[name])
        assert ratio <= 1.0, f"{name} is wrong by {ratio:.3g} times its bound"


def main(backend: str, count: int, first: int, only: str | None, skip: int) -> int:
    """Run the cases; 1 if one of them failed, else 0."""
    position = ran = failed = 0
    for op, algorithm in kernels(backend):
        failures = 0
        for seed in range(first, first + count):
            position += 1
            if position <= skip or failures >= ENOUGH or only not in (None, f"{op}/{algorithm}"):
                continue
            print("shape", position, f"{op}/{algorithm} --first {seed}", flush=True)
            set_num_threads(1 + seed % 2)
            case = None
            try:
                case = draw(op, algorithm, seed)
                judge(case, backend, algorithm, side="begin" if seed // 2 % 2 else "end")
                ran += 1
            except Exception as error:
                failures, failed = failures + 1, 1
                place = f"{op}/{algorithm} --first {seed}: {describe(case) if case else 'not drawn'}"
                print("failed", place, repr(error), flush=True)
    print("done", ran, flush=True)
    return failed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backend", choices=["numba", "cython"])
    parser.add_argument("--count", type=int, default=40, help="cases of each kernel")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--only", help="one kernel, e.g. conv2d_forward/direct")
    parser.add_argument("--skip", type=int, default=0, help="cases to pass over; used after a crash")
    sys.exit(main(**vars(parser.parse_args())))
