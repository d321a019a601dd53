"""What functions of PyTorch's are given, checked and laid out as kernels want it; for `functions.py`.

`who` and `name` are the function and the argument that a message names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

Size2: TypeAlias = int | Sequence[int]
"""A number for height and width, or a pair of them."""
Pair: TypeAlias = tuple[int, int]


def floating(who: str, name: str, value: Any) -> np.ndarray:
    """An array of float32 or float64.

    Raises
    ------
    TypeError : another type.
    """
    array = np.asarray(value)
    if array.dtype not in (np.float32, np.float64):
        raise TypeError(f"{who}: {name} is {array.dtype}, expected float32, or float64 for the reference")
    return array


def ranked(who: str, name: str, value: Any, dims: str) -> np.ndarray:
    """A floating array that has as many dimensions as `dims` names.

    Raises
    ------
    ValueError : another number of dimensions.
    """
    array = floating(who, name, value)
    if array.ndim != len(dims.split(", ")):
        raise ValueError(f"{who}: {name} has shape {array.shape}, expected ({dims})")
    return array


def channels_last(images: np.ndarray) -> np.ndarray:
    """The second dimension, channels, as the last one."""
    return np.ascontiguousarray(np.moveaxis(images, 1, -1)) if images.ndim > 2 else images


def as_images(who: str, value: Any, dims: str = "N, C, H, W", name: str = "input") -> np.ndarray:
    """NCHW images, or OIHW weights, as they lie in a kernel's memory: channels last."""
    return channels_last(ranked(who, name, value, dims))


def as_rows(array: np.ndarray) -> np.ndarray:
    """(M, C) of (N, C) or of channels-last images."""
    return array.reshape(-1, array.shape[-1])


def optional(value: Any, like: np.ndarray) -> np.ndarray:
    """An array, empty if it is absent."""
    return np.empty(0, like.dtype) if value is None else np.asarray(value)


def pair(who: str, name: str, value: Size2, least: int = 1) -> Pair:
    """A number for height and width, or a pair of them.

    Raises
    ------
    ValueError : something else, or a number below `least`.
    """
    numbers = (value, value) if isinstance(value, int) else tuple(value) if isinstance(value, Sequence) else ()
    if len(numbers) != 2 or not all(isinstance(number, int) and number >= least for number in numbers):
        raise ValueError(f"{who}: {name} is {value!r}, expected a whole number of at least {least}, or a pair of them")
    return numbers[0], numbers[1]


def check_size(who: str, x: np.ndarray, output: Sequence[int]) -> None:
    """See that at least one window fits into channels-last images.

    Raises
    ------
    ValueError : an output length below 1.
    """
    if min(output) < 1:
        raise ValueError(f"{who}: the window is larger than the padded input of {x.shape[1]} x {x.shape[2]} pixels")
