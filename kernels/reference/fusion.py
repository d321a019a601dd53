"""What fused operations do to images on load and to gradients on store; see `fused.py` and `pool.py`."""

from __future__ import annotations

import numpy as np

from ..fused import RELU, RELU6
from .activation import relu6_forward, relu_forward


def scaled(x: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """What the activation is applied to."""
    return x * scale + shift if len(scale) else x


def activated(before: np.ndarray, activation: int) -> np.ndarray:
    """The activation of images."""
    if activation not in (RELU, RELU6):
        return before
    after = np.empty_like(before)
    {RELU: relu_forward, RELU6: relu6_forward}[activation](before, after)
    return after


def passes(before: np.ndarray, activation: int) -> np.ndarray:
    """Where the activation's derivative is 1 and not 0."""
    if activation == RELU:
        return before > 0
    return (before > 0) & (before < 6)


def add_up(sums: np.ndarray, *values: np.ndarray) -> None:
    """Each row of `sums` = the sum of an array of images over all pixels of all images."""
    for row, images in zip(sums, values, strict=True):
        row[...] = images.sum(axis=(0, 1, 2), dtype=np.float64)
