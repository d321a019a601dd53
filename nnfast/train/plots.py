"""The pictures of a run, drawn by matplotlib without a display."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nnfast.io.atomic import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 100
_MOST_LABELLED = 30  # classes; beyond, names and numbers would overlap


def plot_curves(history: Mapping[str, Sequence[float]], path: str | os.PathLike[str]) -> None:
    """Draw loss and accuracy by epoch, 1000x400 pixels.

    Parameters
    ----------
    history : mapping of str to sequence of float
        As in ``History.history``; ``val_`` curves and accuracy may be missing.
    path : path
        Of the PNG file.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(10, 4), dpi=DPI, layout="constrained")
    for axes, quantity in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for name, label in ((quantity, "training"), (f"val_{quantity}", "held out")):
            if name in history:
                axes.plot(range(1, len(history[name]) + 1), history[name], marker=".", label=label)
        axes.set(xlabel="epoch", ylabel=quantity)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    _save(figure, path)


def plot_confusion(confusion: np.ndarray, classes: Sequence[str], path: str | os.PathLike[str]) -> None:
    """Draw a confusion matrix, 800x700 pixels; each row is shaded by its fractions.

    Parameters
    ----------
    confusion : numpy.ndarray
        Counts, shape (C, C); rows are true classes.
    classes : sequence of str
        C names.
    path : path
        Of the PNG file.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 7), dpi=DPI, layout="compressed")
    axes = figure.subplots()
    fractions = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, label="fraction of the true class")
    axes.set(xlabel="predicted", ylabel="true")
    if len(classes) <= _MOST_LABELLED:
        upright = max(map(len, classes)) <= 3
        axes.set_xticks(range(len(classes)), classes, rotation=0 if upright else 90)
        axes.set_yticks(range(len(classes)), classes)
        for (row, column), count in np.ndenumerate(confusion):
            if count:
                colour = "white" if fractions[row, column] > 0.5 else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=8)
    _save(figure, path)


def _save(figure: Figure, path: str | os.PathLike[str]) -> None:
    with write_atomically(path) as file:
        figure.savefig(file, format="png")
