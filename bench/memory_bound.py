"""Operations that memory limits, as a part of the bandwidth of a copy.

python -m bench.memory_bound [--repeats 9] [--threads 2] [--patience 5] [OP ...]

Every operation is timed in turn with the fastest copy of `bench.limits`. The large arrays have 64 MB, beyond the
caches. Counted is what must move: inputs and outputs once, updates twice, and inputs twice of which a sum is needed
before the first result (batch norm).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from nnfast.kernels import OPS, get_num_threads, set_num_threads
from nnfast.kernels.launch import bind, run

from .limits import COPIED, best, copies
from .memory import aligned
from .timing import disturbed, in_turn, median, turn
from .workloads import ATTRIBUTES

TARGET = 0.8
IMAGES, ROWS, LOGITS = (128, 32, 32, 128), (128 * 32 * 32, 128), (16384, 1024)
POOLED = (128, 16, 16, 128)
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
"""Operations; those "smoothed" have a tenth of label smoothing."""
READ_TWICE = {"batch_norm_forward": {"x"}, "batch_norm_backward": {"dy", "x"}}
"""Arrays beyond the caches of which a sum is needed before the first element of the result."""


def _shape(op: str, name: str) -> tuple[int, ...]:
    """The shape of an array of rank above 1."""
    module = OPS[op].module
    if module == "loss":
        return LOGITS
    if module in ("norm", "affine"):
        return ROWS
    small = name in ("dy", "argmax") and module == "pool"
    return (128, 1, 1, 128) if small and op.startswith("adaptive") else POOLED if small else IMAGES


def workload(op: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Inputs and updates, positive numbers, and attributes of one large call."""
    rng = np.random.default_rng(0)
    vector = {"loss": LOGITS[0], "norm": ROWS[1], "affine": ROWS[1]}.get(OPS[op].module, COPIED)
    arrays = {}
    for array in OPS[op].inputs + OPS[op].updates:
        length = {"momentum": 1, "lr": 1, "step": 1, "normaliser": 1, "seed": 2, "weight": 0, "grad_avg": 0}
        shape = (
            (length.get(array.name, vector),) if array.elementwise or len(array.dims) == 1 else _shape(op, array.name)
        )
        if op == "cross_entropy_backward" and array.name == "dy":
            shape = (1,)
        value = aligned(shape, {"float": np.float32, "double": np.float64}.get(array.dtype, array.dtype))
        if array.dtype in ("float", "double"):
            value[...] = rng.random(shape, np.float32) + np.float32(0.1)
        elif array.name == "target":
            value[...] = rng.integers(0, LOGITS[1], shape)
        elif array.name == "step":
            value[...] = 3
        arrays[array.name] = value
    attributes = dict(ATTRIBUTES.get(op, {}))
    if "size" in attributes or op.startswith(("max_pool2d_b", "avg_pool2d_b", "adaptive_avg_pool2d_b")):
        attributes["size"] = IMAGES[1:3]
    return arrays, attributes


def moved(op: str, arrays: Mapping[str, np.ndarray]) -> int:
    """The bytes that must move between memory and the processor."""
    twice = READ_TWICE.get(op, set()) | {array.name for array in OPS[op].updates}
    return sum(array.nbytes * (2 if name in twice else 1) for name, array in arrays.items())


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
    met, names = 0, [name for name in NAMES if not arguments.ops or name in arguments.ops]
    for name in names:
        op, *smoothed = name.split()
        arrays, attributes = workload(op)
        if "label_smoothing" in attributes and not smoothed:
            attributes["label_smoothing"] = 0.0
        sizes = bind(op, arrays, attributes).sizes
        outputs = {array.name: aligned(array.shape(sizes), {"float": np.float32, "double": np.float64}.get(
            array.dtype, array.dtype)) for array in OPS[op].outputs}  # fmt: skip
        call = partial(run, op, arrays, attributes, outputs, "numba")
        call()
        own, copied = in_turn([partial(turn, call, 1), partial(turn, copy, 2)], arguments.repeats, arguments.patience)
        size, seconds = moved(op, arrays | outputs), median(own)
        rate, peak = size / seconds, 2 * 4 * COPIED / median(copied)
        unsure = disturbed(own) or disturbed(copied)
        met += rate >= TARGET * peak and not unsure
        mark = "?" if unsure else "yes" if rate >= TARGET * peak else "NO"
        print(f"{name:31} {seconds * 1e3:8.2f} {size / 1e6:6.0f} {rate / 1e9:6.1f} {peak / 1e9:9.1f} "
              f"{rate / peak:7.0%}  {mark}", flush=True)  # fmt: skip
    print(f"\n{TARGET:.0%} of the copy met: {met} of {len(names)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
