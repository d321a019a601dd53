"""How two libraries are timed side by side. Imports neither of them."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

WAITED = 0.05  # of a turn's time: what threads may have waited for a core in one that counts as undisturbed
WARM = 0.03  # seconds of calls before those that are timed: processors take as long to reach their speed


@dataclass(frozen=True)
class Turn:
    """The seconds of some calls in a row, and what part of the turn threads of the process waited for a core."""

    seconds: list[float]
    waited: float
    tolerated: float = WAITED

    @property
    def disturbed(self) -> bool:
        """Whether other processes took cores: libraries suffer from that very differently."""
        return self.waited > self.tolerated


def seconds_waited() -> float:
    """How long threads of this process have been ready to run without a core, by Linux's count; 0 elsewhere."""
    nanoseconds = 0
    for file in Path("/proc/self/task").glob("*/schedstat"):
        with suppress(OSError):  # the thread has ended
            nanoseconds += int(file.read_text().split()[1])
    return nanoseconds / 1e9


def settle(limit: float = 0.2) -> None:
    """Wait until no other thread of this process is busy, for at most `limit` seconds.

    Thread pools spin for a while after their work, and would take a core from whoever is timed next.
    """
    deadline = time.perf_counter() + limit
    while time.perf_counter() < deadline:
        before = time.process_time()
        time.sleep(0.001)
        if time.process_time() - before < 0.0002:
            return


def turn(call: Callable[[], object], calls: int, warm_seconds: float = WARM) -> Turn:
    """Time `calls` calls in a row, after `warm_seconds` seconds of them; quiet afterwards.

    The other side has had the caches meanwhile, and the threads have slept.
    """
    warm = time.perf_counter() + warm_seconds
    while time.perf_counter() < warm:
        call()
    waited, begin = seconds_waited(), time.perf_counter()
    seconds = []
    for _ in range(calls):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    end = time.perf_counter()
    waited = (seconds_waited() - waited) / (end - begin)
    settle()
    return Turn(seconds, waited)


def median(turns: Sequence[Turn]) -> float:
    """The median of all calls, in seconds; NaN if there are none."""
    return statistics.median([seconds for one in turns for seconds in one.seconds] or [math.nan])


def quartiles(turns: Sequence[Turn]) -> tuple[float, float]:
    """The lower and the upper quartile of all calls, in seconds; NaN of fewer than two."""
    seconds = [one for each in turns for one in each.seconds]
    if len(seconds) < 2:
        return math.nan, math.nan
    low, _, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return low, high


def geometric_mean(ratios: Sequence[float]) -> float:
    """The geometric mean of positive numbers."""
    return math.exp(statistics.fmean(math.log(ratio) for ratio in ratios))


def disturbed(turns: Sequence[Turn]) -> bool:
    """Whether half of the turns or more are disturbed, so that their median says nothing."""
    return 2 * sum(one.disturbed for one in turns) >= len(turns)


def calls_for(seconds: float) -> int:
    """How many calls of so many seconds make a turn: several of short ones."""
    return max(1, min(8, round(0.004 / max(seconds, 1e-6))))


def in_turn(sides: Sequence[Callable[[], Turn]], repeats: int, patience: float) -> list[list[Turn]]:
    """For each side, `repeats` turns; the sides alternate.

    Disturbed turns are tried again for `patience` seconds; if the machine does not become quiet, those that
    waited least are kept. A turn is judged by what the system says and never by its time.
    """
    turns: list[list[Turn]] = [[] for _ in sides]
    deadline = math.inf
    while time.perf_counter() < deadline:
        for taken, side in zip(turns, sides, strict=True):
            taken.append(side())
        if len(turns[0]) == repeats:
            deadline = time.perf_counter() + patience
        if all(sum(not one.disturbed for one in taken) >= repeats for taken in turns):
            break
    return [sorted(taken, key=lambda one: one.waited if one.disturbed else 0)[:repeats] for taken in turns]
