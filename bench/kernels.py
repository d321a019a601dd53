"""Error and time of every operation in every backend, as one table.

python -m bench.kernels [--repeats 15] [--threads 2] [OP ...]

Backends are timed in turn, call by call, so that a busy machine slows all of them; figures are medians. Outputs are
used again, as a compiled training step does. Every result is checked against the float64 reference first.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

from nnfast.kernels import BACKENDS, compare, get_num_threads, set_num_threads
from nnfast.kernels.launch import run

from .workloads import names, workload


def milliseconds(name: str, repeats: int) -> dict[str, float]:
    """The median time of a call by backend."""
    op = name.partition(" ")[0]
    arrays, attributes = workload(name)
    outputs = {backend: run(op, arrays, attributes, backend=backend) for backend in BACKENDS}
    seconds: dict[str, list[float]] = {backend: [] for backend in BACKENDS}
    for _ in range(repeats):
        for backend in BACKENDS:
            start = time.perf_counter()
            run(op, arrays, attributes, outputs[backend], backend)
            seconds[backend].append(time.perf_counter() - start)
    return {backend: statistics.median(times) * 1e3 for backend, times in seconds.items()}


def largest_error(name: str, backend: str) -> tuple[float, bool]:
    """The largest absolute error of any output, and whether all are within their bounds."""
    arrays, attributes = workload(name)
    found = compare(name.partition(" ")[0], arrays, attributes, backend)
    return max(item.max_abs for item in found), all(item.holds for item in found)


def main() -> int:
    """Print the table; 1 if a result is not what it must be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ops", nargs="*", metavar="OP", help="operations (default: all)")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=get_num_threads())
    arguments = parser.parse_args()
    set_num_threads(arguments.threads)
    print(f"{arguments.threads} threads (NumPy's BLAS on one); medians of {arguments.repeats}\n")
    print("| operation | max abs error: numba | cython | NumPy ms | Numba ms | Cython ms | Numba x | Cython x |")
    print("|---|---|---|---|---|---|---|---|")
    all_hold = True
    for name in names():
        if arguments.ops and name.partition(" ")[0] not in arguments.ops:
            continue
        errors, holds = zip(*(largest_error(name, backend) for backend in ("numba", "cython")), strict=True)
        times = milliseconds(name, arguments.repeats)
        numba, cython, numpy = (times[backend] for backend in BACKENDS)
        marks = ["" if held else " (too large)" for held in holds]
        print(f"| {name} | {errors[0]:.1e}{marks[0]} | {errors[1]:.1e}{marks[1]} | {numpy:.3f} | {numba:.3f} "
              f"| {cython:.3f} | {numpy / numba:.1f} | {numpy / cython:.1f} |", flush=True)  # fmt: skip
        all_hold &= all(holds)
    return 0 if all_hold else 1


if __name__ == "__main__":
    sys.exit(main())
