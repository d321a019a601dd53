"""Every kernel that PyTorch has, too, side by side with it: forward and gradients, optimizers, Numba and Cython.

python -m bench.pytorch [OP ...] [--backend numba cython] [--only TEXT] [--repeats 9] [--threads 2] [--patience 5]
                        [--time-limit 30] [--torch-python PATH] [--save [FILE]]

OP is a kernel or the beginning of its name: conv2d, batch_norm_forward. Every result is compared with PyTorch's before
it is timed; a wrong one makes the exit status 1. README.md says how to read the table.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence

from nnfast.kernels import get_num_threads, set_num_threads
from nnfast.kernels.operation import COMPILED

from .peer_process import Peer, torch_python
from .saved import Report, add_save_argument
from .timing import geometric_mean
from .torch_cases import CASES
from .torch_rows import Row, rows
from .training_table import number

FORMATS = ("nchw", "channels_last")
EQUAL = 0.95
"""From this ratio on nnfast counts as no slower: differences below a twentieth are noise."""


def header(backends: Sequence[str]) -> str:
    """The head of the table."""
    times = " ".join(f"{name:>9}" for name in backends)
    ratios = " ".join(f"| {name:>6} x NCHW  x best" for name in backends)
    return f"{'kernel':30} {'sizes':36} {'NCHW ms':>9} {'ch_last':>9} {times} {ratios}    error"


def line(row: Row, backends: Sequence[str]) -> str:
    """A row of the table."""
    start = f"{row.case.op:30} {row.case.name:36}"
    if not row.turns:
        return f"{start} {row.note}"
    times = " ".join(f"{number(row.seconds(side) * 1e3):>9}" for side in (*FORMATS, *backends))
    unsure = row.disturbed
    ratios = " ".join(f"| {_ratio(row, backend, FORMATS[:1]):>13} {_ratio(row, backend, FORMATS):>7}"
                      for backend in backends)  # fmt: skip
    error = max(row.errors.values(), default=math.nan)
    note = " ".join(filter(None, ("(disturbed)" if unsure else "", row.note)))
    return f"{start} {times} {ratios} {'-' if math.isnan(error) else f'{error:.1e}':>8} {note}".rstrip()


def _ratio(row: Row, backend: str, formats: Sequence[str]) -> str:
    return number(math.nan if row.disturbed else row.ratio(backend, *formats))


def summary(found: Sequence[Row], backends: Sequence[str]) -> list[str]:
    """What the rows say of each backend: against the better format, and whether NCHW is ever faster."""
    timed = [row for row in found if not row.disturbed and not math.isnan(row.seconds(FORMATS[0]))]
    lines = [f"{len(found)} kernels, {len(timed)} of them timed undisturbed beside PyTorch"]
    for backend in backends if timed else ():
        for title, formats in (("PyTorch NCHW", FORMATS[:1]), ("the better of both formats", FORMATS)):
            ratios = [row.ratio(backend, *formats) for row in timed]
            slower = sorted((ratio, row) for ratio, row in zip(ratios, timed, strict=True) if ratio < EQUAL)  # type: ignore
            never = "never slower" if not slower else f"slower in {len(slower)} of {len(timed)}"
            lines.append(f"{backend} against {title}: geometric mean {geometric_mean(ratios):.2f}, "
                         f"minimum {min(ratios):.2f}, {never}")  # fmt: skip
            if formats == FORMATS[:1]:
                lines += [f"  {ratio:.2f} {row.case.op} {row.case.name}" for ratio, row in slower]
    lines += [f"wrong: {row.case.op} {row.case.name} on {', '.join(row.wrong)}" for row in found if row.wrong]
    return lines


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ops", nargs="*", metavar="OP", help="kernels, or how their names begin (default: all)")
    parser.add_argument(
        "--backend", choices=COMPILED, nargs="+", default=list(COMPILED), help="nnfast's (default: both)"
    )
    parser.add_argument("--only", metavar="TEXT", default="", help="kernels whose name and sizes contain this")
    parser.add_argument("--repeats", type=int, default=9, help="turns of each side")
    parser.add_argument("--threads", type=int, default=get_num_threads(), help="of each library")
    parser.add_argument("--patience", type=float, default=5, help="seconds a row waits for undisturbed turns")
    parser.add_argument("--time-limit", type=float, default=30, help="seconds that PyTorch has for an answer")
    parser.add_argument("--torch-python", metavar="PATH", help="the interpreter that has PyTorch")
    add_save_argument(parser, "kernels.txt")
    return parser.parse_args()


def main() -> int:
    """Print the table; 1 if a result of nnfast's is wrong."""
    arguments = _arguments()
    set_num_threads(arguments.threads)
    cases = [case for case in CASES if case.op.startswith(tuple(arguments.ops) or "")
             and arguments.only in f"{case.op} {case.name}"]  # fmt: skip
    if not cases:
        raise SystemExit(f"no kernel begins with one of {arguments.ops} and contains {arguments.only!r}")
    peer = Peer(torch_python(arguments.torch_python), arguments.threads, arguments.time_limit)
    report = Report("bench.pytorch")
    report.say(f"{arguments.threads} threads; medians of {arguments.repeats} turns, ms; above 1 nnfast is faster\n\n"
               f"{header(arguments.backend)}")  # fmt: skip
    try:
        found = rows(cases, peer, FORMATS, arguments.backend, arguments.repeats, arguments.patience,
                     lambda row: report.say(line(row, arguments.backend)))  # fmt: skip
    finally:
        peer.close()
    report.say("\n" + "\n".join(summary(found, arguments.backend)))
    report.say(f"PyTorch {peer.version}, allocator that keeps memory")
    if arguments.save is not None:
        figures = {"torch": peer.version, "backends": arguments.backend, "rows": [row.record() for row in found]}
        report.save(arguments.save or "kernels", figures, "kernels")
    return 1 if any(row.wrong for row in found) else 0


if __name__ == "__main__":
    sys.exit(main())
