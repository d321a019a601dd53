"""How far a backend's results are from the reference's in float64."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .launch import bind, run
from .operation import DTYPES
from .ops import OPS


@dataclass(frozen=True)
class Comparison:
    """The largest errors of one output or update.

    Attributes
    ----------
    array : its name.
    max_abs, max_rel, max_ulp : the largest absolute error, error relative to the exact value, and error in units in the
        last place of the exact value, rounded to float32. Elements that are not finite count as 0 where both agree, as
        infinite elsewhere.
    worst : the largest error in units of what `tolerance.error_bounds` allows.
    """

    array: str
    max_abs: float
    max_rel: float
    max_ulp: float
    worst: float

    @property
    def holds(self) -> bool:
        """Whether every element is as close as it must be."""
        return self.worst <= 1.0


def compare(
    name: str,
    arrays: Mapping[str, np.ndarray],
    attributes: Mapping[str, Any],
    backend: str = "numba",
    algorithm: str | None = None,
) -> list[Comparison]:
    """Run an operation on a backend and on the float64 reference, and measure the difference.

    Parameters
    ----------
    name : a key of `OPS`.
    arrays : its inputs and updates, float32 where the declaration says ``float``; they are not changed.
    attributes : all of its attributes.
    backend : the backend to judge.
    algorithm : a key of the operation's algorithms; None takes the one that its sizes make likeliest to be fast.

    Returns
    -------
    One `Comparison` for each output and update.

    Raises
    ------
    TypeError, ValueError : arrays that contradict the operation's declaration.

    Examples
    --------
    >>> x = np.array([-1.0, 2.0], np.float32)
    >>> [relu] = compare("relu_forward", {"x": x}, {}, "reference")
    >>> relu.holds, relu.max_abs
    (True, 0.0)
    """
    from .tolerance import error_bounds, worst_error

    op = OPS[name]
    narrow = {key: np.array(value, order="C") for key, value in arrays.items()}
    wide = {array.name: _widened(narrow[array.name], array.dtype) for array in op.inputs + op.updates}
    if algorithm is None and backend != "reference":
        algorithm = op.ranked(bind(name, narrow, attributes).sizes, backend)[0]
    actual = run(name, narrow, attributes, backend=backend, algorithm=algorithm)
    exact = run(name, wide, attributes, backend="reference")
    results = []
    actual |= {array.name: narrow[array.name] for array in op.updates}
    exact |= {array.name: wide[array.name] for array in op.updates}
    bounds = error_bounds(name, arrays, attributes, exact, algorithm=algorithm)
    for key, value in actual.items():
        results.append(_measure(key, value, exact[key], worst_error(value, exact[key], bounds[key])))
    return results


def _widened(value: np.ndarray, dtype: str) -> np.ndarray:
    return np.array(value, np.float64 if dtype == "float" else DTYPES[dtype], order="C")


def _measure(array: str, actual: np.ndarray, exact: np.ndarray, worst: float) -> Comparison:
    if not actual.size:
        return Comparison(array, 0.0, 0.0, 0.0, worst)
    got, want = actual.astype(np.float64), exact.astype(np.float64)
    with np.errstate(all="ignore"):
        same = (got == want) | (np.isnan(got) & np.isnan(want))
        error = np.where(same, 0.0, np.abs(got - want))
        error = np.where(np.isnan(error), np.inf, error)
        relative = np.where(same, 0.0, error / np.abs(want))
        spacing = np.spacing(np.abs(want).astype(np.float32)).astype(np.float64)
        ulp = np.where(same, 0.0, error / spacing)
    return Comparison(array, float(error.max()), float(np.nan_to_num(relative, nan=np.inf).max()),
                      float(np.nan_to_num(ulp, nan=np.inf).max()), worst)  # fmt: skip
