"""Training steps of several libraries, each in a process of its own, timed in turn. Imports none of them."""

from __future__ import annotations

import ctypes.util
import math
import os
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .peer_process import ALLOCATOR
from .timing import WAITED, Turn, disturbed, in_turn, median, quartiles
from .worker import PeerError, Worker

TURN = 0.05  # seconds that a turn shall take at least: short steps are timed more often
LONGEST = 50  # steps of a turn
JEMALLOC = "background_thread:true,metadata_thp:auto,dirty_decay_ms:-1,muzzy_decay_ms:-1"

CROWDED = 0.5
"""What TensorFlow's threads may wait: they are more than the cores, and wait for each other on an idle machine too, 10
to 30 % of the time. Whether the machine was busy is seen by those who take turns with it."""


@dataclass(frozen=True)
class Format:
    """A way to train: a library, how it is told to compute, and how its process takes memory."""

    name: str
    title: str
    library: str
    variant: str = ""
    allocator: str = ""
    peer: bool = True

    @property
    def compiles(self) -> bool:
        """Whether the first process on a machine leaves on disk what it compiled, for all that come after."""
        return self.library == "nnfast" or self.variant == "compile"

    @property
    def module(self) -> str:
        """What makes the training step."""
        return {"torch": "torch_steps", "tensorflow": "keras_steps", "nnfast": "own_steps"}[self.library]


FORMATS = (
    Format("nchw", "NCHW", "torch", "nchw"),
    Format("channels_last", "ch_last", "torch", "channels_last"),
    Format("tuned", "tuned", "torch", "channels_last", "glibc"),
    Format("jemalloc", "jemalloc", "torch", "channels_last", "jemalloc"),
    Format("compile", "compile", "torch", "compile"),
    Format("tensorflow", "Keras", "tensorflow"),
    Format("bf16", "bf16", "torch", "bf16", peer=False),
    Format("nnfast", "nnfast", "nnfast", "compile", peer=False),
)


def jemalloc() -> str | None:
    """What ``LD_PRELOAD`` needs to load jemalloc, if it is installed: ``$NNFAST_JEMALLOC`` or the system's."""
    return os.environ.get("NNFAST_JEMALLOC") or ctypes.util.find_library("jemalloc")


def environment(form: Format, threads: int) -> dict[str, str]:
    """What the process of a format finds in its environment."""
    allocators = {
        "": {},
        "glibc": {"GLIBC_TUNABLES": ALLOCATOR},
        "jemalloc": {"LD_PRELOAD": jemalloc() or "", "MALLOC_CONF": JEMALLOC},
    }
    return {"OMP_NUM_THREADS": str(threads), **allocators[form.allocator]}


@dataclass(frozen=True)
class Case:
    """A network that is trained in one format; `size` is the height and width of its images, 0 for its own."""

    form: Format
    model: str
    batch: int
    threads: int
    size: int = 0

    def worker(self, pythons: Mapping[str, str], limit: float) -> Worker:
        """A process for it, not yet started."""
        command = [pythons[self.form.library], "-m", "bench.training_process", self.form.module, self.model,
                   str(self.batch), str(self.threads), self.form.variant, str(self.size)]  # fmt: skip
        return Worker(command, limit, environment(self.form, self.threads))


@dataclass
class Result:
    """What was found out about a case, as far as it was reached."""

    case: Case
    version: str = ""
    first: float = math.nan
    memory: float = math.nan
    turns: list[Turn] = field(default_factory=list)
    note: str = ""

    @property
    def seconds(self) -> float:
        """Of a step, the median; NaN if a step failed."""
        return math.nan if self.note else median(self.turns)

    @property
    def fastest(self) -> float:
        """The seconds of the shortest step; NaN if a step failed."""
        return math.nan if self.note else min(second for turn in self.turns for second in turn.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Of the seconds of all steps."""
        return (math.nan, math.nan) if self.note else quartiles(self.turns)

    @property
    def waited(self) -> float:
        """What part of their time threads waited for a core, in the median turn."""
        return statistics.median([turn.waited for turn in self.turns] or [math.nan])

    @property
    def disturbed(self) -> bool:
        """Whether other processes took cores, so that the times say nothing."""
        return not self.note and disturbed(self.turns)


class _Run:
    """A case, its process, and what was found so far. The first failure is the last request."""

    def __init__(self, case: Case, worker: Worker) -> None:
        self.result, self.worker = Result(case), worker

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The process's answer, or nothing once it has failed."""
        if self.result.note:
            return {}
        try:
            return self.worker.ask(request)
        except PeerError as error:
            self.result.note = str(error)
            self.worker.close()
            return {}

    def prepare(self) -> None:
        """Let a process that ends take a step, if that leaves something for the one that is measured."""
        if self.result.case.form.compiles:
            self.ask({"do": "first"})
            self.worker.close()

    def first(self) -> None:
        """Start the process and take the first step."""
        self.result.first = self.ask({"do": "first"}).get("seconds", math.nan)
        self.result.version = self.worker.hello.get("version", "")

    def time(self, calls: int) -> Turn:
        """A turn, without times once the process has failed."""
        answer = self.ask({"do": "time", "calls": calls})
        tolerated = CROWDED if self.result.case.form.library == "tensorflow" else WAITED
        return Turn(answer.get("seconds", []), answer.get("waited", 0.0), tolerated)

    def end(self) -> None:
        """One more step, which says whether all went well, and what memory it took."""
        answer = self.ask({"do": "end"})
        self.result.memory = answer.get("memory", math.nan)
        if not math.isfinite(answer.get("loss", 0.0)):
            self.result.note = f"the loss is {answer['loss']}"
        self.worker.close()


def steps_per_turn(trials: Iterable[Turn], steps: int) -> int:
    """How many steps every library takes in a turn: `steps`, more if those of the slowest are short."""
    slowest = max((second for turn in trials for second in turn.seconds), default=1.0)
    return max(steps, min(LONGEST, math.ceil(TURN / slowest)))


def measure(workers: Sequence[tuple[Case, Worker]], rounds: int, steps: int, patience: float) -> list[Result]:
    """Time all cases in turn, for `rounds` rounds of `steps` steps or more; their processes live until the end.

    A process that fails or takes too long has a note and no times; the others are timed without it.
    """
    runs = [_Run(case, worker) for case, worker in workers]
    try:
        for run in runs:
            run.prepare()
        for run in runs:
            run.first()
        count = steps_per_turn([run.time(1) for run in runs], steps)
        sides: list[Callable[[], Turn]] = [lambda run=run: run.time(count) for run in runs]  # type: ignore[misc]
        for run, turns in zip(runs, in_turn(sides, rounds, patience), strict=True):
            run.result.turns = turns
        for run in runs:
            run.end()
    finally:
        for run in runs:
            run.worker.close()
    return [run.result for run in runs]
