"""Data sets made of others: parts, joins, and random splits."""

from __future__ import annotations

import bisect
import itertools
import math
import operator
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from nnfast.data.dataset import ArrayDataset, Dataset, TensorDataset


class Subset(Dataset):
    """The samples of another data set at some indices.

    Parameters
    ----------
    dataset : Dataset
    indices : sequence of int

    Examples
    --------
    >>> Subset(["a", "b", "c"], [2, 0])[0]
    'c'
    """

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, list):
            return self.dataset[[self.indices[i] for i in index]]
        return self.dataset[self.indices[index]]

    def take(self, indices: Sequence[int] | np.ndarray) -> tuple[np.ndarray, ...]:
        """Cut a batch out of the data set below; only if that is backed by arrays."""
        return self.dataset.take(np.asarray(self.indices, dtype=np.int64)[np.asarray(indices, dtype=np.int64)])

    @property
    def classes(self) -> list[str]:
        """The class names of the data set below."""
        return self.dataset.classes

    @property
    def labels(self) -> np.ndarray:
        """The labels at the indices; int64, a copy."""
        return self.dataset.labels[np.asarray(self.indices, dtype=np.int64)]

    @property
    def images(self) -> np.ndarray:
        """The images at the indices. A copy of all of them: for a batch use ``take``."""
        return self.dataset.images[np.asarray(self.indices, dtype=np.int64)]


class ConcatDataset(Dataset):
    """Several data sets one after the other.

    Parameters
    ----------
    datasets : iterable of Dataset
        At least one, each with a length.

    Examples
    --------
    >>> joined = ConcatDataset([["a", "b"], ["c"]])
    >>> len(joined), joined[2], joined[-3]
    (3, 'c', 'a')
    """

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise ValueError("ConcatDataset: datasets is empty, expected at least one")
        self.cumulative_sizes = list(itertools.accumulate(len(dataset) for dataset in self.datasets))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> Any:
        position = operator.index(index) + (len(self) if index < 0 else 0)
        if not 0 <= position < len(self):
            raise IndexError(f"ConcatDataset: index {index} is out of range for {len(self)} samples")
        which = bisect.bisect_right(self.cumulative_sizes, position)
        return self.datasets[which][position - (self.cumulative_sizes[which - 1] if which else 0)]


def random_split(dataset: Any, lengths: Sequence[int | float], generator: Any = None) -> list[Subset]:
    """Split a data set at random into parts that do not overlap, as in PyTorch.

    Parameters
    ----------
    dataset : Dataset
    lengths : sequence of int or of float
        Sizes that sum to ``len(dataset)``, or fractions that sum to 1; what fractions leave over goes to the parts
        in turn, one each.
    generator : numpy.random.Generator, optional
        Default: nnfast's global generator (``nnfast.manual_seed``).

    Returns
    -------
    list of Subset

    Raises
    ------
    ValueError
        If a fraction is outside 0..1 or the lengths sum to something else.

    Examples
    --------
    >>> parts = random_split(range(10), [0.7, 0.3], generator=np.random.default_rng(0))
    >>> [len(part) for part in parts]
    [7, 3]
    """
    if generator is None:
        from nnfast.random import default_generator

        generator = default_generator()
    sizes = _split_sizes(lengths, len(dataset))
    order = generator.permutation(len(dataset)).tolist()
    ends = list(itertools.accumulate(sizes))
    return [Subset(dataset, order[end - size : end]) for size, end in zip(sizes, ends, strict=True)]


def takes_batches(dataset: Any) -> bool:
    """Say whether ``dataset.take(indices)`` gives the same samples as ``dataset[i]`` does.

    A subclass that replaces ``__getitem__`` alone (to augment, say) must not be bypassed by the ``take`` it inherits.
    """
    if not isinstance(dataset, (ArrayDataset, TensorDataset, Subset)):
        return False
    for cls in type(dataset).__mro__:
        if "take" in vars(cls):
            break
        if "__getitem__" in vars(cls):
            return False
    return not isinstance(dataset, Subset) or takes_batches(dataset.dataset)


def _split_sizes(lengths: Sequence[int | float], n: int) -> list[int]:
    if math.isclose(sum(lengths), 1) and sum(lengths) <= 1:
        for position, fraction in enumerate(lengths):
            if not 0 <= fraction <= 1:
                raise ValueError(f"random_split: lengths[{position}] is {fraction}, expected a fraction in 0..1")
        sizes = [math.floor(n * fraction) for fraction in lengths]
        for extra in range(n - sum(sizes)):
            sizes[extra % len(sizes)] += 1
        for position, size in enumerate(sizes):
            if size == 0:
                warnings.warn(
                    f"random_split: lengths[{position}] of {n} samples gives an empty part",
                    stacklevel=3,
                )
        return sizes
    if any(length != int(length) or length < 0 for length in lengths) or sum(lengths) != n:
        raise ValueError(
            f"random_split: lengths are {list(lengths)}, expected sizes that sum to len(dataset) = {n} "
            "or fractions that sum to 1"
        )
    return [int(length) for length in lengths]
