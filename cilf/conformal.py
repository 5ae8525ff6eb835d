"""Split-conformal intervals: how far the true age may lie from the estimate (METHOD 9).

They are calibrated for each band of true ages by itself (Vovk, 2013, class-conditional conformal prediction), as the
answer to "18 or over?" is. Bands of estimated ages would promise less: faces of 30 to 44 that are taken for 25 would
get the short intervals of the young, which seldom reach them.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class IntervalConfig:
    """The calibrated interval. Each band of true ages has its own quantile: one for all would be too short for some
    ages and too long for others.

    Attributes:
        edges: ascending ages in years at which a band ends and the next begins; no edge = one band.
        quantiles: q of each band, one more than edges: the calibrated quantile of
            |true age − age| / (estimated error + floor) among photos whose true age lies in it.
        floor: years added to the estimated error, so that a tiny estimate does not give a tiny interval.
        coverage: share of true ages that the interval is made to hold, in each band at least.
        max_age: upper end of the age range in years.
    """

    edges: tuple[float, ...]
    quantiles: tuple[float, ...]
    floor: float
    coverage: float = 0.9
    max_age: float = 100.0

    def interval(self, age: float, estimated_error: float) -> tuple[float, float]:
        """Lowest and highest age in years that can be the true one: one can be that lies no further from the estimate
        than the quantile of its own band allows."""
        spread = estimated_error + self.floor
        bands = zip((0.0, *self.edges), (*self.edges, self.max_age), self.quantiles, strict=True)
        reached = [(max(start, age - q * spread), min(end, age + q * spread)) for start, end, q in bands]
        lows, highs = zip(*((low, high) for low, high in reached if low <= high), strict=True)
        return min(lows), max(highs)


def enough(count: int, coverage: float) -> bool:
    """Whether so many scores have a finite quantile: k ≤ n in `conformal_quantile`."""
    return _rank(count, coverage) <= count


def conformal_quantile(scores: Float[np.ndarray, " photo"], coverage: float) -> float:
    """The k-th smallest of n scores with k = ⌈(n + 1)·coverage⌉; infinite when k > n.

    On exchangeable photos the next score is no larger with a probability of at least `coverage`.
    """
    count = len(scores)
    return float(np.sort(scores)[_rank(count, coverage) - 1]) if enough(count, coverage) else math.inf


def _rank(count: int, coverage: float) -> int:
    return math.ceil((count + 1) * coverage)
