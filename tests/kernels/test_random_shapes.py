"""Random shapes of every kernel between forbidden pages; see `random_shapes.py`. ``pytest -m slow`` runs thousands."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from judging import COMPILED
from nnfast.kernels.ops import OPS
from random_cases import GENERATORS, draw
from random_shapes import kernels

PROGRAM = Path(__file__).parents[1] / "random_shapes.py"
PATIENCE = 30
"""Crashes after which a backend is broken enough to stop."""


def failures(backend: str, count: int, program: Path = PROGRAM) -> list[str]:
    """What goes wrong with so many shapes of each kernel; after a crash the next process goes on behind it."""
    found: list[str] = []
    skip = crashes = ran = 0
    while crashes < PATIENCE:
        command = [sys.executable, str(program), backend, "--count", str(count), "--skip", str(skip)]
        finished = subprocess.run(command, capture_output=True, text=True, timeout=3600, check=False)
        lines = finished.stdout.splitlines()
        found += [line.removeprefix("failed ") for line in lines if line.startswith("failed")]
        ran += sum(line.startswith("shape") for line in lines)
        if lines and lines[-1].startswith("done"):
            assert found or ran == count * len(kernels(backend)), f"only {ran} shapes were run"
            return found
        last = next((line.split(maxsplit=2) for line in reversed(lines) if line.startswith("shape")), None)
        if last is None:
            return [*found, f"did not start: {finished.stderr[-2000:]}"]
        code = -finished.returncode
        name = signal.Signals(code).name if code in list(signal.Signals) else f"exit {finished.returncode}"
        found.append(f"{last[2]}: {name} {finished.stderr[-500:]}")
        skip, crashes = int(last[1]), crashes + 1
    return found


@pytest.mark.skipif(sys.platform == "win32", reason="needs mprotect")
@pytest.mark.parametrize("count", [30, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("backend", COMPILED)
def test_random_shapes_are_right_and_stay_within_their_arrays(backend: str, count: int) -> None:
    found = failures(backend, count)
    assert not found, f"{len(found)} shapes; repeat one with python {PROGRAM.name} {backend} --count 1 --only " + (
        "\n".join(found)
    )


def test_every_operation_has_random_shapes_that_a_seed_repeats() -> None:
    assert GENERATORS.keys() == OPS.keys()
    for op, algorithm in kernels("numba"):
        first, again, other = (draw(op, algorithm, seed) for seed in (7, 7, 8))
        assert first.attributes == again.attributes
        for name, value in first.values.items():
            assert value.tobytes() == again.values[name].tobytes(), f"{op} {algorithm}: {name}"
        assert any(value.tobytes() != other.values[name].tobytes() for name, value in first.values.items())
