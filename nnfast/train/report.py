"""What a model gets right and wrong on labelled images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nnfast.train.metrics import Means, confusion_matrix, precision_recall

if TYPE_CHECKING:
    from nnfast import nn


class Report(NamedTuple):
    """The result of ``measure``.

    Attributes
    ----------
    loss : float
        Cross entropy, a mean over images.
    accuracy : float
        In 0..1.
    confusion : numpy.ndarray
        Counts, shape (C, C); rows are true classes.
    """

    loss: float
    accuracy: float
    confusion: np.ndarray

    def table(self, classes: Sequence[str]) -> str:
        """Return precision, recall and number of images of each class, a line each."""
        width = max(len("class"), *map(len, classes))
        lines = [f"{'class':{width}}  precision   recall   images"]
        for name, precision, recall, support in zip(classes, *precision_recall(self.confusion), strict=True):
            lines.append(f"{name:{width}}  {_percent(precision):>9}  {_percent(recall):>7}  {support:7,}")
        return "\n".join(lines)


def measure(model: nn.Module, loader: Iterable[Any], classes: int, compile: bool = True) -> Report:
    """Apply a model, which is in evaluation mode, to labelled images.

    Parameters
    ----------
    model : nn.Module
        From images (N, C, H, W) to logits (N, classes).
    loader : iterable
        Of batches ``(images, labels)``; at least one.
    classes : int
    compile : bool, default True
        As of ``Trainer``.

    Returns
    -------
    Report
    """
    from nnfast import functional as F
    from nnfast.grad_mode import no_grad
    from nnfast.train.steps import Steps

    steps = Steps(model, F.cross_entropy, compile=compile)
    means = Means()
    confusion = np.zeros((classes, classes), dtype=np.int64)
    with no_grad():
        for images, labels in loader:
            loss, logits = steps.evaluate(images, labels)
            means.add(len(labels), {"loss": float(loss.item())})
            confusion += confusion_matrix(labels.numpy(), logits.numpy().argmax(axis=1), classes)
    return Report(means.values()["loss"], float(np.trace(confusion) / confusion.sum()), confusion)


def _percent(fraction: float) -> str:
    return "-" if np.isnan(fraction) else f"{fraction:.2%}"
