"""The table of a profile: where the time went, and how far from the machine's limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnfast.kernels.limits import Limits

    from .profiler import Profile, Work

PYTHON = "(Python)"
"""The operation of the row for the time of calls that is not in kernels."""
NOWHERE = "(no module)"

HEAD = ("node", "module", "operation", "algorithm", "calls", "ms/call", "share", "GFLOP/s", "GB/s", "of limit")
TEXT = 4  # columns of text, on the left


@dataclass
class Row:
    """Nodes that are counted together.

    Attributes
    ----------
    node : the number in the plan's listing, behind that of the plan if there are several; empty for several nodes.
    place, operation, algorithm : of these nodes; empty where they differ.
    calls : how often one of them ran.
    seconds : how long in all.
    share : the part of all time in calls and in operations outside of them.
    flops, nbytes : all that they did; no `flops` where none are declared.
    least : seconds that it takes at the machine's limits; the larger of the two, for each node.
    """

    node: str
    place: str
    operation: str
    algorithm: str
    calls: int = 0
    seconds: float = 0.0
    share: float = 0.0
    flops: int | None = None
    nbytes: int = 0
    least: float = 0.0

    def add(self, work: Work, runs: int, seconds: float, limits: Limits | None) -> None:
        """Count so many runs of a node."""
        self.calls += runs
        self.seconds += seconds
        self.nbytes += runs * work.nbytes
        if work.flops is not None:
            self.flops = (self.flops or 0) + runs * work.flops
        if limits is not None:
            self.least += runs * max((work.flops or 0) / limits.flops, work.nbytes / limits.bandwidth)

    def cells(self) -> list[str]:
        """The columns of `HEAD`."""
        seconds = max(self.seconds, 1e-12)
        return [
            self.node,
            self.place,
            self.operation,
            self.algorithm,
            str(self.calls),
            f"{1e3 * self.seconds / max(1, self.calls):.3f}",
            f"{self.share:.1%}",
            "" if self.flops is None else f"{self.flops / seconds / 1e9:.1f}",
            f"{self.nbytes / seconds / 1e9:.1f}" if self.nbytes else "",
            f"{self.least / seconds:.0%}" if self.least else "",
        ]


def _node(work: Work, plans: int) -> tuple[str, str, str, str]:
    number = "" if work.number < 0 else str(work.number) if plans < 2 else f"{work.plan}.{work.number}"
    return number, work.place, work.operation, _algorithm(work)


def _operation(work: Work, plans: int) -> tuple[str, str, str, str]:
    return "", "", work.operation, ""


def _place(work: Work, plans: int) -> tuple[str, str, str, str]:
    return "", work.place or NOWHERE, "", ""


KEYS: dict[str, Callable[[Work, int], tuple[str, str, str, str]]] = {
    "node": _node,
    "operation": _operation,
    "place": _place,
}


def _algorithm(work: Work) -> str:
    return "" if work.algorithm == "default" else work.algorithm


def _limits() -> Limits | None:
    """The machine's limits, or None where the kernels that measure them cannot be compiled."""
    try:
        from nnfast.kernels.limits import limits
    except ImportError:
        return None
    return limits()


def rows(profile: Profile, by: str) -> list[Row]:
    """The rows of a profile's table, the longest first."""
    if by not in KEYS:
        raise ValueError(f"table: by is {by!r}, expected one of {', '.join(KEYS)}")
    seconds: dict[Work, float] = {}
    runs: Counter[Work] = Counter()
    for call in (*profile.calls, *profile.eager):
        for timing in call.timings:
            seconds[timing.work] = seconds.get(timing.work, 0.0) + timing.end - timing.begin
        runs.update({timing.work for timing in call.timings})
    limits = _limits() if seconds else None
    plans = len({work.plan for work in seconds if work.plan >= 0})
    found: dict[tuple[str, str, str, str], Row] = {}
    for work, spent in seconds.items():
        key = KEYS[by](work, plans)
        found.setdefault(key, Row(*key)).add(work, runs[work], spent, limits)
    if profile.calls:
        python = sum(call.python for call in profile.calls)
        found["", "", PYTHON, ""] = Row("", "", PYTHON, "", len(profile.calls), python)
    total = sum(row.seconds for row in found.values())
    for row in found.values():
        row.share = row.seconds / total if total else 0.0
    return sorted(found.values(), key=lambda row: -row.seconds)


def table(profile: Profile, limit: int | None, by: str) -> str:
    """The rows as text, with what they add up to."""
    every = rows(profile, by)
    shown = every if limit is None else every[:limit]
    lines = _columns([list(HEAD), *(row.cells() for row in shown)])
    left = every[len(shown) :]
    if left:
        lines.append(f"... and {len(left)} more: {1e3 * sum(row.seconds for row in left):.3f} ms, "
                     f"{sum(row.share for row in left):.1%}")  # fmt: skip
    return "\n".join([*lines, *_totals(profile)])


def _columns(cells: Sequence[Sequence[str]]) -> list[str]:
    """Text left, numbers right; columns in which nothing stands are left out."""
    filled = [i for i in range(len(HEAD)) if any(row[i] for row in cells[1:])]
    widths = {i: max(len(row[i]) for row in cells) for i in filled}
    return [
        "  ".join(row[i].ljust(widths[i]) if i < TEXT else row[i].rjust(widths[i]) for i in filled).rstrip()
        for row in cells
    ]


def _totals(profile: Profile) -> list[str]:
    lines = []
    calls = profile.calls
    if calls:
        spent, kernels = sum(call.end - call.begin for call in calls), sum(call.kernels for call in calls)
        lines.append(f"{len(calls)} calls of {', '.join(sorted({call.name for call in calls}))}: {1e3 * spent:.3f} ms, "
                     f"of these {1e3 * kernels:.3f} ms in kernels")  # fmt: skip
    captures = [call.begin - call.entered for call in calls if call.captured]
    if captures:
        lines.append(f"captured {len(captures)} times in {1e3 * sum(captures):.3f} ms, which the table does not count")
    if profile.eager:
        spent = sum(call.end - call.begin for call in profile.eager)
        lines.append(f"{len(profile.eager)} operations outside of compiled functions: {1e3 * spent:.3f} ms with their "
                     "Python")  # fmt: skip
    return lines or ["nothing was run"]
