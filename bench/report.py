"""Results as text: every row with all that is known of it, and one table of speedups at the end."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nnfast.kernels.limits import Limits

from . import machine as machines
from .rows import NOISE, SHOWN, Row, best
from .slower import why_slower
from .timing import geometric_mean

COMPILED = ("cython", "numba")
WIDTH = 46  # of the first column


def header(machine: Mapping[str, Any]) -> list[str]:
    """What the numbers belong to."""
    limits, found, versions = machine["limits"], machine["blas"], machine["versions"]
    unsure = ", measured while others computed" if limits["disturbed"] else ""
    return [
        f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads",
        f"limits: {limits['gflops']:.0f} GFLOP/s of multiply-adds, {limits['gbytes']:.1f} GB/s of a copy{unsure}",
        f"NumPy's BLAS: {found['name']} {found['version']}, core type {found['core']} "
        f"(LLVM calls this processor {machine['llvm_processor']}), on {found['threads']} thread",
        ", ".join(f"{package} {text}" for package, text in versions.items()),
    ]  # fmt: skip


def number(value: float) -> str:
    """Three digits, as far as they are of use."""
    if math.isnan(value):
        return "-"
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 0.1 else 4
    return f"{value:.{digits}f}"


TITLES = (f"{'':{WIDTH}}{'ms':>10}{'x NumPy':>9}{'rate':>8} {'':8}{'limit':>6}{'error':>7}{'threads':>8}  "
          "NumPy's BLAS")  # fmt: skip


def line(row: Row, limits: Limits) -> str:
    """One variant: its time, speedup over NumPy, rate, part of the machine's limit, and error."""
    title = f"    {row.variant}"
    if not row.seconds:
        return f"{title:{WIDTH}}{row.note}"
    percent = f"{100 * row.part_of(limits):.0f}%"
    marks = (" (disturbed)" if row.disturbed else "") + (f" {row.note}" if row.note else "")
    return (f"{title:{WIDTH}}{number(1e3 * row.time):>10}{number(row.speedup):>9}{number(row.rate / 1e9):>8} "
            f"{row.unit:8}{percent:>6}{row.error:7.2f}{row.threads:>8}  {row.blas}{marks}")  # fmt: skip


def lines(rows: Iterable[Row], limits: Limits) -> list[str]:
    """All rows, grouped by operation and then by workload."""
    found = [TITLES]
    for op, of_op in itertools.groupby(rows, key=lambda row: row.op):
        found.append(op)
        for label, of_workload in itertools.groupby(of_op, key=lambda row: row.label):
            found += [f"  {label}", *(line(row, limits) for row in of_workload)]
    return found


def by_workload(rows: Iterable[Row]) -> list[list[Row]]:
    """Rows of one workload each."""
    return [list(group) for _, group in itertools.groupby(rows, key=lambda row: row.workload)]


def speedups(rows: Sequence[Row]) -> list[str]:
    """A line for each workload: NumPy's time, and how often each backend's fastest algorithm fits into it."""
    titles = "".join(f"{SHOWN[name] + ' x':>10}  {'':14}" for name in COMPILED)
    found = [f"{'times faster than NumPy':58}{'NumPy ms':>10}{titles}".rstrip()]
    ratios: dict[str, list[float]] = {name: [] for name in COMPILED}
    for group in by_workload(rows):
        fastest = best(group)
        cells = []
        for name in COMPILED:
            row = fastest.get(name)
            if row is None:
                cells.append(f"{'-':>10}  {'':14}")
                continue
            ratios[name].append(row.speedup)
            algorithm = "" if row.algorithm == "default" else row.algorithm
            cells.append(f"{number(row.speedup):>10}{'?' if row.disturbed else ' '} {algorithm:14}")
        found.append(f"{group[0].workload:58}{number(1e3 * group[0].time):>10}{''.join(cells)}".rstrip())
    means = "".join(f"{number(geometric_mean(values)) if values else '-':>10}  {f'of {len(values)}':14}"
                    for values in ratios.values())  # fmt: skip
    found.append(f"{'geometric mean':58}{'':10}{means}".rstrip())
    if any(row.disturbed for row in rows):
        found.append("?: threads waited for a core, because of other processes, in half of the rounds or more")
    return found


def failures(rows: Iterable[Row]) -> list[str]:
    """What is wrong: results, kernels that are missing, and those slower than NumPy that are not known to be."""
    return [f"{row.workload}, {row.variant}: {row.note}" for row in rows if row.note]


def known(rows: Iterable[Row]) -> list[str]:
    """Of the kernels that are known to be slower than NumPy: which are, and which are no more."""
    found = []
    for group in by_workload(rows):
        for row in best(group).values():
            told = why_slower(row)
            if told is None:
                continue
            if row.speedup >= 1 + NOISE:
                told = "is no longer slower than NumPy, bench/slower.py may forget it"
            found.append(f"{row.workload}, {row.variant} ({number(row.speedup)}): {told}")
    return found


def summary(machine: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    """All of it: what the numbers belong to, every row, and the conclusion."""
    return [*header(machine), "", *lines(rows, machines.limits_of(dict(machine))), "", *conclusion(rows)]


def conclusion(rows: Sequence[Row]) -> list[str]:
    """What is known, what is wrong, and at the end the table of speedups."""
    found = []
    for title, told in (("known to be slower than NumPy:", known(rows)), ("failed:", failures(rows))):
        if told:
            found += [title, *(f"  {text}" for text in told), ""]
    return [*found, *speedups(rows)]
