"""What moved between two commits, measured now and in turn; or between two files of results, which says less."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from nnfast.kernels import get_num_threads

from . import versions
from .document import Document, read
from .moves import FEWEST, THRESHOLD, Move, confirmed, of_pairs, of_runs
from .report import number
from .timing import calls_for
from .worker import PeerError, Worker
from .workload import Workload

PAIRS = 15  # two of them may be far off on either side, an interval of 99 % stays


@dataclass(frozen=True)
class Entry:
    """A variant of a workload in both versions.

    Parameters
    ----------
    name : workload and variant.
    seconds : the first version's, the median.
    move : from the first version to the second; None where one of them has nothing to compare.
    note : why there is nothing.
    """

    name: str
    seconds: float = 0.0
    move: Move | None = None
    note: str = ""


# ---------------------------------------------------------------- commits


def commits(
    first: str, second: str, workloads: Sequence[Workload], tell: Callable[[str], None]
) -> list[Entry]:  # fmt: skip
    """Build two commits and measure them in turn, each in a process of its own.

    What moved is measured a second time in new processes: how memory lies differs from process to process, and two
    hundred comparisons at 99 % err twice. It counts if both times agree; the second one is told, for it was not chosen
    by its result.

    Parameters
    ----------
    first, second : names that git knows.
    workloads : what to measure.
    tell : called with lines that say what is going on.

    Raises
    ------
    ValueError : git does not know a name.
    RuntimeError : a commit cannot be built, or its process failed.
    """
    hashes = [versions.resolve(name) for name in (first, second)]
    tell(f"building {', '.join(dict.fromkeys(commit[:12] for commit in hashes))}")
    with versions.built(hashes) as packages:
        entries = _measured(packages, workloads, tell)
        moved = {entry.name for entry in entries if entry.move and entry.move.direction}
        if not moved:
            return entries
        tell(f"{len(moved)} of {len(entries)} seem to have moved; these once more, in new processes")
        again = [item for item in workloads if any(name.startswith(f"{item.name}, ") for name in moved)]
        second_time = {entry.name: entry for entry in _measured(packages, again, tell, moved)}
    return [_agreed(entry, second_time.get(entry.name)) for entry in entries]


def _agreed(entry: Entry, again: Entry | None) -> Entry:
    """The second measurement of what moved; where the two do not agree, nothing has."""
    if again is None or entry.move is None or again.move is None or confirmed(entry.move, again.move):
        return again or entry
    return Entry(entry.name, entry.seconds, Move(again.move.ratio, min(again.move.low, 1), max(again.move.high, 1)))


def _measured(
    packages: Sequence[Path], workloads: Sequence[Workload], tell: Callable[[str], None], only: Iterable[str] = ()
) -> list[Entry]:
    sides = [versions.worker(package, get_num_threads()) for package in packages]
    try:
        for side, package in zip(sides, packages, strict=True):
            side.ask({"do": "compile", "workloads": [_as_json(workload) for workload in workloads]})
            if not Path(side.hello["file"]).is_relative_to(package):
                raise RuntimeError(f"bench: {side.hello['file']} was imported instead of {package}")
        entries = []
        for workload in workloads:
            found = compared(sides, workload, set(only))
            entries += found
            tell(f"{workload.name}: " + ", ".join(number(entry.move.ratio) for entry in found if entry.move))
        return entries
    except PeerError as error:
        raise RuntimeError(f"bench: a version's process failed: {error}") from error
    finally:
        for side in sides:
            side.close()


def _as_json(workload: Workload) -> dict[str, Any]:
    return {"op": workload.op, "label": workload.label, "sizes": dict(workload.sizes),
            "attributes": dict(workload.attributes)}  # fmt: skip


def compared(sides: Sequence[Worker], workload: Workload, only: set[str]) -> list[Entry]:
    """Time a workload's variants that both versions have, of those in `only` if there are any."""
    try:
        loaded = [side.ask({"do": "load"} | _as_json(workload)) for side in sides]
    except PeerError as error:
        if any(side.process is None for side in sides):
            raise  # it ended
        return [Entry(workload.name, note=str(error))]
    entries = []
    for variant in dict.fromkeys(name for one in loaded for name in (*one["variants"], *one["notes"])):
        name = f"{workload.name}, {variant.removesuffix(' default')}"
        if only and name not in only:
            continue
        notes = [one["notes"].get(variant) or ("" if variant in one["variants"] else "is not there") for one in loaded]
        if any(notes):
            which = ("first", "second")
            told = "; ".join(f"in the {which[i]} version: {note}" for i, note in enumerate(notes) if note)
            entries.append(Entry(name, note=told))
            continue
        times = in_pairs([partial(_time, side, variant) for side in sides])
        entries.append(Entry(name, statistics.median(times[0]), of_pairs(*times)))
    return entries


def in_pairs(sides: Sequence[Callable[[int], float]]) -> list[list[float]]:
    """The times of two sides, which take `PAIRS` turns; who is first alternates."""
    count = calls_for(max(side(1) for side in sides))
    times: list[list[float]] = [[], []]
    for pair in range(PAIRS):
        for i in (0, 1) if pair % 2 == 0 else (1, 0):
            times[i].append(sides[i](count))
    return times


def _time(side: Worker, variant: str, count: int) -> float:
    return statistics.median(side.ask({"do": "time", "variant": variant, "count": count})["seconds"])


# ---------------------------------------------------------------- files


def files(first: Path, second: Path) -> tuple[list[Entry], list[str]]:
    """Compare what two files of results hold, and say what makes that weaker than measuring in turn.

    Raises
    ------
    OSError, ValueError : as `document.read` has them.
    """
    one, other = read(first), read(second)
    caveats = ["Two files were not measured in turn: each time counts as a part of NumPy's in the same run.",
               "nnfast bench --compare with two commits measures again, and finds smaller moves."]  # fmt: skip
    for key in ("name", "threads", "blas"):
        if one.machine.get(key) != other.machine.get(key):
            caveats.append(f"The machines differ, so may the ratios: {key} {one.machine.get(key)} and "
                           f"{other.machine.get(key)}.")  # fmt: skip
    return compared_files(one, other), caveats


def compared_files(one: Document, other: Document) -> list[Entry]:
    """Every variant of the first document in both of them."""
    there = {(row.workload, row.variant): row for row in other.rows}
    entries = []
    for row in one.rows:
        name, match = f"{row.workload}, {row.variant}", there.get((row.workload, row.variant))
        if row.backend == "reference":
            continue
        if match is None or not row.seconds or not match.seconds:
            entries.append(Entry(name, note="is not in both"))
        elif min(len(row.seconds), len(match.seconds)) < FEWEST:
            entries.append(Entry(name, note=f"fewer than {FEWEST} rounds say nothing"))
        else:
            relative = [[own / theirs for own, theirs in zip(item.seconds, item.reference, strict=True)]
                        for item in (row, match)]  # fmt: skip
            entries.append(Entry(name, row.time, of_runs(*relative)))
    return entries


# ---------------------------------------------------------------- table


def table(entries: Sequence[Entry]) -> list[str]:
    """What moved, the largest first, and how much of what was compared did not."""
    moved = [(entry, entry.move) for entry in entries if entry.move and entry.move.direction]
    moved.sort(key=lambda pair: -abs(pair[1].ratio - 1))
    found = []
    if moved:
        found.append(f"{'time of the second to that of the first':70}{'ratio':>7}{'from':>7}{'to':>7}{'ms':>10}")
    for entry, move in moved:
        told = "faster" if move.direction < 0 else "SLOWER"
        found.append(f"{entry.name:70}{move.ratio:7.2f}{move.low:7.2f}{move.high:7.2f}{number(1e3 * entry.seconds):>10}"
                     f"  {told}")  # fmt: skip
    compared = [entry for entry in entries if entry.move]
    slower = sum(move.direction > 0 for _, move in moved)
    found.append(f"{len(compared)} compared: {len(moved) - slower} faster, {slower} slower, "
                 f"{len(compared) - len(moved)} within {THRESHOLD:.0%} or the noise")  # fmt: skip
    missing = [entry for entry in entries if entry.note]
    if missing:
        found.append(f"{len(missing)} not compared:")
        found += [f"  {entry.name}: {entry.note}" for entry in missing]
    return found
