"""Kernels of nnfast's compared with PyTorch's and timed with them, in turn, on the same cores."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from nnfast.kernels import winograd

from . import own
from .peer_process import Peer, PeerError
from .timing import Turn, calls_for, disturbed, in_turn, median, quartiles, turn
from .torch_cases import Arrays, Case

EPSILON = 2.0**-23
WINOGRAD = 8  # how much larger the errors of F(4x4, 3x3) are


@dataclasses.dataclass
class Row:
    """One kernel: what was found, as far as it was reached.

    Attributes
    ----------
    case : what is computed.
    turns : by memory format of PyTorch's and by backend of nnfast's.
    algorithms, errors : by backend; errors are ||nnfast - PyTorch|| / ||PyTorch||, of the worst result.
    wrong : the backends whose results are wrong.
    note : why times are missing.
    """

    case: Case
    turns: dict[str, list[Turn]] = dataclasses.field(default_factory=dict)
    algorithms: dict[str, str] = dataclasses.field(default_factory=dict)
    errors: dict[str, float] = dataclasses.field(default_factory=dict)
    wrong: list[str] = dataclasses.field(default_factory=list)
    note: str = ""

    def seconds(self, side: str) -> float:
        """Of a call of a side's, the median; NaN if there are none."""
        return median(self.turns.get(side, []))

    def ratio(self, backend: str, *formats: str) -> float:
        """The time of the fastest of these formats of PyTorch's to the backend's; NaN where one of them is missing."""
        times = [self.seconds(name) for name in formats if name in self.turns]
        return min(times, default=math.nan) / self.seconds(backend)

    @property
    def disturbed(self) -> bool:
        """Whether other processes took cores, so that the times say nothing."""
        return any(disturbed(turns) for turns in self.turns.values())

    def record(self) -> dict[str, Any]:
        """The row as plain data, for JSON."""
        return {"op": self.case.op, "name": self.case.name, "disturbed": self.disturbed, "note": self.note,
                "algorithms": self.algorithms, "errors": self.errors, "wrong": self.wrong,
                "ms": {side: self.seconds(side) * 1e3 for side in self.turns},
                "quartiles": {side: [1e3 * second for second in quartiles(turns)]
                              for side, turns in self.turns.items()}}  # fmt: skip


def error_bound(summands: int, algorithm: str) -> float:
    """How far two results may be apart, in the L2 norm: both add so many products in an order of their own."""
    return 4 * EPSILON * math.sqrt(summands) * (WINOGRAD if algorithm in winograd.FORMS else 1)


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    """||actual - expected|| / ||expected||; infinite where a number is not finite."""
    difference = np.linalg.norm(actual.ravel() - expected.ravel())
    size = np.linalg.norm(expected.ravel())
    error = float(difference / size) if size else float(difference)
    return error if math.isfinite(error) else math.inf


def _largest_error(results: Arrays, expected: Arrays) -> float:
    return max(relative_error(results[name], value) for name, value in expected.items())


def _compare(row: Row, calls: dict[str, own.Call], theirs: dict[str, Arrays], exact: Callable[[], Arrays]) -> None:
    """Set the row's errors; where one is too large, NumPy says who is wrong."""
    for backend, call in calls.items():
        call.run()
        bound = error_bound(row.case.summands, call.algorithm)
        found = {name: _largest_error(call.results, results) for name, results in theirs.items()}
        row.errors[backend] = max(found.values())
        if row.errors[backend] > bound:
            truth = {name: value for name, value in exact().items() if name in next(iter(theirs.values()))}
            if _largest_error(call.results, truth) > bound:
                row.wrong.append(backend)
    if row.wrong:
        row.note = "WRONG RESULT"
    elif any(row.errors[backend] > error_bound(row.case.summands, call.algorithm) for backend, call in calls.items()):
        row.note = "wrong result of PyTorch's"


def _time(
    row: Row, calls: dict[str, own.Call], peer: Peer, formats: Sequence[str], repeats: int, patience: float
) -> None:
    slowest = max(second for name in formats for second in peer.time(name, 2).seconds)
    slowest = max(slowest, *(second for call in calls.values() for second in turn(call.run, 2).seconds))
    count = calls_for(slowest)
    sides: dict[str, Callable[[], Turn]] = {name: partial(peer.time, name, count) for name in formats}
    sides |= {backend: partial(turn, call.run, count) for backend, call in calls.items()}
    row.turns = dict(zip(sides, in_turn(list(sides.values()), repeats, patience), strict=True))


def _row(
    case: Case, peer: Peer, folder: Path, formats: Sequence[str], backends: Sequence[str], repeats: int, patience: float
) -> Row:
    row, arrays = Row(case), case.arrays()
    try:
        calls = {backend: own.call(case, arrays, backend) for backend in backends}
    except NotImplementedError as error:
        row.note = str(error)
        return row
    row.algorithms = {backend: call.algorithm for backend, call in calls.items()}
    if not case.has_images:
        formats = formats[:1]
    try:
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array)
        peer.load(str(folder), case.op, case.attributes, formats)
        theirs = {name: _results(peer, name, folder) for name in formats}
        _compare(row, calls, theirs, lambda: own.reference(case, arrays))
        if not row.note:
            _time(row, calls, peer, formats, repeats, patience)
    except PeerError as error:
        row.note = f"PyTorch: {error}"
        row.turns = {backend: [turn(call.run, 1) for _ in range(repeats)] for backend, call in calls.items()}
    return row


def _results(peer: Peer, memory_format: str, folder: Path) -> Arrays:
    results = folder / memory_format
    results.mkdir()
    peer.save(memory_format, str(results))
    return {file.stem: np.load(file) for file in results.glob("*.npy")}


def rows(
    cases: Iterable[Case], peer: Peer, formats: Sequence[str], backends: Sequence[str], repeats: int, patience: float,
    show: Callable[[Row], None],
) -> list[Row]:  # fmt: skip
    """Compare and time all cases; `show` is called with each row when it is there.

    Cases without images have one memory format, the first of `formats`.
    """
    found = []
    for case in cases:
        with tempfile.TemporaryDirectory(prefix="nnfast-bench-") as name:
            found.append(_row(case, peer, Path(name), formats, backends, repeats, patience))
        show(found[-1])
    return found
