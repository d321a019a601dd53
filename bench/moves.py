"""What moved between two versions, beyond the noise.

Times of two versions are pairs: each is taken in the same round as the other, so that a machine which is slow for a
while changes both. The statistic is the median of the logarithms of their ratios; its interval is that of the sign
test, exact for any distribution of the noise (`scipy.stats.quantile_test`).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import quantile_test

THRESHOLD = 0.05
"""By how much a time must change: less depends on where memory happens to lie."""
CONFIDENCE = 0.99
CONFIDENCE_OF_RUNS = 0.95
"""Of each of two intervals that do not overlap, which is rarer than either alone."""
FEWEST = 6
"""Values from which on the sign test has an interval of `CONFIDENCE_OF_RUNS`; that of `CONFIDENCE` needs 8."""


@dataclass(frozen=True)
class Move:
    """The time of the second version to that of the first: below 1 it is faster.

    Parameters
    ----------
    ratio : the median of all pairs.
    low, high : where it is by all that is known; NaN where there are too few pairs.
    """

    ratio: float
    low: float
    high: float

    @property
    def direction(self) -> int:
        """-1 if the second version is faster beyond the noise, 1 if it is slower, 0 if nothing moved."""
        if self.high < 1 and self.ratio < 1 / (1 + THRESHOLD):
            return -1
        return 1 if self.low > 1 and self.ratio > 1 + THRESHOLD else 0


def interval(values: Sequence[float], confidence: float) -> tuple[float, float]:
    """Where the median of what the values are drawn from is, by the sign test; NaN if they are too few to say."""
    found = quantile_test(values, q=statistics.median(values), p=0.5).confidence_interval(confidence)
    return float(found.low), float(found.high)


def of_pairs(first: Sequence[float], second: Sequence[float]) -> Move:
    """What moved between two versions that were timed in the same rounds.

    Raises
    ------
    ValueError : they have not the same number of rounds.
    """
    logarithms = [math.log(b / a) for a, b in zip(first, second, strict=True)]
    low, high = interval(logarithms, CONFIDENCE)
    return Move(math.exp(statistics.median(logarithms)), math.exp(low), math.exp(high))


def of_runs(first: Sequence[float], second: Sequence[float]) -> Move:
    """What moved between two runs, each as a part of NumPy's time in the same round: weaker, for nothing was paired.

    The interval is that of one median divided by the other's, at its widest.
    """
    logarithms = ([math.log(value) for value in values] for values in (first, second))
    (a_low, a_high), (b_low, b_high) = (interval(values, CONFIDENCE_OF_RUNS) for values in logarithms)
    ratio = statistics.median(second) / statistics.median(first)
    return Move(ratio, math.exp(b_low - a_high), math.exp(b_high - a_low))


def confirmed(one: Move, other: Move) -> bool:
    """Whether both say that it moved, and where to."""
    return one.direction != 0 and one.direction == other.direction
