"""One library's side of `bench.peers`: a training step of one network, in a process and an interpreter of its own.

python -m bench.training_process MODULE MODEL BATCH THREADS VARIANT SIZE

MODULE is `torch_steps`, `keras_steps` or `own_steps`; SIZE is the images' height and width, 0 for the network's own.
The requests are ``first`` (the first step), ``time`` (a turn of steps) and ``end`` (the loss after one more step, and
the peak of the process's memory).
"""

from __future__ import annotations

import importlib
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.timing import turn
from bench.worker import serve

Step = Callable[[], Any]


def peak_memory() -> int:
    """The largest resident size of this process so far, in bytes.

    Linux's ``ru_maxrss`` would do if it did not start with that of the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS counts bytes


def _answer(request: dict[str, Any], step: Step) -> dict[str, Any]:
    if request["do"] == "time":
        return asdict(turn(step, request["calls"]))
    start = time.perf_counter()
    loss = float(step())
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "loss": loss, "memory": peak_memory()}


def main() -> None:
    """Answer until the input ends."""
    module, model, batch, threads, variant, size = sys.argv[1:]
    made: list[Step] = []

    def hello() -> dict[str, Any]:
        library = importlib.import_module(f"bench.{module}")
        made.append(library.training_step(model, int(batch), int(threads), variant, int(size)))
        return {"version": library.VERSION}

    serve(hello, lambda request: _answer(request, made[0]))


if __name__ == "__main__":
    main()
