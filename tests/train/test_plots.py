"""The pictures: that they are pictures, of the promised size, and show something."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from nnfast.train.plots import plot_confusion, plot_curves

HISTORY = {
    "loss": [2.0, 1.0, 0.5],
    "accuracy": [0.2, 0.6, 0.9],
    "val_loss": [1.5, 1.2, 1.1],
    "val_accuracy": [0.3, 0.5, 0.6],
}


def pixels(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def test_curves(tmp_path):
    plot_curves(HISTORY, tmp_path / "a.png")
    picture = pixels(tmp_path / "a.png")
    assert picture.shape == (400, 1000, 3)
    plot_curves(HISTORY | {"val_loss": [1.5, 1.2, 3.0]}, tmp_path / "b.png")
    assert not np.array_equal(pixels(tmp_path / "b.png")[:, :500], picture[:, :500])
    plot_curves(HISTORY | {"val_accuracy": [0.1, 0.2, 0.3]}, tmp_path / "c.png")
    assert not np.array_equal(pixels(tmp_path / "c.png")[:, 520:], picture[:, 520:])


@pytest.mark.parametrize("names", [["loss"], ["loss", "val_loss"], ["loss", "accuracy"]])
def test_curves_that_are_missing_are_left_out(tmp_path, names):
    plot_curves({name: HISTORY[name] for name in names}, tmp_path / "a.png")
    assert pixels(tmp_path / "a.png").std() > 5


def test_confusion_is_dark_where_the_counts_are(tmp_path):
    # By rows: 10 % and 90 %, 0 % and 100 %. By columns they would be dark at the upper left.
    plot_confusion(np.array([[1, 9], [0, 1]]), ["no", "yes"], tmp_path / "a.png")
    picture = pixels(tmp_path / "a.png")
    assert picture.shape == (700, 800, 3)
    dark = (picture[..., 0] < 60) & (picture[..., 2] > 80)  # the blue of a high count
    middle = dark[:, :600]
    assert middle[:300, 400:].mean() > 0.3
    assert middle[400:, 400:].mean() > 0.3
    assert middle[:300, :300].mean() < 0.05
    assert middle[400:, :300].mean() < 0.05


@pytest.mark.parametrize("classes", [1, 10, 100])
def test_confusion_of_any_number_of_classes(tmp_path, classes):
    counts = np.zeros((classes, classes), int)
    plot_confusion(counts, [f"class {label}" for label in range(classes)], tmp_path / "a.png")
    assert pixels(tmp_path / "a.png").shape == (700, 800, 3)


def test_matplotlib_waits_until_something_is_drawn():
    script = """if True:
        import sys
        import nnfast, nnfast.cli, nnfast.train, nnfast.train.plots, nnfast.train.run
        heavy = {"matplotlib", "tqdm", "PIL", "pooch", "numba"} & set(sys.modules)
        assert not heavy, heavy
    """
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
