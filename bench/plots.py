"""Pictures of results: bars of speedups over NumPy, and a roofline."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from nnfast.kernels import winograd

from nnfast.io.atomic import write_atomically

from . import machine as machines
from .document import Document
from .report import COMPILED, by_workload
from .rows import SHOWN, Row, best

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 100
COLOURS = {"reference": "tab:gray", "cython": "tab:orange", "numba": "tab:blue"}


def plot(found: Document, beside: Path) -> list[Path]:
    """Draw both pictures beside a file of results; their names end with what they show.

    Raises
    ------
    OSError : one of them cannot be written.
    """
    paths = [beside.with_name(f"{beside.stem}-{what}.png") for what in ("speedups", "roofline")]
    speedups(found, paths[0])
    roofline(found, paths[1])
    return paths


def speedups(found: Document, path: str | os.PathLike[str]) -> None:
    """Draw a bar for each workload and compiled backend: its fastest algorithm's speedup over NumPy."""
    from matplotlib.figure import Figure

    groups = by_workload(found.rows)
    figure = Figure(figsize=(10, 1.5 + 0.22 * max(1, len(groups))), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(groups))
    for number, backend in enumerate(COMPILED):
        fastest = [best(group).get(backend) for group in groups]
        lengths = [row.speedup if row else np.nan for row in fastest]
        axes.barh(places + 0.4 * number - 0.2, np.subtract(lengths, 1), 0.4, left=1, color=COLOURS[backend],
                  label=SHOWN[backend])  # fmt: skip
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_yticks(places, [group[0].workload for group in groups], fontsize=7)
    axes.set(xlabel=f"times faster than NumPy on one thread ({found.machine['threads']} threads)",
             title=_title(found), ylim=(len(groups) - 0.5, -0.5))  # fmt: skip
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside upper right")
    _save(figure, path)


def roofline(found: Document, path: str | os.PathLike[str]) -> None:
    """Draw what was reached against what the machine can do.

    On the left products: operations a second by operations for each byte that must move, below the line of the memory
    and that of the multiply-add peak. On the right all others, which memory limits: bytes a second by the bytes of a
    call. Winograd's algorithm may stand above the peak, arrays in the caches above the memory's line.
    """
    from matplotlib.figure import Figure

    limits = machines.limits_of(dict(found.machine))
    figure = Figure(figsize=(12, 6), dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    products = [row for row in found.rows if row.flops and row.seconds]
    others = [row for row in found.rows if row.flops is None and row.seconds]
    _points(left, products, lambda row: (row.flops or 0) / row.bytes)
    _points(right, others, lambda row: row.bytes)
    intensity = np.geomspace(0.1, 1000, 100)
    roof = np.minimum(limits.flops, intensity * limits.bandwidth) / 1e9
    left.plot(intensity, roof, color="black", label=_limits(found))
    left.set(xlabel="floating-point operations per byte", ylabel="GFLOP/s", title="products")
    right.axhline(limits.bandwidth / 1e9, color="black", label=f"copy, {limits.bandwidth / 1e9:.0f} GB/s")
    right.set(xlabel="bytes that a call moves", ylabel="GB/s", title="what memory limits")
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.grid(alpha=0.3, which="both")
        axes.legend(loc="lower right", fontsize=8)
    figure.suptitle(_title(found))
    _save(figure, path)


def _points(axes: Axes, rows: Sequence[Row], x: Callable[[Row], float]) -> None:
    for backend in ("reference", *COMPILED):
        for transformed in (False, True):
            mine = [row for row in rows if row.backend == backend and (row.algorithm in winograd.FORMS) == transformed]
            if mine:
                axes.plot([x(row) for row in mine], [row.rate / 1e9 for row in mine], "^" if transformed else "o",
                          markersize=5, alpha=0.6, color=COLOURS[backend],
                          label=SHOWN[backend] + transformed * ", Winograd")  # fmt: skip


def _limits(found: Document) -> str:
    limits = found.machine["limits"]
    return f"{limits['gflops']:.0f} GFLOP/s, {limits['gbytes']:.0f} GB/s"


def _title(found: Document) -> str:
    return f"{found.machine['processor']}, {found.machine['threads']} threads, {found.commit}"


def _save(figure: Figure, path: str | os.PathLike[str]) -> None:
    with write_atomically(path) as file:
        figure.savefig(file, format="png")
