"""Plots of what benchmarks have saved, drawn from the JSON beside each table.

python -m bench.charts [FILE.json ...]     draw them again (default: all in bench/results)
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnfast.io.atomic import write_atomically

from .saved import RESULTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 100
ROW_INCHES = 0.16  # of a bar and the space beside it
Figures = Mapping[str, Any]


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def _plain_numbers(axis: Any) -> None:
    """0.5, 1, 10 instead of powers."""
    from matplotlib.ticker import NullFormatter

    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def _bars(axes: Axes, labels: Sequence[str], groups: Mapping[str, Sequence[float | None]], unit: str) -> None:
    """Horizontal bars from 1 to a ratio, the first label on top; a group of them for every label."""
    height = 0.8 / len(groups)
    for number, (name, values) in enumerate(groups.items()):
        places = [row + (number - (len(groups) - 1) / 2) * height for row in range(len(labels))]
        drawn = [(place, value) for place, value in zip(places, values, strict=True) if value is not None]
        axes.barh(
            [place for place, _ in drawn],
            [value - 1 for _, value in drawn],
            height,
            left=1,
            color=f"C{number}",
            label=name,
        )
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log", base=2)
    _plain_numbers(axes.xaxis)
    axes.set_yticks(range(len(labels)), labels, fontsize=7)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set(xlabel=unit)
    axes.grid(axis="x", alpha=0.3)


def _legend(figure: Figure, axes: Axes) -> None:
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=8, fontsize=8)


def training(figures: Figures) -> Figure:
    """How many times as long as nnfast's every other library's training step takes."""
    rows = figures["rows"]
    formats = {form["format"]: form["title"] for row in rows for form in row["formats"] if form["format"] != "nnfast"}
    figure = _figure(8, 1 + ROW_INCHES * len(rows) * (len(formats) + 1))
    values: dict[str, list[float | None]] = {}
    for name, title in formats.items():
        values[title] = []
        for row in rows:
            ms = {form["format"]: form["ms"] for form in row["formats"]}
            known = ms.get(name) and ms.get("nnfast") and not row["disturbed"]
            values[title].append(ms[name] / ms["nnfast"] if known else None)
    axes = figure.subplots()
    _bars(axes, [row["model"] for row in rows], values, "time of a training step, nnfast's is 1")
    _legend(figure, axes)
    return figure


def scaling(figures: Figures) -> Figure:
    """The time an image against what grows: a panel a network, a line for each library and number of threads."""
    rows, grows = figures["rows"], figures["grows"]
    models = list(dict.fromkeys(row["model"] for row in rows))
    figure = _figure(5 * len(models), 4)
    for axes, model in zip(figure.subplots(1, len(models), squeeze=False)[0], models, strict=True):
        lines: dict[str, list[tuple[float, float]]] = {}
        for row in rows:
            if row["model"] == model and row["ms"] is not None and not row["disturbed"]:
                name = f"{row['title']}, {row['threads']} thread{'s' * (row['threads'] > 1)}"
                lines.setdefault(name, []).append((row[grows], row["ms"] * 1e3 / row["images"]))
        for name, points in lines.items():
            axes.plot(*zip(*points, strict=True), marker=".", label=name)
        axes.set(title=model, xlabel=figures["label"], ylabel="us an image", xscale="log", yscale="log")
        axes.set_xticks(sorted({row[grows] for row in rows}))
        _plain_numbers(axes.xaxis)
        axes.grid(alpha=0.3)
        if lines:
            axes.legend(fontsize=8)
    return figure


def kernels(figures: Figures) -> Figure:
    """PyTorch's time to nnfast's for every kernel, against NCHW and against the better format."""
    rows = [row for row in figures["rows"] if row["ms"].get("nchw") and not row["disturbed"]]
    backends = figures["backends"]
    figure = _figure(12, 1 + ROW_INCHES * len(rows) * len(backends))
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, formats in ((left, ("nchw",)), (right, ("nchw", "channels_last"))):
        values = {backend: [_ratio(row["ms"], backend, formats) for row in rows] for backend in backends}
        peer = "NCHW" if len(formats) == 1 else "better format"
        _bars(axes, [f"{row['op']} {row['name']}" for row in rows], values, f"time of PyTorch's {peer}, nnfast's is 1")
    _legend(figure, left)
    return figure


def _ratio(ms: Mapping[str, float], backend: str, formats: Sequence[str]) -> float | None:
    times = [ms[name] for name in formats if ms.get(name)]
    return min(times) / ms[backend] if times and ms.get(backend) else None


def convolutions(figures: Figures) -> Figure:
    """PyTorch's time to nnfast's for every shape, the three directions side by side."""
    rows = figures["rows"]
    names = list(dict.fromkeys((row["network"], row["shape"], row["batch"]) for row in rows))
    found = {(row["network"], row["shape"], row["batch"], row["direction"]): row for row in rows}
    values = {}
    for direction in ("forward", "data", "weight"):
        each = [found.get((*name, direction)) for name in names]
        values[direction] = [row["ratio"] if row and not row["disturbed"] else None for row in each]
    figure = _figure(9, 1 + ROW_INCHES * len(names) * 3)
    axes = figure.subplots()
    _bars(axes, [f"{network} {shape} n{batch}".strip() for network, shape, batch in names], values,
          "time of PyTorch's channels_last, nnfast's is 1")  # fmt: skip
    _legend(figure, axes)
    return figure


CHARTS: dict[str, Callable[[Figures], Figure]] = {
    "training": training, "scaling": scaling, "kernels": kernels, "convolutions": convolutions
}  # fmt: skip
"""What draws the figures of a saved record."""


def draw(record: Mapping[str, Any], file: Path) -> None:
    """Draw a record that a benchmark has saved to a PNG file, with its date and machine below."""
    figure = CHARTS[record["plot"]](record["figures"])
    figure.supxlabel(f"{record['machine']}; {record['date']}", fontsize=6, color="grey")
    with write_atomically(file) as stream:
        figure.savefig(stream, format="png")


def main() -> None:
    """Draw again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", metavar="FILE.json", type=Path)
    for file in parser.parse_args().files or sorted(RESULTS.glob("*.json")):
        draw(json.loads(file.read_text()), file.with_suffix(".png"))
        print(file.with_suffix(".png"))


if __name__ == "__main__":
    main()
