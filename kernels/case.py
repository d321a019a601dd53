"""What tables of cases are made of: a case, and random numbers that depend on its name alone.

A case is an operation's inputs, updates and attributes. Values are kept in float32 and widened on demand, so that every
backend and every judge sees the same numbers.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .operation import DTYPES
from .ops import OPS

LANES = (1, 3, 15, 16, 17, 31, 33)
"""Lengths around the lane counts 1, 4, 8, 16 and twice that."""

Arrays = dict[str, np.ndarray]
Pair = tuple[int, int]


@dataclass(frozen=True)
class Case:
    """One call of an operation.

    Parameters
    ----------
    op : the operation, a key of `OPS`.
    name : what is special about the case; unique for the operation.
    values : inputs and updates by name, of the declared types.
    attributes : all attributes.
    large : whether nested Python loops would take too long; such a case is judged by the float64 reference only.
    """

    op: str
    name: str
    values: Mapping[str, np.ndarray]
    attributes: Mapping[str, Any]
    large: bool = False

    def __post_init__(self) -> None:
        op = OPS[self.op]
        declared: dict[str, Any] = {array.name: DTYPES[array.dtype] for array in op.inputs + op.updates}
        object.__setattr__(
            self, "values", {name: np.asarray(value, declared[name]) for name, value in self.values.items()}
        )

    @property
    def id(self) -> str:
        """The case's name in test reports."""
        return f"{self.op}-{self.name}"

    def arrays(self, dtype: type | np.dtype = np.float32) -> Arrays:
        """New copies of the inputs and updates, with `dtype` where the declaration says ``float``."""
        op = OPS[self.op]
        wanted = {array.name: dtype if array.dtype == "float" else None for array in op.inputs + op.updates}
        return {name: np.array(self.values[name], chosen, order="C") for name, chosen in wanted.items()}


class Draw:
    """Random numbers that depend on a case's id alone."""

    def __init__(self, *key: str) -> None:
        self.rng = np.random.default_rng(zlib.crc32("-".join(key).encode()))

    def normal(self, *shape: int) -> np.ndarray:
        """Standard normal numbers, rounded to float32."""
        return rounded(self.rng.standard_normal(shape))

    def positive(self, *shape: int) -> np.ndarray:
        """Numbers in [0.5, 2], rounded to float32."""
        return rounded(self.rng.uniform(0.5, 2.0, shape))

    def labels(self, count: int, classes: int) -> np.ndarray:
        """Class indices."""
        return self.rng.integers(0, classes, count)


def rounded(values: np.ndarray) -> np.ndarray:
    """`values` in float64, each one a number that float32 holds."""
    return np.asarray(values).astype(np.float32).astype(np.float64)
