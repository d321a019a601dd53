"""Does training end where PyTorch's ends: one network, one recipe, the same files, several seeds of each library.

    NNFAST_TORCH_PYTHON=/path/to/python python -m bench.accuracy ../shared/data/cifar10/cifar10-images.zip --save

The recipe is that of the ResNet paper for CIFAR, shortened: random crops of images padded by 4, mirrored half of the
time, SGD with momentum 0.9 and weight decay 5e-4, learning rate 0.1 along a cosine, batches of 128, 15 epochs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from nnfast.data import open_dataset

from .peer_process import torch_python
from .saved import Report, add_save_argument


def export(source: str, folder: Path) -> Path:
    """The data set as one .npz file that any interpreter with NumPy can read."""
    train, test = open_dataset(source)
    file = folder / "data.npz"
    arrays = {}
    for name, part in (("train", train), ("test", test)):
        arrays[f"x_{name}"], arrays[f"y_{name}"] = np.ascontiguousarray(part.images), part.labels.astype(np.int64)
    np.savez(file, **arrays)
    return file


def run(python: str, library: str, data: Path, options: list[str]) -> list[dict[str, Any]]:
    """Train once; what every epoch printed."""
    script = Path(__file__).parent / "accuracy_run.py"
    command = [python, str(script), library, str(data), *options]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def table(final: dict[str, list[float]], seconds: dict[str, list[float]]) -> list[str]:
    """One line a library: accuracies of all seeds, their mean and spread, seconds an epoch."""
    lines = [f"{'library':10}{'accuracies on the test images':36}{'mean':>8}{'least':>8}{'most':>8}{'s/epoch':>10}"]
    for library, values in final.items():
        every = ", ".join(f"{value:.2f}" for value in values)
        lines.append(
            f"{library:10}{every:36}{statistics.mean(values):8.2f}{min(values):8.2f}{max(values):8.2f}"
            f"{statistics.median(seconds[library]):10.1f}"
        )
    return lines


def main() -> None:
    """Train with each library and each seed, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="CIFAR-10: a folder or archive that nnfast.data.open_dataset reads")
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--libraries", default="nnfast,torch")
    add_save_argument(parser, "accuracy.txt")
    args = parser.parse_args()
    report = Report("bench.accuracy")
    libraries = args.libraries.split(",")
    pythons = {name: torch_python(None) if name == "torch" else sys.executable for name in libraries}
    final: dict[str, list[float]] = {name: [] for name in libraries}
    seconds: dict[str, list[float]] = {name: [] for name in libraries}
    with tempfile.TemporaryDirectory() as folder:
        data = export(args.data, Path(folder))
        for seed in range(args.seeds):
            for name in libraries:
                options = [f"--{key}={getattr(args, key)}" for key in ("model", "epochs", "lr", "threads")]
                epochs = run(pythons[name], name, data, [*options, f"--seed={seed}"])
                final[name].append(epochs[-1]["accuracy"])
                seconds[name] += [epoch["seconds"] for epoch in epochs]
                print(f"{name}, seed {seed}: {final[name][-1]:.2f} %", flush=True)
    report.say(f"{args.model}, {args.epochs} epochs, learning rate {args.lr}, {args.threads} threads")
    report.say("\n".join(table(final, seconds)))
    if args.save is not None:
        report.save(args.save or "accuracy")


if __name__ == "__main__":
    main()
