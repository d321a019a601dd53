"""What `nnfast bench` does: measure and show, keep, draw, or compare."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnfast.kernels.build import build

from . import compare, document, machine, plots, report
from .document import Document
from .suite import FULL, QUICK, measure
from .workload import numba_kernels
from .zoo import zoo

FAILED = 1


def run(arguments: argparse.Namespace) -> int:
    """Do what the command line says, and return the exit code; `nnfast.commands.bench` declares the arguments."""
    if arguments.compare:
        return _compare(arguments)
    if arguments.source:
        found, path = document.read(arguments.source), Path(arguments.source)
        _say(report.summary(found.machine, found.rows))
    else:
        found = _measured(arguments)
        path = document.kept_at(found) if arguments.save else machine.ROOT / document.LATEST
        document.write(found, path)
        _say(["", f"written: {path}"])
    if arguments.plot:
        _say([f"written: {picture}" for picture in plots.plot(found, path)])
    return FAILED if report.failures(found.rows) else 0


def _measured(arguments: argparse.Namespace) -> Document:
    """Measure, and show every row when it is there."""
    workloads = zoo(arguments.quick, arguments.op)
    kernels = numba_kernels(workloads)
    print(f"{len(workloads)} workloads, {len(kernels)} Numba kernels to compile if they are not on disk", flush=True)
    build(kernels)
    settings = QUICK if arguments.quick else FULL
    described = machine.describe(settings.patience)
    limits = machine.limits_of(described)
    _say([*report.header(described), "", report.TITLES])
    rows = []
    for workload in workloads:
        of_workload = measure(workload, settings, machine.blas_text(described["blas"]))
        _say([workload.name, *(report.line(row, limits) for row in of_workload)])
        rows += of_workload
    _say(["", *report.conclusion(rows)])
    return document.document(described, arguments.quick, rows)


def _compare(arguments: argparse.Namespace) -> int:
    """Two commits, or two files of results."""
    first, second = arguments.compare
    are_files = [Path(name).is_file() for name in arguments.compare]
    if all(are_files):
        entries, caveats = compare.files(Path(first), Path(second))
        entries = [entry for entry in entries if not arguments.op or entry.name.split()[0] in arguments.op]
        _say(caveats)
    elif any(are_files):
        raise ValueError(f"bench: {first} and {second} are a file of results and a commit, expected two of a kind")
    else:
        try:
            entries = compare.commits(first, second, zoo(arguments.quick, arguments.op), lambda line: _say([line]))
        except RuntimeError as error:
            raise ValueError(str(error)) from error
    _say(["", *compare.table(entries)])
    return FAILED if any(entry.move and entry.move.direction > 0 for entry in entries) else 0


def _say(lines: list[str]) -> None:
    for line in lines:
        print(line, flush=True)
