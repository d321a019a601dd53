"""Convolutions against PyTorch: both libraries timed in one run, in turn, on the same cores.

python -m bench.convolutions [--torch-python PATH] [--sweep] [--only TEXT] [--repeats 9] [--threads 2] [--batch N]
                             [--backend numba] [--algorithm auto] [--patience 5] [--time-limit 30] [--save [FILE]]

Every result is compared with PyTorch's before it is timed; a wrong one makes the exit status 1. README.md says how to
read the table.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from nnfast.kernels import get_num_threads, set_num_threads
from nnfast.kernels.choice import CONV_ALGORITHMS, set_conv_algorithm
from nnfast.kernels.operation import COMPILED

from . import torch_rows
from .limits import Limits, measure
from .peer_process import Peer, torch_python
from .saved import Report, add_save_argument
from .shapes import FURTHER, SWEEP, TABLE, Shape
from .timing import geometric_mean
from .torch_cases import convolution

FORMAT = "channels_last"  # PyTorch's faster one
SLOW = 0.9  # rows of the sweep below this ratio are listed


@dataclasses.dataclass(frozen=True)
class Row:
    """One direction of one shape, and what was found."""

    shape: Shape
    direction: str
    found: torch_rows.Row
    backend: str = "numba"

    @property
    def algorithm(self) -> str:
        """What nnfast computed by."""
        return self.found.algorithms.get(self.backend, "")

    @property
    def ratio(self) -> float:
        """PyTorch's time to nnfast's; NaN where one of them is missing."""
        return self.found.ratio(self.backend, FORMAT)

    @property
    def target(self) -> float | None:
        """The ratio to reach."""
        return self.shape.targets.get(self.direction)

    @property
    def met(self) -> bool:
        """Whether the target was reached, as far as one can know."""
        return (self.target is not None and self.ratio >= self.target and not self.found.disturbed
                and not self.found.wrong)  # fmt: skip


def rows(
    shapes: Iterable[Shape], peer: Peer, backend: str, repeats: int, patience: float, show: Callable[[Row], None]
) -> list[Row]:
    """Compare and time all directions of all shapes; `show` is called with each when it is there."""
    found = []
    for shape in shapes:
        for direction in shape.directions:
            case = convolution(shape, direction)
            [one] = torch_rows.rows([case], peer, [FORMAT], [backend], repeats, patience, lambda row: None)
            found.append(Row(shape, direction, one, backend))
            show(found[-1])
    return found


HEADER = (f"{'convolution':30} {'batch':>5} {'pass':8} {'torch ms':>9} {'nnfast ms':>9} {'ratio':>6} {'target':>6} "
          f"{'met':4} {'algorithm':10} {'rate':>12} {'of peak':>7} {'error':>8}")  # fmt: skip


def line(row: Row, limits: Limits) -> str:
    """The row as text."""
    shape, found = row.shape, row.found
    own = found.seconds(row.backend)
    start = f"{shape.name:30} {shape.batch:5} {row.direction:8}"
    if math.isnan(own):
        return f"{start} {found.note}"
    amount, peak, unit = (
        (shape.bytes, limits.copy, "GB/s") if shape.depthwise else (shape.flops, limits.flops, "GFLOP/s")
    )
    target = "" if row.target is None else f"{row.target:.1f}"
    unsure = found.disturbed
    met = "" if row.target is None or math.isnan(row.ratio) else "yes" if row.met else "?" if unsure else "NO"
    ratio = math.nan if unsure else row.ratio
    times = f"{found.seconds(FORMAT) * 1e3:9.3f} {own * 1e3:9.3f} {ratio:6.2f} {target:>6} {met:4}".replace(
        "nan", "  -"
    )
    note = " ".join(filter(None, ("(disturbed)" if unsure else "", found.note)))
    rate = f"{amount / own / 1e9:4.0f} {unit:7} {amount / own / peak:7.0%}"
    error = found.errors.get(row.backend, math.nan)
    return f"{start} {times} {row.algorithm:10} {rate} {error:8.1e} {note}".rstrip()


def summary(found: Sequence[Row], sweep: bool) -> list[str]:
    """What the rows say together."""
    timed = [row for row in found if not math.isnan(row.ratio) and not row.found.disturbed]
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
    lines += [f"wrong: {row.shape.name} {row.direction} ({row.algorithm}), error {row.found.errors[row.backend]:.1e}"
              for row in found if row.found.wrong]  # fmt: skip
    return lines


def record(row: Row) -> dict[str, Any]:
    """The row as plain data."""
    shape = row.shape
    return row.found.record() | {
        "network": shape.network, "shape": shape.name, "batch": shape.batch, "direction": row.direction,
        "target": row.target, "ratio": None if math.isnan(row.ratio) else row.ratio, "flops": shape.flops,
        "bytes": shape.bytes}  # fmt: skip


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch-python", metavar="PATH", help="the interpreter that has PyTorch")
    parser.add_argument("--sweep", action="store_true", help="shapes of well-known networks instead of the table")
    parser.add_argument("--only", metavar="TEXT", default="", help="shapes whose network and name contain this")
    parser.add_argument("--repeats", type=int, default=9, help="turns of each library")
    parser.add_argument("--threads", type=int, default=get_num_threads(), help="of each library")
    parser.add_argument("--batch", type=int, help="images, in every row")
    parser.add_argument("--backend", choices=COMPILED, default="numba", help="nnfast's (default: numba)")
    parser.add_argument("--algorithm", choices=CONV_ALGORITHMS, default="auto", help="as nnfast.set_conv_algorithm")
    parser.add_argument("--patience", type=float, default=5, help="seconds a row waits for undisturbed turns")
    parser.add_argument("--time-limit", type=float, default=30, help="seconds that PyTorch has for an answer")
    add_save_argument(parser, "convolutions.txt or sweep.txt")
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
    report = Report("bench.convolutions")
    report.say(f"{arguments.threads} threads; multiply-add peak {limits.flops / 1e9:.0f} GFLOP/s, copy "
               f"{limits.copy / 1e9:.1f} GB/s{' (disturbed)' if limits.disturbed else ''}; medians of "
               f"{arguments.repeats} turns\n\n{HEADER}")  # fmt: skip
    try:
        found = rows(shapes, peer, arguments.backend, arguments.repeats, arguments.patience,
                     lambda row: report.say(line(row, limits)))  # fmt: skip
    finally:
        peer.close()
    report.say("\n" + "\n".join(summary(found, arguments.sweep)))
    report.say(f"PyTorch {peer.version}, channels_last, allocator that keeps memory")
    if arguments.save is not None:
        figures = {"limits": dataclasses.asdict(limits), "torch": peer.version, "rows": [record(row) for row in found]}
        report.save(arguments.save or ("sweep" if arguments.sweep else "convolutions"), figures, "convolutions")
    return 1 if any(row.found.wrong for row in found) else 0


if __name__ == "__main__":
    sys.exit(main())
