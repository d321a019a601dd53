"""One line of the suite's results, and what follows from it: speedup, rate, part of the machine's limit."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from nnfast.kernels.limits import Limits

NOISE, DISTURBANCE = 0.15, 1.0
"""By how much a kernel must be slower than the reference for the suite to say so; by how much on a busy machine, where
a kernel of several threads waits for the last of them."""
SHORTEST = 2e-5
"""Seconds of the reference below which the call is measured and not the kernel: such rows are shown and not judged."""
SHOWN = {"reference": "NumPy", "cython": "Cython", "numba": "Numba"}


@dataclasses.dataclass
class Row:
    """One variant of one workload.

    Parameters
    ----------
    op, label : the operation, and which workload of it.
    backend, algorithm : who computed, and how; the reference has no algorithm.
    threads : that computed.
    blas : NumPy's, with the processor that it was written for.
    flops : of the formula, None where memory is the limit in any case.
    bytes : that must move.
    seconds : of a call, one number for each round of turns.
    reference : the same of NumPy's reference in the same rounds.
    error : the largest, as a share of what the operation may have.
    disturbed : whether other processes took cores, so that the times say little.
    note : what is wrong: why there are no times, or that it was slower than NumPy each time and is not known to be.
    """

    op: str
    label: str
    backend: str
    algorithm: str
    threads: int
    blas: str
    flops: int | None
    bytes: int
    seconds: list[float] = dataclasses.field(default_factory=list)
    reference: list[float] = dataclasses.field(default_factory=list)
    error: float = math.nan
    disturbed: bool = False
    note: str = ""

    @property
    def workload(self) -> str:
        """The operation and the label."""
        return f"{self.op} {self.label}"

    @property
    def variant(self) -> str:
        """Backend and algorithm, such as ``Numba winograd``."""
        algorithm = "" if self.algorithm == "default" else self.algorithm
        return f"{SHOWN[self.backend]} {algorithm}".strip()

    @property
    def time(self) -> float:
        """Seconds of a call, the median of all rounds; NaN if it was not timed."""
        return statistics.median(self.seconds or [math.nan])

    @property
    def speedup(self) -> float:
        """The reference's time to this one's, the median of all rounds; NaN if it was not timed."""
        pairs = zip(self.reference, self.seconds, strict=True)
        return statistics.median([theirs / own for theirs, own in pairs] or [math.nan])

    @property
    def rate(self) -> float:
        """Floating-point operations a second, or bytes where none are counted."""
        return (self.bytes if self.flops is None else self.flops) / self.time

    @property
    def unit(self) -> str:
        """Of the rate, in thousands of millions."""
        return "GB/s" if self.flops is None else "GFLOP/s"

    def part_of(self, limits: Limits) -> float:
        """The part of the limit that binds, arithmetic or memory, whichever takes longer at its peak."""
        return max((self.flops or 0) / limits.flops, self.bytes / limits.bandwidth) / self.time

    def to_json(self, limits: Limits) -> dict[str, Any]:
        """As a JSON object: what was measured, and what follows from it for those who read no Python."""
        follows = {
            "speedup": self.speedup, "rate": self.rate / 1e9, "unit": self.unit,
            "percent_of_limit": 100 * self.part_of(limits),
        }  # fmt: skip
        known = dataclasses.asdict(self) | follows
        return {key: None if isinstance(value, float) and not math.isfinite(value) else value
                for key, value in known.items()}  # fmt: skip


def best(rows: Iterable[Row]) -> dict[str, Row]:
    """Of one workload's rows, the fastest of each compiled backend."""
    found: dict[str, Row] = {}
    for row in rows:
        timed = row.backend != "reference" and not math.isnan(row.speedup)
        if timed and (row.backend not in found or row.speedup > found[row.backend].speedup):
            found[row.backend] = row
    return found


def slower(rows: Sequence[Row]) -> set[str]:
    """The compiled backends whose fastest algorithm takes more time than NumPy, beyond the noise.

    The medians and the shortest times must both say so: what else a machine does makes calls longer, never shorter.
    """
    found = set()
    for backend, row in best(rows).items():
        margin = DISTURBANCE if row.disturbed else NOISE
        ratio = max(row.speedup, min(row.reference) / min(row.seconds))
        if ratio < 1 / (1 + margin) and statistics.median(row.reference) >= SHORTEST:
            found.add(backend)
    return found
