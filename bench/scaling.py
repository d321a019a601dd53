"""`bench.peers --scaling`: what a training step costs against its work, and what threads gain."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from .training import Format, Result
from .training_table import milliseconds, number

BATCHES = tuple(1 << power for power in range(10))
FORMATS = ["channels_last", "nnfast"]
Results = Callable[[str, int, Sequence[int]], list[Result]]


def _header(formats: Sequence[Format], threads: int) -> str:
    columns = "".join(f" | {form.title:>8} 1  us/image {threads:>8}  us/image speedup" for form in formats)
    return f"{'network':12} {'batch':>5}{columns}"


def _columns(one: Result, many: Result, batch: int) -> str:
    """Milliseconds and microseconds an image on one thread and on many, and their ratio."""
    disturbed = one.disturbed or many.disturbed
    speedup = number(math.nan if disturbed else one.seconds / many.seconds)
    times = " ".join(f"{milliseconds(result.seconds):>9} {number(result.seconds / batch * 1e6):>9}"
                     for result in (one, many))  # fmt: skip
    return f" | {times} {speedup:>7}"


def scaling(
    models: Sequence[str], formats: Sequence[Format], threads: int, results: Results, say: Callable[[str], None]
) -> None:
    """A row for every batch of every network: each format on one thread and on `threads`, all in turn."""
    say(f"medians, ms a step on 1 and {threads} threads; equal times an image are a straight line\n")
    say(_header(formats, threads))
    for model in models:
        for batch in BATCHES:
            found = results(model, batch, [1, threads])
            pairs = list(zip(found[::2], found[1::2], strict=True))
            notes = " ".join(result.note for result in found if result.note)
            columns = "".join(_columns(one, many, batch) for one, many in pairs)
            say(f"{model:12} {batch:5}{columns} {notes}".rstrip())
