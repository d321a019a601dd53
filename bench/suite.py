"""Measuring one workload: every variant is checked against the reference, then all of them are timed in turn.

A round is a turn of each variant, NumPy's among them, so that a machine which is slow for a while is slow for all of
them. Ratios are taken round by round.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from nnfast.kernels import get_num_threads
from nnfast.kernels.launch import release_scratch, single_threaded_blas

from .calls import Call, Prepared
from .rows import Row, best, slower
from .slower import why_slower
from .timing import Turn, calls_for, median, turn
from .workload import Workload

LONG = 0.05  # seconds of a call from which on nothing has to become warm
JUDGED = 3  # times that a workload is measured before a kernel is said to be slower than NumPy


@dataclass(frozen=True)
class Settings:
    """How long to measure.

    Parameters
    ----------
    warm : seconds of calls before a turn: threads wake, caches fill. Cores are busy all the time.
    seconds : for each workload, about.
    fewest, most : rounds.
    patience : seconds to wait for rounds in which the machine does nothing else.
    """

    warm: float
    seconds: float
    fewest: int
    most: int
    patience: float


QUICK = Settings(warm=0.002, seconds=0.15, fewest=6, most=9, patience=0.0)
FULL = Settings(warm=0.005, seconds=2.0, fewest=7, most=25, patience=3.0)


def measure(workload: Workload, settings: Settings, blas: str) -> list[Row]:
    """Check and time every variant of a workload.

    Parameters
    ----------
    workload : what is computed.
    settings : how long.
    blas : what rows say of NumPy's BLAS.

    Returns
    -------
    A row for each variant, NumPy's first. One with a wrong result, or without a kernel, has a note and no times.
    """
    prepared = Prepared(workload)
    rows, calls = [], []
    for backend, algorithm in workload.variants():
        threads = 1 if backend == "reference" else get_num_threads()
        row = Row(workload.op, workload.label, backend, algorithm, threads, blas, workload.flops, workload.bytes)
        rows.append(row)
        call = _checked(prepared, row)
        if call is not None:
            calls.append((row, call))
    timed = [row for row, _ in calls]
    if not rows[0].note:
        always: set[str] = set()
        for attempt in range(JUDGED):
            _time(calls, settings)
            always = slower(timed) & always if attempt else slower(timed)
            slow = [row for row in best(timed).values() if row.backend in always]
            if all(why_slower(row) for row in slow):
                break
        for row in slow:
            if not why_slower(row):
                row.note = f"slower than NumPy in {JUDGED} measurements"
    release_scratch()
    return rows


def _checked(prepared: Prepared, row: Row) -> Call | None:
    """The row's call, if it is there and its result is right; else the row says what is wrong."""
    try:
        call = prepared.call(row.backend, row.algorithm)
        shares = prepared.share_of_bound(call, row.algorithm)
    except (ImportError, NotImplementedError) as error:
        row.note = f"not available: {error}"
        return None
    worst = max(shares, key=shares.__getitem__)
    row.error = shares[worst]
    if row.error <= 1:
        return call
    row.note = f"wrong result: {worst} is off by {row.error:.3g} times what it may be"
    return None


def _time(calls: Sequence[tuple[Row, Call]], settings: Settings) -> None:
    with single_threaded_blas():
        sides: list[Callable[[], Turn]] = []
        spent = 0.0
        for _, call in calls:
            call()
            start = time.perf_counter()
            call()
            seconds = time.perf_counter() - start
            count = calls_for(seconds)
            warm = settings.warm if seconds < LONG else 0.0
            sides.append(partial(turn, call, count, warm))
            spent += (max(warm, seconds) if warm else 0.0) + count * seconds
        repeats = max(settings.fewest, min(settings.most, int(settings.seconds / spent)))
        rounds = take_rounds(sides, repeats, settings.patience)
    for number, (row, _) in enumerate(calls):
        row.seconds = [median([one[number]]) for one in rounds]
        row.reference = [median([one[0]]) for one in rounds]
        row.disturbed = 2 * sum(one[number].disturbed or one[0].disturbed for one in rounds) >= len(rounds)


def take_rounds(sides: Sequence[Callable[[], Turn]], repeats: int, patience: float) -> list[list[Turn]]:
    """So many rounds of a turn of each side, every other round backwards.

    Rounds in which threads waited for a core are tried again for `patience` seconds; if the machine does not become
    quiet, those are kept that waited least. What is kept is a whole round, so that its turns stay comparable.
    """
    rounds: list[list[Turn]] = []
    deadline = None
    while True:
        order = range(len(sides)) if len(rounds) % 2 == 0 else range(len(sides) - 1, -1, -1)
        taken = {number: sides[number]() for number in order}
        rounds.append([taken[number] for number in range(len(sides))])
        if len(rounds) < repeats:
            continue
        deadline = deadline or time.perf_counter() + patience
        quiet = sum(not any(one.disturbed for one in turns) for turns in rounds)
        if quiet >= repeats or time.perf_counter() >= deadline:
            break
    return sorted(rounds, key=lambda turns: max(one.waited if one.disturbed else 0 for one in turns))[:repeats]
