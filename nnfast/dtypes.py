"""Element types: PyTorch's names for NumPy's dtypes, and which of them nnfast has."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

float32 = np.dtype(np.float32)
float64 = np.dtype(np.float64)
int64 = np.dtype(np.int64)
int32 = np.dtype(np.int32)
int16 = np.dtype(np.int16)
int8 = np.dtype(np.int8)
uint8 = np.dtype(np.uint8)
bool_ = np.dtype(np.bool_)

SUPPORTED = (float32, float64, int64, int32, int16, int8, uint8, bool_)
_OF_PYTHON = {builtins.float: float64, builtins.int: int64, builtins.bool: bool_}
_LEGACY_NAMES = {
    float32: "Float", float64: "Double", int64: "Long", int32: "Int", int16: "Short", int8: "Char", uint8: "Byte",
    bool_: "Bool",
}  # fmt: skip


def as_dtype(dtype: Any, who: str) -> np.dtype:
    """The NumPy dtype that `dtype` names.

    Raises
    ------
    NotImplementedError : a type that nnfast does not compute with, such as float16.
    TypeError : not a type at all.
    """
    try:
        found = _OF_PYTHON[dtype] if isinstance(dtype, type) and dtype in _OF_PYTHON else np.dtype(dtype)
    except TypeError:
        raise TypeError(f"{who}: dtype is {dtype!r}, expected one of {_names()}") from None
    if found not in SUPPORTED:
        raise NotImplementedError(f"{who}: dtype {found} is not supported; nnfast has {_names()}")
    return found


def _names() -> str:
    return ", ".join(str(dtype) for dtype in SUPPORTED)


def is_floating(dtype: np.dtype) -> bool:
    """Whether tensors of this type can have gradients."""
    return dtype in (float32, float64)


def legacy_name(dtype: np.dtype) -> str:
    """The name in PyTorch's messages: ``Float``, ``Double``, ``Long``..."""
    return _LEGACY_NAMES.get(dtype, str(dtype))
