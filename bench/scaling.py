"""`bench.peers --scaling`: what a training step costs against its work, and what threads gain."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .training import Format, Result
from .training_table import milliseconds, number

FORMATS = ["channels_last", "nnfast"]
Results = Callable[[str, int, int, Sequence[int]], list[Result]]
"""Of a network, images a step, their height and width (0: the network's own), and numbers of threads."""


@dataclass(frozen=True)
class Growth:
    """What grows from row to row.

    Parameters
    ----------
    name, label : in tables and in plots.
    values : one for each row.
    batch, size : images of a step, and their height and width, for a value and the ``--batch`` that was asked for.
    unit, amount : of what equal costs are a straight line, and how much of it a step has.
    """

    name: str
    label: str
    values: tuple[int, ...]
    batch: Callable[[int, int], int]
    size: Callable[[int], int]
    unit: str
    amount: Callable[[int, int], float]


GROWTHS = {
    "batch": Growth(
        "batch", "images a step", tuple(1 << power for power in range(10)), lambda value, batch: value, lambda value: 0,
        "us/image", lambda value, batch: value),
    "size": Growth(
        "size", "height and width of an image", (16, 32, 64, 96), lambda value, batch: batch, lambda value: value,
        "ns/pixel", lambda value, batch: value * value * batch / 1e3),
}  # fmt: skip


def _header(growth: Growth, formats: Sequence[Format], threads: int) -> str:
    columns = "".join(
        f" | {form.title:>8} 1 {growth.unit:>9} {threads:>8} {growth.unit:>9} speedup" for form in formats
    )
    return f"{'network':12} {growth.name:>5}{columns}"


def _columns(one: Result, many: Result, amount: float) -> str:
    """Milliseconds and the cost of a unit on one thread and on many, and their ratio."""
    disturbed = one.disturbed or many.disturbed
    speedup = number(math.nan if disturbed else one.seconds / many.seconds)
    times = " ".join(f"{milliseconds(result.seconds):>9} {number(result.seconds / amount * 1e6):>9}"
                     for result in (one, many))  # fmt: skip
    return f" | {times} {speedup:>7}"


def scaling(
    models: Sequence[str], formats: Sequence[Format], threads: int, batch: int, growth: Growth, results: Results,
    say: Callable[[str], None],
) -> dict[str, Any]:  # fmt: skip
    """A row for every value of every network, each format on one thread and on `threads` in turn; as plain data."""
    say(f"medians, ms a step on 1 and {threads} threads; equal {growth.unit} are a straight line\n")
    say(_header(growth, formats, threads))
    rows = []
    for model in models:
        for value in growth.values:
            images, size = growth.batch(value, batch), growth.size(value)
            found = results(model, images, size, [1, threads])
            pairs = list(zip(found[::2], found[1::2], strict=True))
            notes = " ".join(result.note for result in found if result.note)
            columns = "".join(_columns(one, many, growth.amount(value, batch)) for one, many in pairs)
            say(f"{model:12} {value:5}{columns} {notes}".rstrip())
            rows += [{"model": model, growth.name: value, "images": images, "format": result.case.form.name,
                      "title": result.case.form.title, "threads": result.case.threads, "ms": result.seconds * 1e3,
                      "disturbed": result.disturbed} for result in found]  # fmt: skip
    return {"grows": growth.name, "label": growth.label, "rows": rows}
