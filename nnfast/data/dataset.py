"""Data sets: map style, with the names of ``torch.utils.data``.

A data set answers ``len(dataset)`` and ``dataset[i]``. Those that are backed by arrays also answer
``take(indices)``, which cuts a whole batch out of the arrays at once; ``DataLoader`` prefers it, because one item at
a time costs Python more than the training step of a small network.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from nnfast.data.memory import channels_last

if TYPE_CHECKING:
    from nnfast.data.subset import ConcatDataset
    from nnfast.tensor import Tensor

# Without names, the classes are counted from the labels. A stray label of 10**12 must not become 10**12 names.
MOST_UNNAMED_CLASSES = 100_000


class Dataset:
    """Base of map-style data sets, as in PyTorch: give ``__getitem__`` and ``__len__``.

    Examples
    --------
    >>> class Squares(Dataset):
    ...     def __len__(self):
    ...         return 4
    ...     def __getitem__(self, index):
    ...         return index, index * index
    >>> Squares()[3]
    (3, 9)
    """

    def __getitem__(self, index: Any) -> Any:
        """Return one sample, usually ``(image, label)``."""
        raise NotImplementedError(f"{type(self).__name__}: a Dataset must define __getitem__")

    def __add__(self, other: Dataset) -> ConcatDataset:
        """Return both data sets, one after the other."""
        from nnfast.data.subset import ConcatDataset

        return ConcatDataset([self, other])


class ImageDataset(Protocol):
    """What ``digits()``, ``open_dataset()`` and the file readers return: labelled images.

    Attributes
    ----------
    images : numpy.ndarray
        uint8 or float32, shape (N, C, H, W).
    labels : numpy.ndarray
        int64, shape (N,), each in ``0..len(classes) - 1``.
    classes : list of str
        The classes' names, by label.
    """

    @property
    def images(self) -> np.ndarray: ...

    @property
    def labels(self) -> np.ndarray: ...

    @property
    def classes(self) -> list[str]: ...

    def take(self, indices: np.ndarray) -> tuple[np.ndarray, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any) -> Any: ...


class ArrayDataset(Dataset):
    """Labelled images in arrays, in memory or memory-mapped; nothing is copied until a batch is cut out.

    Parameters
    ----------
    images : numpy.ndarray or numpy.memmap
        uint8 or float32, shape (N, C, H, W), any memory layout. uint8 leaves as float32, divided by 255.
    labels : array_like
        Shape (N,); integers, or floats with integer values, each in ``0..len(classes) - 1``.
    classes : sequence of str, optional
        Names by label. Default: ``"0"`` to the largest label.

    Raises
    ------
    TypeError
        If images are not an array.
    ValueError
        If images are not 4-D, empty or of another type; if labels are not N integers in range.

    Examples
    --------
    >>> data = ArrayDataset(np.full((2, 1, 8, 8), 255, dtype=np.uint8), [0, 1], classes=["cat", "dog"])
    >>> data
    ArrayDataset(2 images of 1x8x8, 2 classes)
    >>> images, labels = data.take([1, 0, 1])
    >>> images.shape, float(images.max()), labels.tolist()
    ((3, 1, 8, 8), 1.0, [1, 0, 1])
    """

    def __init__(self, images: np.ndarray, labels: Any, classes: Sequence[str] | None = None) -> None:
        self.images = _checked_images(images)
        self.labels = _checked_labels(labels, len(self.images))
        self.classes = _checked_classes(classes, self.labels)
        # A plain view: indexing a memmap builds a memmap object each time, which costs more than a small batch.
        self._nhwc = np.asarray(self.images).transpose(0, 2, 3, 1)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return ``(image, label)``: a float32 tensor of shape (C, H, W), and an int."""
        from nnfast.tensor import from_numpy

        images, labels = self.take(np.array([operator.index(index)]))
        return from_numpy(np.ascontiguousarray(images[0])), int(labels[0])

    def take(self, indices: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cut a batch out.

        Parameters
        ----------
        indices : sequence of int

        Returns
        -------
        images : numpy.ndarray
            float32, shape (len(indices), C, H, W), in channels-last memory; a copy.
        labels : numpy.ndarray
            int64, shape (len(indices),).

        Raises
        ------
        IndexError
            If an index is out of range.
        """
        indices = np.asarray(indices, dtype=np.int64)
        nhwc = self._nhwc[indices]
        if nhwc.dtype == np.uint8:
            nhwc = np.divide(nhwc, np.float32(255), dtype=np.float32, order="C")
        return channels_last(nhwc.transpose(0, 3, 1, 2)), self.labels[indices]

    def __repr__(self) -> str:
        shape = "x".join(str(size) for size in self.images.shape[1:])
        return f"ArrayDataset({len(self)} images of {shape}, {len(self.classes)} classes)"


class TensorDataset(Dataset):
    """Arrays or tensors side by side; sample i is the tuple of their i-th entries, as in PyTorch.

    Unlike ``ArrayDataset`` it neither checks nor scales values: what goes in comes out.

    Parameters
    ----------
    *tensors : Tensor or numpy.ndarray
        All with the same first size.

    Raises
    ------
    ValueError
        If none is given, or the first sizes differ.

    Examples
    --------
    >>> data = TensorDataset(np.arange(6.0).reshape(3, 2), np.array([5, 6, 7]))
    >>> len(data), data[1]
    (3, (array([2., 3.]), np.int64(6)))
    """

    def __init__(self, *tensors: Any) -> None:
        if not tensors:
            raise ValueError("TensorDataset: got no tensors, expected at least one")
        for position, tensor in enumerate(tensors):
            if not getattr(tensor, "shape", ()):
                raise ValueError(
                    f"TensorDataset: tensors[{position}] is {type(tensor).__name__} without a first dimension, "
                    "expected Tensor or numpy.ndarray"
                )
        sizes = [int(tensor.shape[0]) for tensor in tensors]
        if len(set(sizes)) > 1:
            raise ValueError(f"TensorDataset: first sizes are {sizes}, expected all the same")
        self.tensors = tensors

    def __len__(self) -> int:
        return int(self.tensors[0].shape[0])

    def __getitem__(self, index: Any) -> tuple[Any, ...]:
        return tuple(tensor[index] for tensor in self.tensors)

    def take(self, indices: Sequence[int] | np.ndarray) -> tuple[np.ndarray, ...]:
        """Cut a batch out: one array for each tensor, a copy; 4-D arrays in channels-last memory."""
        indices = np.asarray(indices, dtype=np.int64)
        batch = []
        for tensor in self.tensors:
            rows = (tensor if isinstance(tensor, np.ndarray) else tensor.numpy())[indices]
            batch.append(channels_last(rows) if rows.ndim == 4 else np.ascontiguousarray(rows))
        return tuple(batch)


def share_classes(parts: Sequence[ArrayDataset]) -> None:
    """Give parts of one data set, whose classes were counted from their labels, the names of the largest count."""
    classes = max((part.classes for part in parts), key=len)
    for part in parts:
        part.classes = classes


def _checked_images(images: Any) -> np.ndarray:
    if not isinstance(images, np.ndarray):
        raise TypeError(f"ArrayDataset: images is {type(images).__name__}, expected a numpy.ndarray")
    if images.dtype not in (np.uint8, np.float32):
        raise ValueError(f"ArrayDataset: images has dtype {images.dtype}, expected uint8 or float32")
    if images.ndim != 4:
        raise ValueError(f"ArrayDataset: images has shape {images.shape}, expected (N, C, H, W)")
    if images.size == 0:
        raise ValueError(f"ArrayDataset: images has shape {images.shape} and is empty, expected at least one image")
    return images


def _checked_labels(labels: Any, n: int) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.ndim != 1 or len(labels) != n:
        raise ValueError(f"ArrayDataset: labels has shape {labels.shape}, expected ({n},), one for each image")
    if labels.dtype.kind == "f":
        if np.isnan(labels).any():
            raise ValueError(f"ArrayDataset: labels[{np.flatnonzero(np.isnan(labels))[0]}] is NaN, expected integers")
        fractional = np.flatnonzero(labels != np.trunc(labels))
        if len(fractional):
            raise ValueError(f"ArrayDataset: labels[{fractional[0]}] is {labels[fractional[0]]}, expected integers")
    elif labels.dtype.kind not in "iub":
        raise ValueError(f"ArrayDataset: labels has dtype {labels.dtype}, expected integers")
    # Checked before the cast: uint64 and inf would wrap around to something that looks valid.
    outside = np.flatnonzero((labels < 0) | (labels > np.iinfo(np.int32).max))
    if len(outside):
        raise ValueError(f"ArrayDataset: labels[{outside[0]}] is {labels[outside[0]]}, expected a class number from 0")
    return np.ascontiguousarray(labels, dtype=np.int64)


def _checked_classes(classes: Sequence[str] | None, labels: np.ndarray) -> list[str]:
    largest = int(labels.max())
    if classes is None:
        if largest >= MOST_UNNAMED_CLASSES:
            raise ValueError(
                f"ArrayDataset: labels holds {largest}; for more than {MOST_UNNAMED_CLASSES} classes pass classes="
            )
        return [str(label) for label in range(largest + 1)]
    if isinstance(classes, str) or not all(isinstance(name, str) for name in classes):
        raise ValueError(f"ArrayDataset: classes is {classes!r}, expected a list of names")
    if largest >= len(classes):
        first = int(np.flatnonzero(labels >= len(classes))[0])
        raise ValueError(
            f"ArrayDataset: labels[{first}] is {labels[first]}, expected 0..{len(classes) - 1}, "
            f"for {len(classes)} classes"
        )
    return list(classes)
