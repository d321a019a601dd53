"""Judge the first command: what it printed and what it left behind.

python .ci/check_run.py LOG
"""

import csv
import re
import sys
from pathlib import Path

log = Path(sys.argv[1]).read_text()
last = log.strip().splitlines()[-1]
runs = sorted(Path("runs").iterdir(), key=lambda path: path.stat().st_mtime)
run = runs[-1]
for name in ("model.safetensors", "config.json", "history.csv", "curves.png", "confusion.png"):
    assert (run / name).stat().st_size > 0, f"{run / name} is missing or empty"
assert "nnfast predict" in last, f"the last line does not say how to use the model: {last!r}"
assert str(run) in last, f"the last line does not say where the model is: {last!r}"
with open(run / "history.csv", newline="") as file:
    rows = list(csv.DictReader(file))
accuracy = float(rows[-1]["val_accuracy"])
assert accuracy >= 0.985, f"accuracy {accuracy:.4f} on the held-out digits, expected at least 0.985"
assert re.search(r"9[89]\.\d", log) or "100.0" in log, "the log does not show the accuracy"
print(f"{run}: accuracy {accuracy:.4f}")
