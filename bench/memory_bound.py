"""Operations that memory limits, as a part of the bandwidth of a copy.

python -m bench.memory_bound [--repeats 9] [--threads 2] [--patience 5] [OP ...]

Every operation is timed in turn with the fastest copy of `bench.limits`. The large arrays have 64 MB, beyond the
caches. Counted is what must move: inputs and outputs once, updates twice, and inputs twice of which a sum is needed
before the first result (batch norm).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial

from nnfast.kernels import get_num_threads, set_num_threads

from .calls import compiled
from .limits import COPIED, best, copies
from .timing import disturbed, in_turn, median, turn
from .values import inputs_of, outputs_of
from .workload import Workload
from .zoo import large

TARGET = 0.8
NAMES = (
    "max_pool2d_forward", "max_pool2d_backward", "avg_pool2d_forward", "avg_pool2d_backward",
    "adaptive_avg_pool2d_forward", "adaptive_avg_pool2d_backward",
    "batch_norm_forward", "batch_norm_inference", "batch_norm_backward",
    "channel_sums", "affine_forward", "affine_backward", "affine_gradient",
    "relu_forward", "relu_backward", "relu6_forward", "relu6_backward", "leaky_relu_forward", "leaky_relu_backward",
    "sigmoid_forward", "sigmoid_backward", "tanh_forward", "tanh_backward", "add", "mul", "scale", "dropout",
    "softmax_forward", "softmax_backward", "log_softmax_forward", "log_softmax_backward",
    "cross_entropy_forward", "cross_entropy_backward", "cross_entropy_forward smoothed",
    "cross_entropy_backward smoothed",
    "sgd_step", "adam_step", "adamw_step", "adagrad_step", "rmsprop_step", "adadelta_step",
)  # fmt: skip
"""Workloads of `zoo.large`; those "smoothed" have a tenth of label smoothing."""


def workloads(ops: Sequence[str] = ()) -> list[tuple[str, Workload]]:
    """The workloads of `NAMES`, or of those operations among them."""
    by_name = {item.op + (" smoothed" if "smoothed" in item.label else ""): item for item in large()}
    return [(name, by_name[name]) for name in NAMES if not ops or name.split()[0] in ops]


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ops", nargs="*", metavar="OP", help="operations (default: all)")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=get_num_threads())
    parser.add_argument("--patience", type=float, default=5, help="seconds a row waits for undisturbed turns")
    arguments = parser.parse_args()
    set_num_threads(arguments.threads)
    kind, copy = min(copies().items(), key=lambda item: best(item[1], 2)[0])
    print(f"{arguments.threads} threads; compared with a copy of 64 MB ({kind})\n")
    print(f"{'operation':31} {'ms':>8} {'MB':>6} {'GB/s':>6} {'copy GB/s':>9} {'of copy':>7}  met")
    met, chosen = 0, workloads(arguments.ops)
    for name, workload in chosen:
        memory = inputs_of(workload) | outputs_of(workload)
        call = compiled(workload, memory, "numba", workload.operation.ranked(workload.bound, "numba")[0])
        call()
        own, copied = in_turn([partial(turn, call, 1), partial(turn, copy, 2)], arguments.repeats, arguments.patience)
        size, seconds = workload.bytes, median(own)
        rate, peak = size / seconds, 2 * 4 * COPIED / median(copied)
        unsure = disturbed(own) or disturbed(copied)
        met += rate >= TARGET * peak and not unsure
        mark = "?" if unsure else "yes" if rate >= TARGET * peak else "NO"
        print(f"{name:31} {seconds * 1e3:8.2f} {size / 1e6:6.0f} {rate / 1e9:6.1f} {peak / 1e9:9.1f} "
              f"{rate / peak:7.0%}  {mark}", flush=True)  # fmt: skip
    print(f"\n{TARGET:.0%} of the copy met: {met} of {len(chosen)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
