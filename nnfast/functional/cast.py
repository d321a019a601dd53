"""Element types: conversions, which NumPy does at once, with a gradient between the two floating types."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnfast.dtypes import as_dtype, is_floating
from nnfast.tape import record
from nnfast.tensor import Tensor, check_device, fresh


def cast(x: Tensor, dtype: np.dtype) -> Tensor:
    """The elements as another type.

    Examples
    --------
    >>> import nnfast
    >>> cast(nnfast.tensor([1, 2]), nnfast.float32)
    tensor([1., 2.])
    """
    if x.dtype == dtype:
        return x
    before = x.dtype
    y = _converted(x, dtype)
    return record(y, "to_copy", (x,), lambda dy, needs: (_converted(dy, before),)) if is_floating(dtype) else y


def _converted(x: Tensor, dtype: np.dtype) -> Tensor:
    return fresh(x.read().astype(dtype, order="K"))


def conversion_target(args: tuple[Any, ...], dtype: Any, device: Any) -> np.dtype | None:
    """What ``to(*args, dtype=..., device=...)`` asks for: a type, or None for no change.

    Raises
    ------
    NotImplementedError : a device other than the CPU, or a type that nnfast does not have.
    TypeError : more than a dtype and a device.
    """
    for value in args:
        if value is None or isinstance(value, bool):
            continue  # an absent dtype or device; non_blocking and copy by position
        if isinstance(value, Tensor):
            dtype = value.dtype
        elif isinstance(value, str) or not _looks_like_dtype(value):
            device = value
        else:
            dtype = value
    check_device(device, "to")
    return None if dtype is None else as_dtype(dtype, "to")


def _looks_like_dtype(value: Any) -> bool:
    return isinstance(value, (np.dtype, type))
