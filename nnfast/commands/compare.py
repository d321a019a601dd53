"""``nnfast compare``: how far each backend is from the float64 reference."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

from nnfast.commands.arguments import positive_integer, use_threads
from nnfast.kernels import BACKENDS

HELP = "measure the kernels' errors"
DESCRIPTION = """\
Run every kernel on the cases of the test suite and print the largest error against the NumPy reference in float64:
absolute, relative, in units in the last place (ULP) of float32, and as a share of what the operation may have by the
length of its sums. Near zero, after cancellation, relative errors and ULPs are large for any order of summation; what
must hold is the share. Exit code 1 if one does not hold."""

_DOES_NOT_HOLD = 1


class Worst(NamedTuple):
    """The largest errors of one operation on one backend.

    Attributes
    ----------
    cases : int
    max_abs, max_rel, max_ulp, share : float
        Each the largest of all cases and outputs.
    failed : list of str
        The cases that do not hold.
    """

    cases: int
    max_abs: float
    max_rel: float
    max_ulp: float
    share: float
    failed: list[str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("op", metavar="OP", nargs="*", help="operations, such as conv2d_forward (default: all)")
    parser.add_argument("--backend", choices=BACKENDS, nargs="+", help="what is compared (default: "
                        "numba, if it is installed, and cython); reference is NumPy in float32")  # fmt: skip
    parser.add_argument("--threads", type=positive_integer, metavar="N", help="threads that compute")


def run(arguments: argparse.Namespace) -> int:
    """Compare, print, and return the exit code."""
    from nnfast.kernels import OPS, compare
    from nnfast.kernels.backends import has_numba

    for name in arguments.op:
        if name not in OPS:
            raise ValueError(f"compare: there is no operation {name!r}, expected some of {', '.join(OPS)}")
    use_threads(arguments.threads)
    backends = arguments.backend or (["numba", "cython"] if has_numba() else ["cython"])
    names = [name for name in OPS if not arguments.op or name in arguments.op]
    width = max(len("operation"), *map(len, names))
    print(f"{'operation':{width}}  backend    cases    max abs    max rel     max ULP   share of bound")
    failed = []
    for name in names:
        for backend in backends:
            row = f"{name:{width}}  {backend:9}"
            try:
                worst = worst_of(name, backend, compare)
            except (ImportError, NotImplementedError) as error:
                print(f"{row}  not available: {' '.join(str(error).split())}", flush=True)
                failed.append(f"{name} on {backend}: not available")
                continue
            print(f"{row}  {worst.cases:5}  {worst.max_abs:9.2e}  {worst.max_rel:9.2e}  {worst.max_ulp:10.4g}  "
                  f"{worst.share:7.1%}  {'does not hold' if worst.failed else 'holds'}", flush=True)  # fmt: skip
            failed += [f"{name} on {backend}: {case}" for case in worst.failed]
    for line in failed:
        print(f"does not hold: {line}")
    return _DOES_NOT_HOLD if failed else 0


def worst_of(name: str, backend: str, compare: Callable[..., Any]) -> Worst:
    """Compare one operation on all of its cases.

    Parameters
    ----------
    name : str
        A key of ``nnfast.kernels.OPS``.
    backend : str
    compare : callable
        ``nnfast.kernels.compare``.
    """
    from nnfast.kernels.cases import cases_of

    cases = cases_of(name)
    largest = [0.0, 0.0, 0.0, 0.0]
    failed = []
    for case in cases:
        for found in compare(name, case.arrays(), case.attributes, backend):
            errors = (found.max_abs, found.max_rel, found.max_ulp, found.worst)
            largest = [max(pair) for pair in zip(largest, errors, strict=True)]
            if not found.holds:
                failed.append(f"{case.name}, {found.array}: {found.worst:.3g} times the bound")
    return Worst(len(cases), largest[0], largest[1], largest[2], largest[3], failed)
