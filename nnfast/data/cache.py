"""Decoded images on disk: a folder for each data set, written once and memory-mapped from then on.

Nothing in here may stop a training run: a cache that cannot be written costs time only, one that is damaged is
rebuilt.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

# Part of each key; to be raised when the same source and arguments would decode to other bytes.
_FORMAT = 1
_warned = False


def cache_folder() -> Path:
    """Return where nnfast keeps data that it can make again: ``$XDG_CACHE_HOME/nnfast``, or ``~/.cache/nnfast``.

    Raises
    ------
    RuntimeError
        If the user has no home folder.
    """
    root = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification says that a relative path is to be ignored.
    return (Path(root) if os.path.isabs(root) else Path.home() / ".cache") / "nnfast"


def cached_images(key: Any, build: Callable[[], np.ndarray]) -> np.ndarray:
    """Return ``build()``, from disk if it has been there before.

    Parameters
    ----------
    key : object
        Whatever the result depends on; made of lists, strings and numbers.
    build : callable
        Returns a uint8 array of shape (N, H, W, C).

    Returns
    -------
    numpy.ndarray
        A read-only memory map; or the array itself, if the cache cannot be written (which is said once, as a
        warning).

    Examples
    --------
    >>> cached_images(["doctest"], lambda: np.zeros((1, 2, 2, 3), dtype=np.uint8)).shape  # doctest: +SKIP
    (1, 2, 2, 3)
    """
    digest = hashlib.sha256(json.dumps([_FORMAT, key]).encode()).hexdigest()[:32]
    try:
        file = cache_folder() / "datasets" / digest / "images.npy"
    except RuntimeError as error:
        _warn_once(str(error))
        return build()
    images = _read(file)
    if images is not None:
        return images
    images = build()
    try:
        _write(file, images)
    except OSError as error:
        _warn_once(f"{file}: {error.strerror or error}")
        return images
    stored = _read(file)
    return images if stored is None else stored


def _read(file: Path) -> np.ndarray | None:
    try:
        images = np.load(file, mmap_mode="r", allow_pickle=False)
    except Exception:  # a damaged header makes NumPy's parser fail in any way whatever
        return None
    return images if images.dtype == np.uint8 and images.ndim == 4 else None


def _write(file: Path, images: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, unfinished = tempfile.mkstemp(dir=file.parent, suffix=".unfinished")
    try:
        with os.fdopen(handle, "wb") as stream:
            np.save(stream, images, allow_pickle=False)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(unfinished, file)
    except BaseException:
        os.unlink(unfinished)
        # A full disk should not stay full of empty folders; one that another process filled meanwhile stays.
        if not any(file.parent.iterdir()):
            shutil.rmtree(file.parent, ignore_errors=True)
        raise


def _warn_once(reason: str) -> None:
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            f"decoded images are not cached, they are decoded again each time: {reason}",
            stacklevel=4,
        )
