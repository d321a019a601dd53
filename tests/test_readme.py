"""The README's Python examples run as they stand, and its two commands stand in it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_example_runs(number, tmp_path):
    done = subprocess.run([sys.executable, "-W", "error", "-c", EXAMPLES[number]], cwd=tmp_path, timeout=300,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    if "digits are right" in EXAMPLES[number]:
        assert float(re.match(r"[\d.]+", done.stdout)[0]) > 90
    if "within bounds" in EXAMPLES[number]:
        assert done.stdout.count("within bounds: True") == 1
        assert "gradient of weight numba     direct" in done.stdout


def test_there_are_examples():
    assert len(EXAMPLES) == 2


def test_commands_are_the_promised_ones():
    for command in ("pip install . && nnfast train", 'pip install -e ".[test]" && pytest'):
        assert f"\n{command}\n" in README
