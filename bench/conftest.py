"""The suite in pytest: kernels are compiled before the first test, results are told and written after the last one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from nnfast.kernels.build import build

from bench import document, machine, report
from bench.rows import Row
from bench.suite import FULL, QUICK, measure
from bench.workload import Workload, numba_kernels


class Results:
    """The rows of this session, by workload, and the machine that they belong to."""

    def __init__(self, quick: bool) -> None:
        self.quick = quick
        self.settings = QUICK if quick else FULL
        self.machine = machine.describe(self.settings.patience)
        self.rows: dict[str, list[Row]] = {}

    def of(self, workload: Workload) -> list[Row]:
        """The rows of a workload, which is measured when it is asked for first."""
        if workload.name not in self.rows:
            self.rows[workload.name] = measure(workload, self.settings, machine.blas_text(self.machine["blas"]))
        return self.rows[workload.name]


_RESULTS = pytest.StashKey[Results]()


@pytest.fixture(scope="session")
def results(request: pytest.FixtureRequest) -> Results:
    """What the session found; Numba's kernels are compiled first, on all cores."""
    workloads = [item.callspec.params["workload"] for item in request.session.items if hasattr(item, "callspec")]
    build(numba_kernels(workloads))
    found = request.config.stash[_RESULTS] = Results(request.config.getoption("benchmark_quick"))
    return found


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print every row, end with the table of speedups, and write the JSON document."""
    found = config.stash.get(_RESULTS, None)
    if found is None:
        return
    rows = [row for of_workload in found.rows.values() for row in of_workload]
    terminalreporter.section("kernels beside NumPy")
    for text in report.summary(found.machine, rows):
        terminalreporter.write_line(text)
    path = Path(config.getoption("benchmark_results") or machine.ROOT / document.LATEST)
    document.write(document.document(found.machine, found.quick, rows), path)
    terminalreporter.write_line(f"\nwritten: {path}")
