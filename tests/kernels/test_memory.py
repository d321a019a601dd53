"""No kernel touches memory that is not its own: every case runs between forbidden pages, on inputs mapped read-only."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from judging import COMPILED
from nnfast.kernels.cases import cases

PROGRAM = Path(__file__).parents[1] / "guarded.py"
PATIENCE = 30
"""Crashes after which a backend is broken enough to stop."""


def failures(backend: str, side: str, program: Path = PROGRAM) -> list[str]:
    """What goes wrong in guarded memory; after a crash the next process goes on with the case behind it.

    Lines are ``case POSITION ALGORITHM`` and ``failed POSITION ALGORITHM ERROR``.
    """
    found: list[str] = []
    table, start, crashes = cases(), 0, 0
    while crashes < PATIENCE:
        finished = subprocess.run(
            [sys.executable, str(program), backend, side, str(start)],
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        lines = finished.stdout.splitlines()
        found += [
            f"{table[int(line.split()[1])].id}: {line.split(maxsplit=2)[2]}"
            for line in lines
            if line.startswith("failed")
        ]
        if lines and lines[-1] == "done":
            return found
        started = next((line.split() for line in reversed(lines) if line.startswith("case")), None)
        if started is None:
            return [*found, f"did not start: {finished.stderr[-2000:]}"]
        last = int(started[1])
        code = -finished.returncode
        name = signal.Signals(code).name if code in list(signal.Signals) else f"exit {finished.returncode}"
        found.append(f"{table[last].id}: {started[2]}: {name} {finished.stderr[-500:]}")
        start, crashes = last + 1, crashes + 1
    return found


@pytest.mark.skipif(sys.platform == "win32", reason="needs mprotect")
@pytest.mark.parametrize("side", ["end", "begin"])
@pytest.mark.parametrize("backend", COMPILED)
def test_kernels_stay_within_their_arrays(backend: str, side: str) -> None:
    found = failures(backend, side)
    assert not found, f"{len(found)} cases:\n" + "\n".join(found)
