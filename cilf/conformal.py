"""Split-conformal intervals: how far the true age may lie from the estimate (METHOD 9)."""

import math
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class IntervalConfig:
    """The calibrated interval. Each band of estimated ages has its own quantile (Mondrian conformal prediction): one
    for all would be too short for some ages and too long for others.

    Attributes:
        edges: ascending ages in years at which a band ends and the next begins; no edge = one band.
        quantiles: q of each band, one more than edges: the calibrated quantile of
            |true age − age| / (estimated error + floor).
        floor: years added to the estimated error, so that a tiny estimate does not give a tiny interval.
        coverage: share of true ages that the interval is made to hold.
        max_age: upper end of the age range in years.
    """

    edges: tuple[float, ...]
    quantiles: tuple[float, ...]
    floor: float
    coverage: float = 0.9
    max_age: float = 100.0

    def interval(self, age: float, estimated_error: float) -> tuple[float, float]:
        """Low and high age in years, cut to the age range."""
        reach = self.quantiles[bisect_right(self.edges, age)] * (estimated_error + self.floor)
        return max(0.0, age - reach), min(self.max_age, age + reach)


def conformal_quantile(scores: Float[np.ndarray, " photo"], coverage: float) -> float:
    """The k-th smallest of n scores with k = ⌈(n + 1)·coverage⌉; infinite when k > n.

    On exchangeable photos an interval of this reach holds the truth with a probability of at least `coverage`.
    """
    rank = math.ceil((len(scores) + 1) * coverage)
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else math.inf
