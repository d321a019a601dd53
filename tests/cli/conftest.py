"""Running the command line in this process, and one small run for many tests to look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nnfast.cli import main


def small_images(size=6, channels=1, images=60):
    """Return arrays as a .npz data set holds them: three classes, each bright in another column."""
    rng = np.random.default_rng(0)
    labels = np.arange(images) % 3
    pixels = rng.integers(0, 100, (images, size, size, channels), dtype=np.uint8)
    for i, label in enumerate(labels):
        pixels[i, :, 2 * label : 2 * label + 2] += 150
    cut = 2 * images // 3
    return {"x_train": pixels[:cut], "y_train": labels[:cut], "x_test": pixels[cut:], "y_test": labels[cut:]}


@pytest.fixture(scope="session")
def small_data(tmp_path_factory) -> Path:
    """Return the path of a data set of 6x6 images."""
    path = tmp_path_factory.mktemp("data") / "small.npz"
    np.savez(path, **small_images())
    return path


@pytest.fixture(scope="session")
def finished(tmp_path_factory, small_data) -> Path:
    """Return the path of a finished run; tests must not change it."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    arguments = [
        "--data",
        str(small_data),
        "--epochs",
        "6",
        "--batch-size",
        "10",
        "--lr",
        "0.01",
        "--backend",
        "cython",
    ]
    assert main(["train", *arguments, "--run", str(folder), "--quiet"]) == 0
    return folder


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Return a function that runs a command in an empty folder: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stopped:  # argparse's way
            code = stopped.code
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def refused(run):
    """Return a function that runs a command that must fail with code 2 and one line; it returns the line."""

    def call(*arguments):
        code, out, err = run(*arguments)
        assert (code, out) == (2, ""), err
        assert err.startswith("nnfast: ")
        assert err.count("\n") == 1
        return err.strip()

    return call
