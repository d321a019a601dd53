"""``pytest --benchmark`` and its relatives, as one calls them: each in a process of its own, from the root."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGIN = """
import signal
import pytest

@pytest.fixture(autouse=True, scope="session")
def changed():
    from bench.calls import Prepared
    right = Prepared.call

    def call(prepared, backend, algorithm):
        made = right(prepared, backend, algorithm)
        if backend != "cython":
            return made
        return lambda: (made(), {instead})

    Prepared.call = call
"""


def pytest_here(*arguments, **options):
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, **options)


def collected(*arguments):
    done = pytest_here("--collect-only", "-q", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if "::" in line]


def folders(names):
    return {name.partition("/")[0] for name in names}


def test_the_flag_alone_means_the_benchmarks():
    whole, quick = collected("--benchmark"), collected("--benchmark", "--benchmark-quick")
    assert folders(whole) == folders(quick) == {"bench"}
    assert len(whole) > len(quick) > 0


def test_without_it_the_tests_are_run():
    names = collected("--ignore=tests/kernels")  # the most of them
    assert folders(names) == {"tests"}


@pytest.mark.parametrize("flags", [["--benchmark"], []])
def test_paths_are_taken_as_they_are_given(flags):
    names = collected(*flags, "tests/bench/test_flags.py")
    assert {name.partition("::")[0] for name in names} == {"tests/bench/test_flags.py"}


def test_options_of_pytest_benchmark_still_work(tmp_path):
    done = pytest_here("bench", "--benchmark-only", "--benchmark-quick", "-k", "fill",
                       "--benchmark-json", str(tmp_path / "other.json"),
                       "--benchmark-results", str(tmp_path / "own.json"))  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads((tmp_path / "other.json").read_text())["benchmarks"]
    own = json.loads((tmp_path / "own.json").read_text())["rows"]
    assert [one["group"] for one in told] == ["fill"] * 3
    assert [one["extra_info"]["speedup"] for one in told] == [row["speedup"] for row in own]
    for one, row in zip(told, own, strict=True):
        assert one["stats"]["rounds"] == len(row["seconds"])
        assert one["stats"]["min"] == pytest.approx(min(row["seconds"]))
        assert one["stats"]["max"] == pytest.approx(max(row["seconds"]))
    assert re.search(r"benchmark 'fill': 3 tests", done.stdout), "pytest-benchmark's own table"


def test_it_ends_with_the_table_and_writes_json(tmp_path):
    file = tmp_path / "results.json"
    done = pytest_here(
        "--benchmark", "--benchmark-quick", "-k", "increment or finite", "--benchmark-results", str(file)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line and not line.startswith("?")]
    assert re.fullmatch(r"=+ 6 passed, \d+ deselected in .*", lines[-1])
    assert lines[-2] == f"written: {file}"
    assert [line.split()[0] for line in lines[-6:-2]] == ["times", "increment", "finite", "geometric"]
    assert "benchmark 'finite'" not in done.stdout
    body = json.loads(file.read_text())
    assert body["quick"] is True
    assert body["machine"]["blas"]["core"]
    assert {row["op"] for row in body["rows"]} == {"increment", "finite"}


def changed(tmp_path, instead, *arguments):
    """Run the suite where the Cython kernels do something else, too."""
    (tmp_path / "changed.py").write_text(PLUGIN.format(instead=instead))
    return pytest_here("--benchmark", "--benchmark-quick", "-p", "changed", "-rN", *arguments,
                       "--benchmark-results", str(tmp_path / "results.json"),
                       env=os.environ | {"PYTHONPATH": str(tmp_path)})  # fmt: skip


def test_a_wrong_result_fails_its_test_alone(tmp_path):
    done = changed(tmp_path, 'prepared.memory["y"].__setitem__(0, 1e9)', "-k", "relu6_forward")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 2 passed" in done.stdout
    assert "relu6_forward 1 M, Cython: wrong result: y is off by" in done.stdout
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert [row["backend"] for row in rows if not row["seconds"]] == ["cython"]


def test_an_interrupted_run_tells_what_it_has(tmp_path):
    instead = 'prepared.workload.op == "finite" and signal.default_int_handler(signal.SIGINT, None)'
    done = changed(tmp_path, instead, "-k", "increment or finite")
    assert done.returncode == 2, done.stdout + done.stderr
    assert {row["op"] for row in json.loads((tmp_path / "results.json").read_text())["rows"]} == {"increment"}
