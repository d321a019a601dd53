"""How rounding errors of sums grow: the constants of `tolerance.py`, whose docstring explains them."""

from __future__ import annotations

import math

ROUNDINGS = 4.0
"""Units of eps that a formula without a sum may lose: a few operations and an elementary function good to 2 ulp."""
CHUNK = 256
"""The most terms that sums, means and statistics add in float32 before they go on in double."""


def grow(terms: float) -> float:
    """Units of eps that a sum of so many terms may lose, relative to the sum of their absolute values."""
    return ROUNDINGS + math.sqrt(terms)
