"""Every variant of every workload as a test, grouped by operation: right, and not slower than NumPy.

`pytest --benchmark` runs it. All variants of a workload are timed in turn when the first of them is asked for
(`suite.py`). Each test then tells pytest-benchmark the times of its own, so that ``--benchmark-json``,
``--benchmark-save`` and the like have them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from bench.machine import limits_of
from bench.rows import Row
from bench.workload import Workload
from bench.zoo import zoo


class Clock:
    """A clock that shows measured times again: a call of `tick` takes as long as the next one of them."""

    def __init__(self) -> None:
        self.now = 0.0
        self.left: Iterator[float] = iter(())

    def __call__(self) -> float:
        return self.now

    def tick(self) -> None:
        """Let the next time pass."""
        self.now += next(self.left)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every workload of the zoo with each of its variants."""
    cases = [pytest.param(workload, backend, algorithm, id=f"{workload.name}-{backend}-{algorithm}".rstrip("-"))
             for workload in zoo(metafunc.config.getoption("benchmark_quick"))
             for backend, algorithm in workload.variants()]  # fmt: skip
    metafunc.parametrize(("workload", "backend", "algorithm"), cases)


CLOCK = Clock()


@pytest.mark.benchmark(timer=CLOCK)
def test_operation(benchmark: Any, results: Any, workload: Workload, backend: str, algorithm: str) -> None:
    [row] = [row for row in results.of(workload) if (row.backend, row.algorithm) == (backend, algorithm)]
    if row.seconds:
        _tell(benchmark, row, results.machine)
    if row.note:
        pytest.fail(f"{row.workload}, {row.variant}: {row.note}", pytrace=False)


def _tell(benchmark: Any, row: Row, machine: dict[str, Any]) -> None:
    """Give a row's times and figures to pytest-benchmark."""
    benchmark.group = row.op
    CLOCK.now, CLOCK.left = 0.0, iter(row.seconds)
    benchmark.pedantic(CLOCK.tick, rounds=len(row.seconds))
    benchmark.extra_info.update(row.to_json(limits_of(machine)))
