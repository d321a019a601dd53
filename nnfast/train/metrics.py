"""How good predictions are, as functions of arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np


def accuracy(outputs: np.ndarray, labels: np.ndarray) -> float:
    """Return the fraction of samples whose largest output is the label's.

    Parameters
    ----------
    outputs : numpy.ndarray
        Logits or probabilities, shape (N, C). Of equal outputs the first counts; NaN is never right.
    labels : numpy.ndarray
        Integers, shape (N,).

    Returns
    -------
    float
        In 0..1.

    Raises
    ------
    ValueError
        If the shapes do not fit, or N is 0.

    Examples
    --------
    >>> accuracy(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1]))
    0.5
    """
    if outputs.ndim != 2 or labels.shape != outputs.shape[:1] or len(labels) == 0:
        raise ValueError(
            f"accuracy: outputs have shape {outputs.shape} and labels {labels.shape}, expected (N, C) and (N,), N > 0"
        )
    # argmax takes the first NaN for the largest, which would make a diverged network right about its first class.
    right = (outputs.argmax(axis=1) == labels) & ~np.isnan(outputs).any(axis=1)
    return float(np.count_nonzero(right) / len(labels))


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """Count which class was taken for which.

    Parameters
    ----------
    labels, predictions : numpy.ndarray
        Integers in ``0..classes - 1``, shape (N,).
    classes : int

    Returns
    -------
    numpy.ndarray
        int64, shape (classes, classes); rows are true classes, columns predicted ones.

    Raises
    ------
    ValueError
        If the shapes differ or a number is out of range.

    Examples
    --------
    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    if labels.ndim != 1 or labels.shape != predictions.shape:
        raise ValueError(
            f"confusion_matrix: labels have shape {labels.shape} and predictions {predictions.shape}, expected (N,)"
        )
    for name, values in (("labels", labels), ("predictions", predictions)):
        if len(values) and not 0 <= values.min() <= values.max() < classes:
            raise ValueError(f"confusion_matrix: {name} hold {values.min()}..{values.max()}, expected 0..{classes - 1}")
    pairs = labels.astype(np.int64) * classes + predictions
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


class PrecisionRecall(NamedTuple):
    """For each class: how often a prediction of it is right, how much of it is found, and how many there are.

    Attributes
    ----------
    precision, recall : numpy.ndarray
        float64, shape (C,). NaN where nothing was predicted, or there is nothing to find.
    support : numpy.ndarray
        int64, shape (C,): the class's samples.
    """

    precision: np.ndarray
    recall: np.ndarray
    support: np.ndarray


def precision_recall(confusion: np.ndarray) -> PrecisionRecall:
    """Return precision and recall of each class.

    Parameters
    ----------
    confusion : numpy.ndarray
        As ``confusion_matrix`` returns it, shape (C, C).

    Examples
    --------
    >>> result = precision_recall(np.array([[1, 1], [0, 2]]))
    >>> result.recall.tolist(), result.support.tolist()
    ([0.5, 1.0], [2, 2])
    """
    right = np.diag(confusion).astype(np.float64)
    predicted, support = confusion.sum(axis=0), confusion.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return PrecisionRecall(right / predicted, right / support, support)


class Means:
    """Running means over batches, each weighed by its number of samples.

    Attributes
    ----------
    samples : int
        How many there were.

    Examples
    --------
    >>> means = Means()
    >>> means.add(3, {"loss": 1.0})
    >>> means.add(1, {"loss": 2.0})
    >>> means.values()
    {'loss': 1.25}
    """

    def __init__(self) -> None:
        self.samples = 0
        self._sums: dict[str, float] = {}

    def add(self, samples: int, means: Mapping[str, float]) -> None:
        """Add a batch by its means."""
        self.samples += samples
        for name, value in means.items():
            self._sums[name] = self._sums.get(name, 0.0) + samples * value

    def values(self) -> dict[str, float]:
        """Return the means so far."""
        return {name: total / self.samples for name, total in self._sums.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return the sums, for a checkpoint."""
        return {"samples": self.samples, "sums": dict(self._sums)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state_dict`` returned."""
        self.samples = state["samples"]
        self._sums = dict(state["sums"])
