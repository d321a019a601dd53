"""The tables of `bench.peers` as text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .timing import geometric_mean
from .training import Format, Result

MEAN_TARGET = 2.2
ROW_TARGET = 1.6
MEMORY_TARGET = 0.5
MEMORY_MODELS = ("resnet18", "mobilenetv2")
MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Row:
    """All results of one network."""

    model: str
    results: Sequence[Result]

    @property
    def own(self) -> Result | None:
        """nnfast's."""
        return next((result for result in self.results if result.case.form.library == "nnfast"), None)

    @property
    def peers(self) -> list[Result]:
        """Of the others those that compute in fp32 and have times."""
        return [result for result in self.results if result.case.form.peer and not math.isnan(result.seconds)]

    @property
    def peer(self) -> Result | None:
        """The fastest of the others in fp32."""
        return min(self.peers, key=lambda result: result.seconds, default=None)

    @property
    def disturbed(self) -> bool:
        """Whether the ratio says nothing, because other processes took cores.

        They may have taken them from nnfast, or from one that would be the peer: a step of it was as fast.
        """
        if self.own is None or self.peer is None:
            return self.own is not None and self.own.disturbed
        fast = self.peer.seconds
        return self.own.disturbed or any(one.disturbed and one.fastest <= fast for one in self.peers)

    @property
    def ratio(self) -> float:
        """The peer's time to nnfast's; NaN where one of them is missing or the row was disturbed."""
        if self.own is None or self.peer is None or self.disturbed:
            return math.nan
        return self.peer.seconds / self.own.seconds

    @property
    def torch_memory(self) -> float:
        """The smallest peak of PyTorch's fp32 formats, in bytes."""
        peaks = [result.memory for result in self.results if result.case.form.library == "torch"
                 and result.case.form.peer and not math.isnan(result.memory)]  # fmt: skip
        return min(peaks, default=math.nan)

    @property
    def memory_ratio(self) -> float:
        """nnfast's peak to PyTorch's; NaN where one of them is missing."""
        return math.nan if self.own is None else self.own.memory / self.torch_memory


def number(value: float, digits: int = 3) -> str:
    """So many digits at least, without an exponent; ``-`` for NaN."""
    if math.isnan(value):
        return "-"
    before = math.floor(math.log10(value)) + 1 if value > 0 else 1
    return f"{value:.{max(0, digits - max(before, 1))}f}"


def milliseconds(seconds: float) -> str:
    """Of a step."""
    return number(seconds * 1e3)


def _range(quartiles: tuple[float, float]) -> str:
    return "-" if math.isnan(quartiles[0]) else "-".join(milliseconds(one) for one in quartiles)


def header(formats: Sequence[Format]) -> str:
    """The head of the table."""
    titles = " ".join(f"{form.title:>8}" for form in formats)
    return f"{'ms a step':12} {titles} {'quartiles':>15}  {'ratio':>5} {'peer':8}  {'MB':>5} {'torch':>5} {'ratio':>5}"


def line(row: Row) -> str:
    """A row of the table."""
    times = " ".join(f"{milliseconds(result.seconds):>8}" for result in row.results)
    quartiles = "-" if row.own is None else _range(row.own.quartiles)
    peer = "-" if row.peer is None else row.peer.case.form.title
    memory = math.nan if row.own is None else row.own.memory
    megabytes = f"{number(memory / MEGABYTE):>5} {number(row.torch_memory / MEGABYTE):>5} {number(row.memory_ratio):>5}"
    note = "(disturbed)" if row.disturbed else ""
    ratio = f"{number(row.ratio):>5} {peer:8}"
    return f"{row.model:12} {times} {quartiles:>15}  {ratio}  {megabytes} {note}".rstrip()


def _met(holds: bool) -> str:
    return "met" if holds else "NOT met"


def summary(rows: Sequence[Row]) -> list[str]:
    """What the rows say together, and which targets they meet."""
    timed = [row for row in rows if not math.isnan(row.ratio)]
    lines = [f"{len(rows)} networks, {len(timed)} of them with a ratio"]
    if timed:
        mean, worst = geometric_mean([row.ratio for row in timed]), min(timed, key=lambda row: row.ratio)
        lines.append(f"geometric mean {mean:.2f} (target {MEAN_TARGET}: {_met(mean >= MEAN_TARGET)}), "
                     f"minimum {worst.ratio:.2f}, {worst.model} "
                     f"(target {ROW_TARGET}: {_met(worst.ratio >= ROW_TARGET)})")  # fmt: skip
    lines += [f"memory of {row.model}: {row.memory_ratio:.2f} of PyTorch's "
              f"(target {MEMORY_TARGET}: {_met(row.memory_ratio <= MEMORY_TARGET)})"
              for row in rows if row.model in MEMORY_MODELS and not math.isnan(row.memory_ratio)]  # fmt: skip
    return lines


DETAILS = (f"{'network':12} {'format':14} {'median':>8} {'quartiles, ms':>15} {'steps':>5} {'first, s':>8} "
           f"{'MB':>5} {'waited':>6}")  # fmt: skip


def detail(result: Result) -> str:
    """All that was found about one format of one network."""
    start = f"{result.case.model:12} {result.case.form.name:14}"
    if result.note:
        return f"{start} {'-':>8} {result.note}"
    quartiles = _range(result.quartiles)
    steps = sum(len(turn.seconds) for turn in result.turns)
    figures = f"{steps:5} {number(result.first):>8} {number(result.memory / MEGABYTE):>5} {result.waited:6.0%}"
    return f"{start} {milliseconds(result.seconds):>8} {quartiles:>15} {figures}{' (disturbed)' * result.disturbed}"


def record(row: Row) -> dict[str, Any]:
    """The row as plain data."""
    return {
        "model": row.model,
        "ratio": row.ratio,
        "peer": None if row.peer is None else row.peer.case.form.name,
        "memory_ratio": row.memory_ratio,
        "disturbed": row.disturbed,
        "formats": [
            {
                "format": result.case.form.name,
                "title": result.case.form.title,
                "ms": result.seconds * 1e3,
                "quartiles": [second * 1e3 for second in result.quartiles],
                "first": result.first,
                "bytes": result.memory,
                "note": result.note,
            }
            for result in row.results
        ],
    }
