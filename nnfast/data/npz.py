"""Arrays from an .npz file that somebody else made: no pickles, and no memory for what a header merely claims."""

from __future__ import annotations

import math
import os
import zipfile
from typing import IO

import numpy as np

from nnfast.data.archive import DAMAGE, read_at_most
from nnfast.data.dataset import ArrayDataset, share_classes

_TRAIN, _TEST = ("x_train", "y_train"), ("x_test", "y_test")
_MOST_DIMENSIONS = 32  # as many as every NumPy can hold


def read_npz(path: str | os.PathLike[str]) -> tuple[ArrayDataset, ArrayDataset | None]:
    """Read labelled images from the arrays ``x_train``, ``y_train`` and, if they are there, ``x_test``, ``y_test``.

    Parameters
    ----------
    path : str or os.PathLike
        Images are uint8 or floats (which become float32), of shape (N, H, W), (N, C, H, W) or (N, H, W, C) with C 1
        or 3; labels of shape (N,) or (N, 1).

    Returns
    -------
    (ArrayDataset, ArrayDataset or None)

    Raises
    ------
    ValueError
        If an array is missing, damaged, of another type, or it cannot be told which of its dimensions is C.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "tiny.npz")
    ...     np.savez(path, x_train=np.zeros((4, 8, 8), dtype=np.uint8), y_train=np.arange(4))
    ...     read_npz(path)
    (ArrayDataset(4 images of 1x8x8, 4 classes), None)
    """
    try:
        with zipfile.ZipFile(path) as archive:
            held = {name.removesuffix(".npy") for name in archive.namelist()}
            wanted = [*_TRAIN, *(_TEST if held.issuperset(_TEST) else ())]
            missing = [name for name in wanted if name not in held]
            if missing:
                raise ValueError(f"{path}: holds no array {missing[0]}, only {', '.join(sorted(held)) or 'nothing'}")
            arrays = {}
            for name in wanted:
                with archive.open(f"{name}.npy") as stream:
                    arrays[name] = _array(stream, f"{path}: {name}")
    except DAMAGE as error:
        raise ValueError(f"{path}: damaged .npz file: {error}") from error
    parts = [_dataset(path, arrays, names) for names in (_TRAIN, _TEST) if names[0] in arrays]
    share_classes(parts)
    return parts[0], parts[1] if len(parts) > 1 else None


def _dataset(path: object, arrays: dict[str, np.ndarray], names: tuple[str, str]) -> ArrayDataset:
    images, labels = (arrays[name] for name in names)
    try:
        return ArrayDataset(_nchw(images), labels[:, 0] if labels.shape[1:] == (1,) else labels)
    except ValueError as error:
        raise ValueError(f"{path}: {names[0]}, {names[1]}: {error}") from error


def _nchw(images: np.ndarray) -> np.ndarray:
    if images.dtype.kind == "f":
        images = images.astype(np.float32, copy=False)
    if images.ndim == 3:
        return images[:, np.newaxis]
    if images.ndim != 4:
        raise ValueError(f"images has shape {images.shape}, expected (N, H, W), (N, C, H, W) or (N, H, W, C)")
    first, last = images.shape[1] in (1, 3), images.shape[3] in (1, 3)
    if first == last:
        raise ValueError(f"images has shape {images.shape}, cannot tell which dimension is C, expected one of 1 or 3")
    return images if first else images.transpose(0, 3, 1, 2)


def _array(stream: IO[bytes], where: str) -> np.ndarray:
    """Read one .npy file. numpy.load would allocate what the header claims before it reads any of it."""
    try:
        version = np.lib.format.read_magic(stream)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read_header is None:
            raise ValueError(f"format version {version} is not supported")
        shape, fortran_order, dtype = read_header(stream)
    except DAMAGE:
        raise
    except Exception as error:  # the header is Python source, whose tokenizer and parser have errors of their own
        raise ValueError(f"{where}: not a readable array: {error}") from error
    if len(shape) > _MOST_DIMENSIONS or any(length < 0 for length in shape):
        raise ValueError(f"{where}: header claims shape {shape}, expected at most {_MOST_DIMENSIONS} sizes from 0")
    if dtype.kind not in "biuf":
        raise ValueError(f"{where}: dtype is {dtype}, expected numbers")
    size = math.prod(shape) * dtype.itemsize
    values = read_at_most(stream, size + 1)
    if len(values) != size:
        held = f"only {len(values)}" if len(values) < size else "more"
        raise ValueError(f"{where}: header claims shape {shape}, {size} bytes, the file holds {held}")
    array = np.frombuffer(values, dtype=dtype).reshape(shape, order="F" if fortran_order else "C")
    return array.astype(dtype.newbyteorder("="), copy=False)
