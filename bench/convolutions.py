"""Convolutions against PyTorch: both libraries timed in one run, in turn, on the same cores.

python -m bench.convolutions [--torch-python PATH] [--sweep] [--only TEXT] [--repeats 9] [--threads 2] [--batch N]
                             [--algorithm auto] [--patience 5] [--time-limit 30] [--json FILE]

Every result is compared with PyTorch's before it is timed; a wrong one makes the exit status 1. README.md says how to
read the table.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nnfast.kernels import get_num_threads, set_num_threads, winograd
from nnfast.kernels.choice import CONV_ALGORITHMS, set_conv_algorithm

from .limits import Limits, measure
from .own import Call, calls, inputs
from .peer_process import Peer, PeerError, torch_python
from .shapes import FURTHER, SWEEP, TABLE, Shape
from .timing import Turn, calls_for, disturbed, geometric_mean, in_turn, median, turn

EPSILON = 2.0**-23
WINOGRAD = 8  # how much larger the errors of F(4x4, 3x3) are
SLOW = 0.9  # rows of the sweep below this ratio are listed


@dataclasses.dataclass
class Row:
    """One direction of one shape: what was found, as far as it was reached."""

    shape: Shape
    direction: str
    algorithm: str = ""
    turns: list[Turn] = dataclasses.field(default_factory=list)
    peer_turns: list[Turn] = dataclasses.field(default_factory=list)
    error: float = math.nan
    wrong: bool = False
    note: str = ""

    @property
    def seconds(self) -> float:
        """Of a call, the median."""
        return median(self.turns)

    @property
    def peer_seconds(self) -> float:
        """Of a call of PyTorch's, the median."""
        return median(self.peer_turns)

    @property
    def ratio(self) -> float:
        """PyTorch's time to nnfast's; NaN where one of them is missing."""
        return self.peer_seconds / self.seconds

    @property
    def disturbed(self) -> bool:
        """Whether other processes took cores, so that the times say nothing."""
        return disturbed(self.turns) or disturbed(self.peer_turns)

    @property
    def target(self) -> float | None:
        """The ratio to reach."""
        return self.shape.targets.get(self.direction)

    @property
    def met(self) -> bool:
        """Whether the target was reached, as far as one can know."""
        return self.target is not None and self.ratio >= self.target and not self.disturbed and not self.wrong


def error_bound(summands: int, algorithm: str) -> float:
    """How far two results may be apart, in the L2 norm: both add so many products in an order of their own."""
    return 4 * EPSILON * math.sqrt(summands) * (WINOGRAD if algorithm in winograd.FORMS else 1)


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    """||actual - expected|| / ||expected||; infinite where a number is not finite."""
    difference = np.linalg.norm((actual - expected).ravel()) / np.linalg.norm(expected.ravel())
    return float(difference) if np.isfinite(difference) else math.inf


def _compare(row: Row, call: Call, peer: Peer, folder: Path) -> None:
    """Set the row's error; where it is too large, NumPy says who is wrong."""
    call.run()
    file = folder / f"{row.direction}.npy"
    peer.save(row.direction, str(file))
    theirs = np.load(file)
    row.error = relative_error(call.result, theirs)
    bound = error_bound(row.shape.summands(row.direction), row.algorithm)
    if row.error > bound:
        exact = call.reference()
        row.wrong = relative_error(call.result, exact) > bound
        row.note = "WRONG RESULT" if row.wrong else "wrong result of PyTorch's"


def _time(row: Row, call: Call, peer: Peer, repeats: int, patience: float) -> None:
    slower = max(*turn(call.run, 2).seconds, *peer.time(row.direction, 2).seconds)
    count = calls_for(slower)
    row.peer_turns, row.turns = in_turn(
        [lambda: peer.time(row.direction, count), lambda: turn(call.run, count)], repeats, patience
    )


def _row(
    shape: Shape, direction: str, arrays: dict[str, np.ndarray], peer: Peer, folder: Path, repeats: int, patience: float
) -> Row:
    row = Row(shape, direction)
    try:
        call = calls(shape, arrays)[direction]()
    except NotImplementedError as error:
        row.note = str(error)
        return row
    row.algorithm = call.algorithm
    try:
        _compare(row, call, peer, folder)
        if not row.note:
            _time(row, call, peer, repeats, patience)
    except PeerError as error:
        row.note = f"PyTorch: {error}"
        row.turns = [turn(call.run, 1) for _ in range(repeats)]
    return row


def rows(shapes: Iterable[Shape], peer: Peer, repeats: int, patience: float, show: Callable[[Row], None]) -> list[Row]:
    """Compare and time all directions of all shapes; `show` is called with each when it is there."""
    found = []
    for shape in shapes:
        with tempfile.TemporaryDirectory(prefix="nnfast-bench-") as name:
            folder = Path(name)
            arrays = inputs(shape)
            for key, array in arrays.items():
                np.save(folder / f"{key}.npy", array)
            peer.load(name, shape.stride, shape.pad, shape.groups)
            for direction in shape.directions:
                found.append(_row(shape, direction, arrays, peer, folder, repeats, patience))
                show(found[-1])
    return found


HEADER = (f"{'convolution':30} {'batch':>5} {'pass':8} {'torch ms':>9} {'nnfast ms':>9} {'ratio':>6} {'target':>6} "
          f"{'met':4} {'algorithm':10} {'rate':>12} {'of peak':>7} {'error':>8}")  # fmt: skip


def line(row: Row, limits: Limits) -> str:
    """The row as text."""
    shape, own = row.shape, row.seconds
    start = f"{shape.name:30} {shape.batch:5} {row.direction:8}"
    if math.isnan(own):
        return f"{start} {row.note}"
    amount, peak, unit = (
        (shape.bytes, limits.copy, "GB/s") if shape.depthwise else (shape.flops, limits.flops, "GFLOP/s")
    )
    target = "" if row.target is None else f"{row.target:.1f}"
    met = "" if row.target is None or math.isnan(row.ratio) else "yes" if row.met else "?" if row.disturbed else "NO"
    ratio = math.nan if row.disturbed else row.ratio
    times = f"{row.peer_seconds * 1e3:9.3f} {own * 1e3:9.3f} {ratio:6.2f} {target:>6} {met:4}".replace("nan", "  -")
    note = " ".join(filter(None, ("(disturbed)" if row.disturbed else "", row.note)))
    rate = f"{amount / own / 1e9:4.0f} {unit:7} {amount / own / peak:7.0%}"
    return f"{start} {times} {row.algorithm:10} {rate} {row.error:8.1e} {note}".rstrip()


def summary(found: Sequence[Row], sweep: bool) -> list[str]:
    """What the rows say together."""
    timed = [row for row in found if not math.isnan(row.ratio) and not row.disturbed]
    lines = [f"{len(found)} rows, {len(timed)} of them timed undisturbed"]
    for further in (False, True):
        group = [row for row in timed if (row.shape.network in FURTHER) == further]
        if group:
            worst = min(group, key=lambda row: row.ratio)
            mean = geometric_mean([row.ratio for row in group])
            which = " and ".join(FURTHER) + ": " if further else ""
            lines.append(f"{which}{len(group)} rows, geometric mean {mean:.2f}, "
                         f"minimum {worst.ratio:.2f} ({worst.shape.name} {worst.direction})")  # fmt: skip
    aimed = [row for row in found if row.target is not None]
    if aimed:
        lines.append(f"targets met: {sum(row.met for row in aimed)} of {len(aimed)}")
    if sweep:
        slow = sorted((row for row in timed if row.ratio < SLOW), key=lambda row: row.ratio)
        lines.append(f"below {SLOW}: {len(slow)}")
        lines += [f"  {row.ratio:.2f} {row.shape.network} {row.shape.name} batch {row.shape.batch} {row.direction} "
                  f"({row.algorithm})" for row in slow]  # fmt: skip
    lines += [f"wrong: {row.shape.name} {row.direction} ({row.algorithm}), error {row.error:.1e}"
              for row in found if row.wrong]  # fmt: skip
    return lines


def record(row: Row) -> dict[str, Any]:
    """The row as plain data."""
    return {
        "name": row.shape.name, **dataclasses.asdict(row), "target": row.target, "ratio": row.ratio,
        "disturbed": row.disturbed, "flops": row.shape.flops, "bytes": row.shape.bytes,
    }  # fmt: skip


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch-python", metavar="PATH", help="the interpreter that has PyTorch")
    parser.add_argument("--sweep", action="store_true", help="shapes of well-known networks instead of the table")
    parser.add_argument("--only", metavar="TEXT", default="", help="shapes whose network and name contain this")
    parser.add_argument("--repeats", type=int, default=9, help="turns of each library")
    parser.add_argument("--threads", type=int, default=get_num_threads(), help="of each library")
    parser.add_argument("--batch", type=int, help="images, in every row")
    parser.add_argument("--algorithm", choices=CONV_ALGORITHMS, default="auto", help="as nnfast.set_conv_algorithm")
    parser.add_argument("--patience", type=float, default=5, help="seconds a row waits for undisturbed turns")
    parser.add_argument("--time-limit", type=float, default=30, help="seconds that PyTorch has for an answer")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all times here")
    return parser.parse_args()


def main() -> int:
    """Print the table; 1 if a result of nnfast's is wrong."""
    arguments = _arguments()
    set_num_threads(arguments.threads)
    set_conv_algorithm(arguments.algorithm)
    shapes = [shape if arguments.batch is None else dataclasses.replace(shape, batch=arguments.batch)
              for shape in (SWEEP if arguments.sweep else TABLE)
              if arguments.only in f"{shape.network} {shape.name}"]  # fmt: skip
    if not shapes:
        raise SystemExit(f"no shape contains {arguments.only!r}")
    limits = measure()
    peer = Peer(torch_python(arguments.torch_python), arguments.threads, arguments.time_limit)
    print(f"{arguments.threads} threads; multiply-add peak {limits.flops / 1e9:.0f} GFLOP/s, copy "
          f"{limits.copy / 1e9:.1f} GB/s{' (disturbed)' if limits.disturbed else ''}; medians of "
          f"{arguments.repeats} turns\n\n{HEADER}", flush=True)  # fmt: skip
    try:
        found = rows(
            shapes, peer, arguments.repeats, arguments.patience, lambda row: print(line(row, limits), flush=True)
        )
    finally:
        peer.close()
    print("\n" + "\n".join(summary(found, arguments.sweep)))
    print(f"PyTorch {peer.version}, channels_last, allocator that keeps memory")
    if arguments.json:
        content = {"limits": dataclasses.asdict(limits), "torch": peer.version, "rows": [record(row) for row in found]}
        arguments.json.write_text(json.dumps(content, indent=1))
    return 1 if any(row.wrong for row in found) else 0


if __name__ == "__main__":
    sys.exit(main())
