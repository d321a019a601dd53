"""How long a user waits from `python` to the end of the first training step, kernels cached and nothing cached.

python -m bench.startup [--model mnist_cnn] [--batch 128] [--threads 2] [--runs 5] [--eager]
                        [--save [FILE]]

Each run is a new process that imports nnfast, builds the network, and takes one step: forward, backward and Adam. Its
time ends when the step has ended, whatever Python does until it exits. *Cached*: the folder of kernels is what an
earlier process left. *Nothing cached*: that folder is empty; Python's own bytecode and the system's file cache are warm
in both. These two wait for Numba, as a step with `nnfast.compile` does. *Tiered*: nothing cached, through a `Trainer`
that no seed is given to, which begins on Cython's kernels.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

from .models import NAMES
from .saved import Report, add_save_argument
from .worker import ROOT

TARGETS = {"cached": 1.5, "nothing cached": 20.0, "tiered": 1.5}
SCRIPT = """import sys
from bench.own_steps import training_step
model, batch, threads, variant = sys.argv[1:]
float(training_step(model, int(batch), int(threads), variant)())
print("done", flush=True)"""

TIERED = """import sys
import numpy as np
import nnfast
from bench.models import CLASSES, build
from nnfast import data, functional, nn, optim, train
model, batch, threads, variant = sys.argv[1:]
nnfast.set_num_threads(int(threads))
network, shape = build(model, nn, functional)
images = data.ArrayDataset(np.zeros((int(batch), *shape), np.float32), np.arange(int(batch)) % CLASSES)

class Stop(train.Callback):
    def on_train_batch_end(self, batch, logs):
        print("done", flush=True)
        self.trainer.interrupt()

trainer = train.Trainer(network, optim.Adam(network.parameters(), 1e-3), nn.CrossEntropyLoss(), callbacks=[Stop()],
                        compile=variant == "compile")
try:
    trainer.fit(data.DataLoader(images, int(batch), shuffle=True))
except train.TrainingInterrupted:
    pass"""


def first_step(command: list[str], cache: str) -> float:
    """Seconds from the start of a process to the line that it prints after its step.

    Raises
    ------
    SystemExit : it failed; its own message stands above.
    """
    environment = os.environ | {"NNFAST_CACHE_DIR": cache}
    start = time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.perf_counter() - start
    if line != b"done\n":
        raise SystemExit(f"the training step failed with status {process.returncode}")
    return seconds


def measure(arguments: list[str], runs: int) -> dict[str, list[float]]:
    """The seconds of `runs` processes in each case; cached is what the last one that waited for Numba left."""
    found: dict[str, list[float]] = {case: [] for case in TARGETS}
    waits, tiered = ([sys.executable, "-c", script, *arguments] for script in (SCRIPT, TIERED))
    for run in range(runs):
        with tempfile.TemporaryDirectory(prefix="nnfast-bench-") as cache:
            found["tiered"].append(first_step(tiered, cache))
        with tempfile.TemporaryDirectory(prefix="nnfast-bench-") as cache:
            found["nothing cached"].append(first_step(waits, cache))
            if run == runs - 1:
                found["cached"] = [first_step(waits, cache) for _ in range(runs)]
    return found


def line(case: str, seconds: list[float]) -> str:
    """The runs of a case as text."""
    middle = statistics.median(seconds)
    met = "met" if middle <= TARGETS[case] else "NOT met"
    return (f"{case:15} {middle:7.2f} s, from {min(seconds):.2f} to {max(seconds):.2f} s in {len(seconds)} runs "
            f"(target {TARGETS[case]} s: {met})")  # fmt: skip


def main() -> int:
    """Print all cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=NAMES, default="mnist_cnn")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5, help="new processes of each case")
    parser.add_argument("--eager", action="store_true", help="without nnfast.compile")
    add_save_argument(parser, "startup.txt")
    arguments = parser.parse_args()
    report = Report("bench.startup")
    variant = "eager" if arguments.eager else "compile"
    given = [arguments.model, str(arguments.batch), str(arguments.threads), variant]
    for case, seconds in measure(given, arguments.runs).items():
        report.say(line(case, seconds))
    if arguments.save is not None:
        report.save(arguments.save or "startup")
    return 0


if __name__ == "__main__":
    sys.exit(main())
