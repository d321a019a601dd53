"""The options of the benchmarks, which pytest has to know before it reads any test: see bench/README.md."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
sys.path.append(str(ROOT))  # for `bench`, which is not installed


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--benchmark`` and what belongs to it; pytest-benchmark brings options of its own that begin so."""
    group = parser.getgroup("nnfast's benchmarks")
    group.addoption("--benchmark", action="store_true",
                    help="run the benchmarks in bench/ instead of the tests: every kernel beside NumPy")  # fmt: skip
    group.addoption("--benchmark-quick", action="store_true", help="fewer shapes and rounds, under three minutes")
    group.addoption("--benchmark-results", metavar="FILE",
                    help="where the results go as JSON (default: .benchmarks/nnfast.json)")  # fmt: skip


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Without other paths, ``--benchmark`` means bench/; its own tables stand for pytest-benchmark's."""
    if not config.getoption("benchmark"):
        return
    if config.args_source != pytest.Config.ArgsSource.ARGS:
        config.args = [str(ROOT / "bench")]
    config.option.benchmark_quiet = True  # --benchmark-verbose shows them all the same
