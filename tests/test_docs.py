"""The examples in docs/compile.md run as they stand, one after the other."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

TEXT = (Path(__file__).parents[1] / "docs" / "compile.md").read_text()


def test_examples_run(tmp_path):
    program = "\n".join(re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL))
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], cwd=tmp_path, timeout=300,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "nodes: 19 captured" in done.stdout
    assert "10 calls of step: " in done.stdout
    assert (tmp_path / "step.json").exists()
