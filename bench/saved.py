"""What a benchmark leaves with ``--save``: the text that it printed, its figures as JSON, and a plot of them.

The first line of the text is ``$ command    (date, machine)``; the JSON says the same in fields. `charts.py` draws from
the JSON alone, so that a plot can be drawn again without measuring.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
_FIRST_LINE = re.compile(r"\$ (?P<command>.+?) {4}\((?P<date>\d{4}-\d\d-\d\d), (?P<machine>.+)\)")


@dataclass(frozen=True)
class Heading:
    """What was run, when and where."""

    command: str
    date: str
    machine: str

    def __str__(self) -> str:
        return f"$ {self.command}    ({self.date}, {self.machine})"


def heading(text: str) -> Heading:
    """The heading in the first line of a saved text.

    Raises
    ------
    ValueError : it has none.
    """
    first = text.partition("\n")[0]
    match = _FIRST_LINE.fullmatch(first)
    if match is None:
        raise ValueError(f"saved results: the first line is {first!r}, expected '$ command    (date, machine)'")
    return Heading(**match.groupdict())


def machine() -> str:
    """The processor's name, as far as the system knows it, and how many CPUs this process may use."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    named = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    name = next(named, platform.processor() or platform.machine())
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {count} CPUs"


@dataclass
class Report:
    """Prints lines, the heading first, and keeps them.

    Parameters
    ----------
    module : the benchmark's, such as ``bench.peers``.
    """

    module: str
    heading: Heading = field(init=False)
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        command = " ".join(["python -m", self.module, *sys.argv[1:]])
        self.heading = Heading(command, time.strftime("%Y-%m-%d"), machine())
        self.say(str(self.heading))

    def say(self, text: str) -> None:
        """Print, and keep for the file."""
        print(text, flush=True)
        self.lines.append(text)

    def save(self, name: str, figures: Mapping[str, Any] | None = None, plot: str = "") -> None:
        """Write the text; with figures, write and draw them, too.

        Parameters
        ----------
        name : of a table in ``bench/results``, or the path of a .txt file; the others stand beside it.
        figures : plain data; NaN becomes null.
        plot : what draws the figures, a key of `charts.CHARTS`.
        """
        from nnfast.io.atomic import write_atomically

        from .charts import draw

        file = Path(name) if name.endswith(".txt") else RESULTS / f"{name}.txt"
        with write_atomically(file) as stream:
            stream.write(("\n".join(self.lines) + "\n").encode())
        if figures is not None:
            record = vars(self.heading) | {"plot": plot, "figures": _plain(figures)}
            with write_atomically(file.with_suffix(".json")) as stream:
                stream.write(json.dumps(record, indent=1, allow_nan=False).encode() + b"\n")
            draw(record, file.with_suffix(".png"))


def _plain(value: Any) -> Any:
    """`value` without numbers that JSON does not have."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def add_save_argument(parser: argparse.ArgumentParser, default: str) -> None:
    """Add ``--save [FILE]``; without FILE it is the empty string, and absent it is None."""
    parser.add_argument("--save", metavar="FILE.txt", type=_text_file, nargs="?", const="",
                        help=f"write what is printed, with figures and plot if there are any, beside it (default: "
                             f"{default} in bench/results)")  # fmt: skip


def _text_file(text: str) -> str:
    if text and not text.endswith(".txt"):  # empty: no FILE
        raise argparse.ArgumentTypeError(f"{text!r}, expected the name of a .txt file")
    return text
