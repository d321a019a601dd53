"""The IDX format of MNIST and Fashion-MNIST (http://yann.lecun.com/exdb/mnist/), plain or gzip.

A file is a magic number (two zero bytes, a type, the number of dimensions), each dimension as a big-endian 32-bit
number, then the values in C order, big-endian, up to the end of the file.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO

import numpy as np

from nnfast.data.archive import DAMAGE, Source, open_source, read_at_most
from nnfast.data.dataset import ArrayDataset, share_classes

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MOST_DIMENSIONS = 32  # as many as every NumPy can hold
# What MNIST's files hold: type and dimensions, which make the magic numbers 2051 and 2049.
_KINDS = {"images": (0x08, 3), "labels": (0x08, 1)}

FASHION_MNIST_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Read one IDX file, plain or gzip (told apart by content, not by name).

    Memory grows with the bytes that are really there, up to what the header claims and no further.

    Parameters
    ----------
    path : str or os.PathLike

    Returns
    -------
    numpy.ndarray
        Of the file's type and shape, in native byte order.

    Raises
    ------
    ValueError
        If the magic number is wrong, the header does not fit the content, or the gzip stream is damaged.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = os.path.join(folder, "labels-idx1-ubyte")
    ...     with open(file, "wb") as stream:
    ...         _ = stream.write(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9]))
    ...     read_idx(file)
    array([7, 8, 9], dtype=uint8)
    """
    with open(path, "rb") as stream, _decompressed(stream) as content:
        return _parse(content, str(path), None)


def mnist(path: str | os.PathLike[str], classes: Sequence[str] | None = None) -> tuple[ArrayDataset, ArrayDataset]:
    """Read a folder, zip or tar with the four files of MNIST, Fashion-MNIST or another set in their layout.

    Parameters
    ----------
    path : str or os.PathLike
        Holds ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte`` and
        ``t10k-labels-idx1-ubyte``; each may end in ``.gz`` or have a dot before ``idx``; in any subfolder.
    classes : sequence of str, optional
        Default: "0", "1", ...; for Fashion-MNIST pass ``FASHION_MNIST_CLASSES``.

    Returns
    -------
    (ArrayDataset, ArrayDataset)
        The training and the test part; uint8 images of shape (N, 1, H, W).

    Raises
    ------
    FileNotFoundError
        If one of the four is missing.
    ValueError
        If a file is damaged, or images and labels differ in number.

    Examples
    --------
    >>> train, test = mnist("data/mnist")  # doctest: +SKIP
    >>> train  # doctest: +SKIP
    ArrayDataset(60000 images of 1x28x28, 10 classes)
    """
    with open_source(path) as source:
        return mnist_from(source, classes)


def mnist_from(source: Source, classes: Sequence[str] | None = None) -> tuple[ArrayDataset, ArrayDataset]:
    """Do what ``mnist`` does, from an open folder or archive."""
    parts = [_read_part(source, part) for part in ("train", "t10k")]
    train, test = (ArrayDataset(images[:, np.newaxis], labels, classes) for images, labels in parts)
    share_classes([train, test])
    return train, test


def has_mnist(source: Source) -> bool:
    """Say whether a folder or archive holds a file with one of MNIST's names."""
    return any(_find(source, part, what) for part in ("train", "t10k") for what in _KINDS)


def _read_part(source: Source, part: str) -> tuple[np.ndarray, np.ndarray]:
    arrays = []
    for what, kind in _KINDS.items():
        name = _find(source, part, what)
        if name is None:
            raise FileNotFoundError(f"{source.path}: found none of {', '.join(_names(part, what))}")
        with source.open(name) as stream, _decompressed(stream) as content:
            arrays.append(_parse(content, source.where(name), kind))
    images, labels = arrays
    if len(images) != len(labels):
        raise ValueError(f"{source.path}: {part} has {len(images)} images and {len(labels)} labels, expected as many")
    return images, labels


def _names(part: str, what: str) -> list[str]:
    dimensions = _KINDS[what][1]
    return [f"{part}-{what}{dot}idx{dimensions}-ubyte{gz}" for dot in "-." for gz in ("", ".gz")]


def _find(source: Source, part: str, what: str) -> str | None:
    """Return the file with one of the names; in one folder, a plain one before a compressed one."""
    names = _names(part, what)
    found = [name for name in source.files if name.rpartition("/")[2] in names]
    folders = sorted({name.rpartition("/")[0] for name in found})
    if len(folders) > 1:
        raise ValueError(f"{source.path}: holds {part} {what} in several folders: {', '.join(folders)}; choose one")
    return min(found, key=lambda name: names.index(name.rpartition("/")[2]), default=None)


@contextmanager
def _decompressed(stream: IO[bytes]) -> Iterator[IO[bytes]]:
    compressed = stream.read(2) == b"\x1f\x8b"
    stream.seek(0)
    if not compressed:
        yield stream
        return
    with gzip.GzipFile(fileobj=stream) as content:
        yield content  # type: ignore[misc]


def _parse(stream: IO[bytes], where: str, expected: tuple[int, int] | None) -> np.ndarray:
    try:
        magic = read_at_most(stream, 4)
        if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES or not 1 <= magic[3] <= _MOST_DIMENSIONS:
            raise ValueError(
                f"{where}: magic is {magic.hex() or 'missing'}, expected that of an IDX file (0000 08 01..)"
            )
        if expected is not None and (magic[2], magic[3]) != expected:
            raise ValueError(
                f"{where}: magic is {magic.hex()}, expected 0000{expected[0]:02x}{expected[1]:02x} "
                f"({expected[1]} dimensions of unsigned bytes)"
            )
        header = read_at_most(stream, 4 * magic[3])
        if len(header) < 4 * magic[3]:
            raise ValueError(f"{where}: truncated within its dimensions")
        shape = struct.unpack(f">{magic[3]}I", header)
        dtype = np.dtype(_TYPES[magic[2]])
        size = math.prod(shape) * dtype.itemsize
        # One byte more than claimed: it shows trailing bytes, and makes gzip reach and verify its checksum.
        values = read_at_most(stream, size + 1)
    except DAMAGE as error:
        raise ValueError(f"{where}: damaged gzip stream: {error}") from error
    if len(values) != size:
        held = f"only {len(values)}" if len(values) < size else "more"
        claim = "x".join(str(length) for length in shape)
        raise ValueError(f"{where}: dimensions {claim} claim {size} bytes of values, the file holds {held}")
    return np.frombuffer(values, dtype=dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)
