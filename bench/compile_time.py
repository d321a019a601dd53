"""How long a ResNet-18 training step waits for its kernels: compiled from nothing, and read from the cache.

python -m bench.compile_time [--batch 8] [--algorithm auto] [--save [FILE]]

Each case is a new process; the first has an empty cache folder, the second has what the first left. Printed are

* kernels: the seconds spent to get the addresses of all kernels, i.e. to import Numba or only its loader, to compile or
  to read, to load; beside it the processor's time, which a busy machine leaves as it is;
* first step: how much longer the first step took than the median of the three after it. Besides the kernels that is
  the choice of algorithms, which measures every convolution where nothing is remembered, and memory touched first.

Imports of nnfast and the building of the network are printed on their own and are in neither.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from .saved import Report, add_save_argument

ROOT = Path(__file__).parents[1]
TARGETS = {"cold": ("kernels", 20.0), "cached": ("first step", 0.5)}
SLOWEST = 5


def _steps(batch: int, algorithm: str) -> dict[str, Any]:
    """Train in this process and return what took how long."""
    start = time.perf_counter()
    from nnfast.kernels import backends
    from nnfast.kernels.choice import set_conv_algorithm

    import nnfast
    from nnfast import functional as F
    from nnfast import models, optim

    imported = time.perf_counter()
    set_conv_algorithm(algorithm)
    by_kernel: dict[str, float] = {}
    processor: list[float] = []
    original = backends._numba_address

    def timed(op: Any, algorithm: str, stage: str) -> int:
        before, before_processor = time.perf_counter(), time.thread_time()
        address = original(op, algorithm, stage)
        processor.append(time.thread_time() - before_processor)
        by_kernel[f"{algorithm} {stage}"] = time.perf_counter() - before
        return address

    backends._numba_address = timed
    model = models.create("resnet18")
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x, y = nnfast.randn(batch, 3, 32, 32), nnfast.randint(0, 10, (batch,))
    built = time.perf_counter()
    before = sum(by_kernel.values())
    steps = []
    for _ in range(4):
        first = time.perf_counter()
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        steps.append(time.perf_counter() - first)
    from nnfast.kernels.cache import fingerprint

    return {
        "import": imported - start, "build": built - imported,
        "kernels": sum(by_kernel.values()), "processor": sum(processor), "before": before,
        "count": len(by_kernel), "first step": steps[0] - statistics.median(steps[1:]),
        "step": statistics.median(steps[1:]), "by_kernel": by_kernel, "fingerprint": fingerprint(),
    }  # fmt: skip


def _in_new_process(arguments: argparse.Namespace, cache: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.compile_time", "--batch", str(arguments.batch),
               "--algorithm", arguments.algorithm, "--measure"]  # fmt: skip
    environment = os.environ | {"NNFAST_CACHE_DIR": cache}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def main() -> int:
    """Print both cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8, help="images; 8 are enough for algorithms to be measured")
    parser.add_argument("--algorithm", default="auto", help="as nnfast.set_conv_algorithm")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    add_save_argument(parser, "compile_time.txt")
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(_steps(arguments.batch, arguments.algorithm)))
        return 0
    report, fingerprints = Report("bench.compile_time"), set()
    with tempfile.TemporaryDirectory(prefix="nnfast-bench-") as cache:
        for case in ("cold", "cached"):
            found = _in_new_process(arguments, cache)
            report.say(f"{case}: {found['count']} kernels {found['kernels']:.2f} s (processor "
                  f"{found['processor']:.2f} s), first step {found['first step']:.2f} s "
                  f"longer than the others' {found['step']:.2f} s; import {found['import']:.2f} s, "
                  f"network {found['build']:.2f} s ({found['before']:.2f} s of it kernels)")  # fmt: skip
            fingerprints.add(found["fingerprint"])
            key, target = TARGETS[case]
            report.say(f"  target: {key} within {target} s: {'met' if found[key] <= target else 'NOT met'}")
            if case == "cold":
                slowest = sorted(found["by_kernel"].items(), key=lambda item: -item[1])[:SLOWEST]
                report.say("  slowest: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in slowest))
    if len(fingerprints) > 1:
        print("the sources of the kernels were edited between the two: the second found nothing in the cache")
        return 1
    if arguments.save is not None:
        report.save(arguments.save or "compile_time")
    return 0


if __name__ == "__main__":
    sys.exit(main())
