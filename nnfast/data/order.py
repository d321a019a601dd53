"""Everything random in the data package is derived here, from a seed and a position.

An order depends on ``(seed, key)`` alone: not on what was drawn before it, not on how many workers load. Orders sort
the raw 64-bit output of PCG64, because NumPy promises that stream for good, whereas ``Generator.permutation`` may
change between versions (NEP 19), and a held-out split that changes with NumPy would leak test images into training.
"""

from __future__ import annotations

import numpy as np


def generator_for(seed: int, *key: int) -> np.random.Generator:
    """Return the random generator that belongs to a seed and a position.

    Parameters
    ----------
    seed : int
        Not negative.
    *key : int
        What the numbers are for, e.g. epoch and batch. Different keys give independent streams.

    Returns
    -------
    numpy.random.Generator

    Examples
    --------
    >>> float(generator_for(7, 1, 2).random()) == float(generator_for(7, 1, 2).random())
    True
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))


def permutation(n: int, seed: int, *key: int) -> np.ndarray:
    """Return 0..n-1 in an order that depends on seed and key alone.

    Returns
    -------
    numpy.ndarray
        int64, shape (n,).

    Examples
    --------
    >>> sorted(permutation(4, 7).tolist())
    [0, 1, 2, 3]
    """
    raw = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)).random_raw(n)
    return np.argsort(raw, kind="stable").astype(np.int64, copy=False)


def stratified_split(labels: np.ndarray, held_out: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split indices in two so that both parts hold the classes in the same proportions.

    Parameters
    ----------
    labels : numpy.ndarray
        Integers, shape (n,).
    held_out : int
        How many indices the second part gets, 0..n.
    seed : int
        Not negative; the split is a function of it and of the labels alone.

    Returns
    -------
    (numpy.ndarray, numpy.ndarray)
        Shuffled int64 indices: n - held_out of them, and held_out. They are disjoint and together complete.

    Examples
    --------
    >>> rest, held = stratified_split(np.array([0, 0, 0, 0, 1, 1]), held_out=3, seed=0)
    >>> sorted(np.array([0, 0, 0, 0, 1, 1])[held].tolist())
    [0, 0, 1]
    """
    order = permutation(len(labels), seed)
    shuffled = labels[order]
    # An image's place within its class, as a fraction: the smallest fractions are spread evenly over the classes.
    place = np.empty(len(labels), dtype=np.float64)
    for label in np.unique(shuffled):
        members = np.flatnonzero(shuffled == label)
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    chosen = np.zeros(len(labels), dtype=bool)
    chosen[np.argsort(place, kind="stable")[:held_out]] = True
    return order[~chosen], order[chosen]
