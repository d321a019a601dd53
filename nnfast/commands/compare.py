"""``nnfast compare``: how far each backend is from the reference, in its own type and in a wider one."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nnfast.commands.arguments import positive_integer, use_threads
from nnfast.kernels import BACKENDS

if TYPE_CHECKING:
    from nnfast.kernels.judgement import Call, Comparison, Errors

    Found = list[tuple[str, Comparison]]  # each with the name of its case

HELP = "measure the kernels' errors"
DESCRIPTION = """\
Run every kernel on the cases of the test suite, with each of its algorithms, and print the largest errors: absolute,
relative, and in units in the last place (ULP), against the NumPy reference in the same type and against it in a wider
one, and the error against the wider one as a share of what the operation may have by the length of its sums. Near zero,
after cancellation, relative errors and ULPs are large for any order of summation; what must hold is the share.

OP is a kernel, such as conv2d_forward, or what several belong to: conv2d is conv2d_forward, conv2d_backward_data and
conv2d_backward_weight. numba and cython compute in float32, the reference in float64 too, where NumPy's longdouble is
the wider type. Exit code 0 if all hold, 1 if one does not, 2 for wrong usage."""

_DOES_NOT_HOLD = 1
_PASSES = re.compile(r"_(forward|backward|backward_data|backward_weight|inference|inference_backward|step)$")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("op", metavar="OP", nargs="*", help="such as conv2d or conv2d_forward (default: all)")
    parser.add_argument("--backend", choices=BACKENDS, nargs="+",
                        help="what is compared (default: all that are installed and compute in the type)")  # fmt: skip
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32",
                        help="what is computed in; float64 is the reference's alone (default: float32)")  # fmt: skip
    parser.add_argument("--threads", type=positive_integer, metavar="N", help="threads that compute")


def run(arguments: argparse.Namespace) -> int:
    """Compare, print, and return the exit code."""
    from nnfast.kernels.cases import cases_of
    from nnfast.kernels.judgement import Call, errors_header, wider_name

    backends = _backends(arguments.backend, arguments.dtype)
    names = _operations(arguments.op)
    use_threads(arguments.threads)
    dtype = np.dtype(arguments.dtype)
    width = max(len("operation"), *map(len, names))
    above, header = errors_header(arguments.dtype, wider_name(dtype))
    print(f"{'':{width + 33}}{above}  share of")
    print(f"{'operation':{width}}  {'backend':9} {'algorithm':14} cases  {header}     bound")
    failed = []
    for name in names:
        calls = {
            case.name: Call(name, case.arrays(dtype.type), case.attributes, dtype=dtype) for case in cases_of(name)
        }
        for backend in backends:
            row = f"{name:{width}}  {backend:9}"
            try:
                found = _by_algorithm(calls, backend)
            except (ImportError, NotImplementedError) as error:
                print(f"{row} not available: {' '.join(str(error).split())}", flush=True)
                failed.append(f"{name} on {backend}: not available")
                continue
            for algorithm, compared in found.items():
                wrong = [f"{case}, {item.array}: {item.worst:.3g} times the bound"
                         for case, item in compared if not item.holds]  # fmt: skip
                print(f"{row} {algorithm or '-':14} {_figures(compared)}  "
                      f"{'does not hold' if wrong else 'holds'}", flush=True)  # fmt: skip
                where = f"{name} on {backend}{f' ({algorithm})' if algorithm else ''}"
                failed += [f"{where}: {text}" for text in wrong]
    if arguments.dtype == "float64" and not arguments.backend:
        print("numba and cython compute in float32 only and are not compared in float64")
    for line in failed:
        print(f"does not hold: {line}")
    return _DOES_NOT_HOLD if failed else 0


def _backends(chosen: Sequence[str] | None, dtype: str) -> Sequence[str]:
    """The backends to compare in a type."""
    from nnfast.kernels.judgement import installed

    if dtype == "float32":
        return chosen or installed()
    narrow = [name for name in chosen or () if name != "reference"]
    if narrow:
        raise ValueError(f"compare: {' and '.join(narrow)} computes in float32 only; float64 is the reference's alone: "
                         "--backend reference")  # fmt: skip
    return ["reference"]


def _operations(chosen: Sequence[str]) -> list[str]:
    """The kernels that `chosen` names, all if it is empty, in the order of `OPS`."""
    from nnfast.kernels import OPS

    families = {name: _PASSES.sub("", name) for name in OPS}
    for name in chosen:
        if name not in OPS and name not in families.values():
            raise ValueError(f"compare: there is no operation {name!r}, expected some of "
                             f"{', '.join(dict.fromkeys(families.values()))}, or one of their kernels")  # fmt: skip
    return [name for name, family in families.items() if not chosen or name in chosen or family in chosen]


def _by_algorithm(calls: Mapping[str, Call], backend: str) -> dict[str | None, Found]:
    """What is found by each algorithm of a backend, over the cases that suit it."""
    from nnfast.kernels.judgement import judge, ways

    found: dict[str | None, Found] = {}
    for case, call in calls.items():
        for _, algorithm in ways(call, [backend]):
            found.setdefault(algorithm, []).extend((case, item) for item in judge(call, backend, algorithm))
    return found


def _figures(compared: Found) -> str:
    """The number of cases and the largest errors of all of them, as text."""
    from nnfast.kernels.judgement import errors_columns

    narrow = [item.against_reference for _, item in compared if item.against_reference is not None]
    columns = errors_columns(_largest(narrow) if narrow else None, _largest(item.against_wider for _, item in compared))
    return f"{len({case for case, _ in compared}):5}  {columns}  {max(item.worst for _, item in compared):8.1%}"


def _largest(errors: Iterable[Errors]) -> Errors:
    """The largest error of each kind."""
    from nnfast.kernels.judgement import Errors

    return Errors(*map(max, zip(*((item.max_abs, item.max_rel, item.max_ulp) for item in errors), strict=True)))
