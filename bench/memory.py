"""Arrays as a training step has them: aligned to cache lines, written before they are timed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

ALIGNMENT = 64


def aligned(shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
    """An array of zeros that starts on a cache line; NumPy asks for huge pages where it is large."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    array = memory[start : start + size].view(dtype).reshape(shape)
    array[...] = 0
    return array


def aligned_copy(array: np.ndarray) -> np.ndarray:
    """A copy that starts on a cache line."""
    copied = aligned(array.shape, array.dtype)
    copied[...] = array
    return copied
