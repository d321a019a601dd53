"""What this machine can do: multiply-adds, copies, and how near its matrix products come.

python -m bench.limits [--repeats 9] [--threads 2] [--save [FILE]]

Peaks are the best of several runs, matrix products are medians.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
from nnfast.kernels import OPS, get_num_threads, set_num_threads
from nnfast.kernels.launch import run
from nnfast.kernels.limits import COPIED, multiply_adds

from . import limit_kernels as kernels
from .memory import aligned, aligned_copy
from .saved import Report, add_save_argument
from .timing import disturbed, in_turn, median, turn

MATRIX = 2048
PATIENCE = 2.0  # seconds to wait for a quiet machine


@dataclass(frozen=True)
class Limits:
    """Floating-point operations and bytes a second (read and written), and whether other processes took cores."""

    flops: float
    copy: float
    disturbed: bool


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Run on so many threads inside a ``with`` block."""
    before = get_num_threads()
    set_num_threads(count)
    try:
        yield
    finally:
        set_num_threads(before)


def copies() -> dict[str, Callable[[], None]]:
    """Several ways to copy 64 MB; the best of them is the copy bandwidth."""
    arrays = {"x": aligned((COPIED,)), "y": aligned((COPIED,))}
    arrays["x"][...] = 1
    return {
        "plain stores": kernels.bound(kernels.copy_loop, kernels.COPIES, arrays),
        "streaming stores": kernels.bound(kernels.copy_streaming, kernels.COPIES, arrays),
        "memcpy": kernels.bound(kernels.copy_memcpy, kernels.WHOLE_COPIES, arrays),
    }


def best(call: Callable[[], None], repeats: int, patience: float = PATIENCE) -> tuple[float, bool]:
    """The shortest of four calls in each of several turns, in seconds, and whether the turns were disturbed."""
    [turns] = in_turn([lambda: turn(call, 4)], repeats, patience)
    return min(seconds for one in turns for seconds in one.seconds), disturbed(turns)


def measure(repeats: int = 5, patience: float = PATIENCE) -> Limits:
    """The limits on the threads that are set; each waits for a quiet machine for `patience` seconds."""
    call, flops = multiply_adds()
    multiplied, unsure = best(call, repeats, patience)
    copied = [best(copy, repeats, patience) for copy in copies().values()]
    seconds, also_unsure = min(copied)
    return Limits(flops / multiplied, 2 * 4 * COPIED / seconds, unsure or also_unsure)


def _line(name: str, amount: float, unit: str, call: Callable[[], None], repeats: int) -> str:
    seconds, unsure = best(call, repeats)
    return f"{name}: {amount / seconds / 1e9:.1f} {unit}{' (disturbed)' if unsure else ''}"


def matrix_products(repeats: int) -> dict[str, tuple[float, bool]]:
    """The part of the multiply-add peak that each matrix product reaches, timed in turn, and if that was disturbed."""
    rng = np.random.default_rng(0)
    peak_call, peak_flops = multiply_adds()
    found = {}
    for name in ("linear_forward", "linear_backward_data", "linear_backward_weight"):
        op = OPS[name]
        inputs = {array.name: aligned_copy(rng.standard_normal((MATRIX, MATRIX), np.float32)) for array in op.inputs}
        if "b" in inputs:
            inputs["b"] = np.empty(0, np.float32)
        outputs = {array.name: aligned((MATRIX, MATRIX)) for array in op.outputs}
        call = partial(run, name, inputs, {}, outputs, "numba")
        peaks, products = in_turn([lambda: turn(peak_call, 8), partial(turn, call, 1)], repeats, PATIENCE)
        peak = peak_flops / min(seconds for one in peaks for seconds in one.seconds)
        found[name] = 2 * MATRIX**3 / median(products) / peak, disturbed(peaks) or disturbed(products)
    return found


def main() -> int:
    """Print the limits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=get_num_threads())
    add_save_argument(parser, "limits.txt")
    arguments = parser.parse_args()
    set_num_threads(arguments.threads)
    repeats, report = arguments.repeats, Report("bench.limits")
    call, flops = multiply_adds()
    with threads(1):
        report.say(_line("multiply-add, 1 thread", flops, "GFLOP/s", call, repeats))
    report.say(_line(f"multiply-add, {arguments.threads} threads", flops, "GFLOP/s", call, repeats))
    for name, copy in copies().items():
        report.say(_line(f"copy of {4 * COPIED >> 20} MB, {name}", 2 * 4 * COPIED, "GB/s", copy, repeats))
    arrays = {name: aligned((COPIED,)) for name in "aby"}
    triad = kernels.bound(kernels.triad, kernels.TRIADS, arrays)
    report.say(_line("triad, plain stores", 3 * 4 * COPIED, "GB/s", triad, repeats))
    for name, (part, unsure) in matrix_products(repeats).items():
        report.say(f"{name} {MATRIX}^3: {part:.0%} of the multiply-add peak (target 85 %)"
                   f"{' (disturbed)' if unsure else ''}")  # fmt: skip
    if arguments.save is not None:
        report.save(arguments.save or "limits")
    return 0


if __name__ == "__main__":
    sys.exit(main())
