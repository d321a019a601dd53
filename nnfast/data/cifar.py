"""The binary layout of CIFAR-10 and CIFAR-100 (https://www.cs.toronto.edu/~kriz/cifar.html).

A file is a row of records without a header: one label byte (CIFAR-10) or a coarse and a fine one (CIFAR-100), then
3,072 bytes of image, red, green and blue, each 32 rows of 32.
"""

from __future__ import annotations

import os

import numpy as np

from nnfast.data.archive import Source, open_source
from nnfast.data.dataset import ArrayDataset

CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
CIFAR10_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
CIFAR10_TEST = "test_batch.bin"
CIFAR100_TRAIN, CIFAR100_TEST = "train.bin", "test.bin"

_IMAGE_BYTES = 3 * 32 * 32
_MOST_NAME_BYTES = 1 << 16


def cifar10(path: str | os.PathLike[str]) -> tuple[ArrayDataset, ArrayDataset]:
    """Read CIFAR-10 in its binary layout.

    Parameters
    ----------
    path : str or os.PathLike
        A folder, zip or tar(.gz) that holds ``data_batch_1.bin`` to ``data_batch_5.bin`` and ``test_batch.bin``, in
        any subfolder. Class names come from ``batches.meta.txt`` if it is there.

    Returns
    -------
    (ArrayDataset, ArrayDataset)
        The training and the test part; uint8 images of shape (N, 3, 32, 32) in channels-last memory.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is damaged: no whole number of records, more than 10,000, a label above 9, training files of
        different length, not ten names.

    Examples
    --------
    >>> train, test = cifar10("data/cifar-10-binary.tar.gz")  # doctest: +SKIP
    >>> train  # doctest: +SKIP
    ArrayDataset(50000 images of 3x32x32, 10 classes)
    """
    with open_source(path) as source:
        return cifar10_from(source)


def cifar10_from(source: Source) -> tuple[ArrayDataset, ArrayDataset]:
    """Do what ``cifar10`` does, from an open folder or archive."""
    files = {name: _find(source, name) for name in (*CIFAR10_TRAIN, CIFAR10_TEST)}
    contents = {name: source.read(name, _MOST_NAME_BYTES) for name in _optional(source, "batches.meta.txt")}
    parts = {
        name: _records(
            source.read(name, 10_000 * (1 + _IMAGE_BYTES)),
            source.where(name),
            label_bytes=1,
        )
        for name in source.in_storage_order(files.values())
    }
    counts = [len(parts[files[name]][1]) for name in CIFAR10_TRAIN]
    if len(set(counts)) > 1:
        raise ValueError(f"{source.path}: training files hold {counts} records, expected as many in each")
    classes = list(CIFAR10_CLASSES)
    for name, content in contents.items():
        classes = _class_names(content, source.where(name), 10)
    for name, (_, labels) in parts.items():
        _check_labels(labels[:, 0], 10, source.where(name))
    images = np.concatenate([parts[files[name]][0] for name in CIFAR10_TRAIN])
    labels = np.concatenate([parts[files[name]][1][:, 0] for name in CIFAR10_TRAIN])
    test_images, test_labels = parts[files[CIFAR10_TEST]]
    return _dataset(images, labels, classes), _dataset(test_images, test_labels[:, 0], classes)


def cifar100(path: str | os.PathLike[str], coarse: bool = False) -> tuple[ArrayDataset, ArrayDataset]:
    """Read CIFAR-100 in its binary layout.

    Parameters
    ----------
    path : str or os.PathLike
        A folder, zip or tar(.gz) that holds ``train.bin`` and ``test.bin``, in any subfolder. Class names come from
        ``fine_label_names.txt`` or ``coarse_label_names.txt`` if it is there, else they are numbers.
    coarse : bool, default False
        Take the 20 superclasses in place of the 100 classes.

    Returns
    -------
    (ArrayDataset, ArrayDataset)
        The training and the test part, as for ``cifar10``.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is damaged.

    Examples
    --------
    >>> train, test = cifar100("data/cifar-100-binary.tar.gz")  # doctest: +SKIP
    """
    with open_source(path) as source:
        return cifar100_from(source, coarse)


def cifar100_from(source: Source, coarse: bool = False) -> tuple[ArrayDataset, ArrayDataset]:
    """Do what ``cifar100`` does, from an open folder or archive."""
    files = {name: _find(source, name) for name in (CIFAR100_TRAIN, CIFAR100_TEST)}
    count, column, names = (20, 0, "coarse_label_names.txt") if coarse else (100, 1, "fine_label_names.txt")
    classes = [str(label) for label in range(count)]
    for name in _optional(source, names):
        classes = _class_names(source.read(name, _MOST_NAME_BYTES), source.where(name), count)
    parts = {}
    for name in source.in_storage_order(files.values()):
        most = 50_000 if name == files[CIFAR100_TRAIN] else 10_000
        images, labels = _records(
            source.read(name, most * (2 + _IMAGE_BYTES)),
            source.where(name),
            label_bytes=2,
        )
        _check_labels(labels[:, 0], 20, source.where(name))
        _check_labels(labels[:, 1], 100, source.where(name))
        parts[name] = _dataset(images, labels[:, column], classes)
    return parts[files[CIFAR100_TRAIN]], parts[files[CIFAR100_TEST]]


def has_cifar10(source: Source) -> bool:
    """Say whether a folder or archive holds one of CIFAR-10's binary files."""
    return any(_optional(source, name) for name in (*CIFAR10_TRAIN, CIFAR10_TEST))


def has_cifar100(source: Source) -> bool:
    """Say whether a folder or archive holds one of CIFAR-100's binary files."""
    return any(_optional(source, name) for name in (CIFAR100_TRAIN, CIFAR100_TEST))


def _find(source: Source, base: str) -> str:
    found = _optional(source, base)
    if not found:
        raise FileNotFoundError(f"{source.path}: found no {base}")
    return found[0]


def _optional(source: Source, base: str) -> list[str]:
    found = [name for name in source.files if name.rpartition("/")[2] == base]
    if len(found) > 1:
        raise ValueError(f"{source.path}: holds {base} more than once: {', '.join(found)}")
    return found


def _records(content: bytearray, where: str, label_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut a file into images, (N, 32, 32, 3), and labels, (N, label_bytes)."""
    length = label_bytes + _IMAGE_BYTES
    if not content or len(content) % length:
        raise ValueError(f"{where}: {len(content)} bytes, expected a whole number of records of {length} bytes")
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, length)
    images = records[:, label_bytes:].reshape(-1, 3, 32, 32)
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1)), records[:, :label_bytes]


def _check_labels(labels: np.ndarray, classes: int, where: str) -> None:
    outside = np.flatnonzero(labels >= classes)
    if len(outside):
        raise ValueError(f"{where}: record {outside[0]} has label {labels[outside[0]]}, expected 0..{classes - 1}")


def _class_names(content: bytearray, where: str, count: int) -> list[str]:
    try:
        names = content.decode("utf-8").split()
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: not text: {error}") from error
    if len(names) != count:
        raise ValueError(f"{where}: {len(names)} class names, expected {count}")
    return names


def _dataset(nhwc: np.ndarray, labels: np.ndarray, classes: list[str]) -> ArrayDataset:
    return ArrayDataset(nhwc.transpose(0, 3, 1, 2), labels, classes)
