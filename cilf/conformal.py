"""Distributional conformal prediction: intervals and answers read from the predictive distribution, with a promise.

The score of a calibration photo is |2F(y) − 1|, how far out on its own predictive distribution F its true age y lies
(Chernozhukov, Wüthrich and Zhu, "Distributional conformal prediction", PNAS 2021). The interval at a coverage of c
holds the ages whose scores do not exceed the k-th smallest of n calibration scores, k = ⌈(n + 1)c⌉ (METHOD 9).

Each band of true ages may have calibration scores of its own (Vovk, 2013, class-conditional conformal prediction): then
the promise holds in each of them. Bands of estimated ages would promise less: a middle-aged face that is taken for a
young one gets the short interval of the young.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float

from cilf.distribution import distribution_at, quantile_age, standard_deviation
from cilf.errors import UsageError
from cilf.untrusted.bounds import Numbers, Share

Answer = Literal["yes", "no", "unsure"]

NEAR = 5.0  # years; `over` promises for all on one side of the limit, and again for those this near to it


@dataclass(frozen=True)
class Forecast:
    """What is said of one face's age.

    Attributes:
        probabilities: (K,) the predictive distribution over the whole ages.
        age: its location in years.
        estimated_error: of that age, in years.
    """

    probabilities: Float[np.ndarray, " whole_age"]
    age: float
    estimated_error: float

    @property
    def spread(self) -> float:
        """Standard deviation of the distribution in years."""
        return standard_deviation(self.probabilities)


@runtime_checkable
class Conformal(Protocol):
    """What gives a forecast its interval and its answers."""

    def interval(self, forecast: Forecast, coverage: float | None = None) -> tuple[float, float]:
        """Lowest and highest age in years that holds a share of `coverage` of the true ages."""

    def answer(self, forecast: Forecast, limit: float, confidence: float) -> Answer:
        """Whether a person of whom the forecast speaks has reached `limit` years."""


@dataclass(frozen=True)
class ConformalConfig:
    """Calibration photos, as numbers alone, and how they are used.

    Attributes:
        truth: true ages in years.
        age, spread: the estimated ages and their predictive distributions' standard deviations, in years.
        score: |2F(truth) − 1|.
        edges: ascending true ages in years at which a band ends and the next begins; no edge = one band.
        coverage: of `interval`, where no other is asked for.
    """

    truth: Numbers = ()
    age: Numbers = ()
    spread: Numbers = ()
    score: Numbers = ()
    edges: Numbers = ()
    coverage: Share = 0.9
    kind: Literal["distributional"] = "distributional"

    def __post_init__(self) -> None:
        if len({len(each) for each in (self.truth, self.age, self.spread, self.score)}) != 1:
            raise ValueError("truth, age, spread and score differ in length")
        if any(each <= 0 for each in self.spread):
            raise ValueError("spreads are not all above 0")
        check_edges(self.edges)

    def interval(self, forecast: Forecast, coverage: float | None = None) -> tuple[float, float]:
        """Lowest and highest age in years that can be the true one: an age can be whose score is within the quantile of
        its own band.

        Of photos like the calibration photos a share of at least `coverage` has its true age within, in each band. A
        band with too few photos to promise that is never ruled out.
        """
        level = self.coverage if coverage is None else coverage
        last = float(len(forecast.probabilities) - 1)
        reached = [(forecast.age, forecast.age)]
        for scores, (start, end) in zip(self._scores, pairwise((0.0, *self.edges, last)), strict=True):
            reach = min(conformal_quantile(scores, level), 1.0)
            low, high = (quantile_age(forecast.probabilities, (1 + side * reach) / 2) for side in (-1, 1))
            start, end = min(start, last), min(end, last)
            if reach == 1.0:
                low, high = start, end
            if max(start, low) <= min(end, high):
                reached.append((max(start, low), min(end, high)))
        lows, highs = zip(*reached, strict=True)
        return min(lows), max(highs)

    def answer(self, forecast: Forecast, limit: float, confidence: float) -> Answer:
        """Whether a person of whom the forecast speaks has reached `limit` years.

        A conformal classifier with the two classes "younger than the limit" and "of that age or older", each calibrated
        on photos of its own class, so that the promise holds for each class whatever their mix (Vovk, 2013,
        class-conditional conformal prediction). It holds again for people within `NEAR` years of the limit: a promise
        kept with toddlers alone helps nobody. How far a face lies from the limit counts in its own standard deviations.

        Among people under the limit, a share of at most 1 − `confidence` is answered "yes"; among the others, of at
        most as many "no". "unsure" when both classes are possible, when neither is, with too few calibration photos,
        and where the estimated age lies on the other side: no answer contradicts the age and the interval round it.

        Raises:
            UsageError: `limit` is not above 0 years, or `confidence` not between 0.5 and 1.
        """
        check_question(limit, confidence)
        distance = (forecast.age - limit) / forecast.spread
        truth, age, spread = self._photos
        answer = decide(truth, (age - limit) / spread, distance, limit, confidence)
        return "unsure" if answer == ("yes" if distance < 0 else "no") else answer

    @cached_property
    def _photos(self) -> Float[np.ndarray, "3 photo"]:
        """True age, estimated age and spread of the calibration photos."""
        return np.array((self.truth, self.age, self.spread), np.float64)

    @cached_property
    def _scores(self) -> list[Float[np.ndarray, " _"]]:
        """The scores of each band of true ages, ascending."""
        scores, band = np.array(self.score, np.float64), np.digitize(self.truth, self.edges)
        return [np.sort(scores[band == index]) for index in range(len(self.edges) + 1)]


def score(probabilities: Float[np.ndarray, " whole_age"], truth: float) -> float:
    """|2F(truth) − 1| in [0, 1]: 0 at the median, near 1 far out."""
    return abs(2 * distribution_at(probabilities, truth) - 1)


def check_question(limit: float, confidence: float) -> None:
    """Raise UsageError for an age limit or a confidence that no answer can be given for."""
    if not 0 < limit < math.inf:
        raise UsageError(f"the age limit is {limit!r}; give years above 0")
    if not 0.5 <= confidence < 1:
        raise UsageError(f"confidence is {confidence!r}; give a share from 0.5 to below 1")


def decide(
    truth: Float[np.ndarray, " photo"],
    positions: Float[np.ndarray, " photo"],
    position: float,
    limit: float,
    confidence: float,
) -> Answer:
    """The class-conditional conformal answer to "has this person reached the limit?".

    Args:
        truth: true ages of the calibration photos in years.
        positions: where they are estimated to lie, the larger the older.
        position: where the person is estimated to lie.
        limit: years.
        confidence: see `ConformalConfig.answer`.
    """
    possible = []
    for of_class, extreme in (
        (truth < limit, positions >= position),
        (truth >= limit, positions <= position),
    ):
        near = of_class & (np.abs(truth - limit) <= NEAR)
        possible.append(max(_p_value(extreme, of_class), _p_value(extreme, near)) > 1 - confidence)
    if possible[0] == possible[1]:
        return "unsure"
    return "no" if possible[0] else "yes"


def _p_value(extreme: Bool[np.ndarray, " photo"], group: Bool[np.ndarray, " photo"]) -> float:
    """How unusual a position is in a group of calibration photos: (1 + number as extreme) / (n + 1)."""
    return float((1 + (extreme & group).sum()) / (1 + group.sum()))


def check_edges(edges: Numbers) -> None:
    """Raise ValueError unless the ages at which bands end ascend."""
    if any(edge >= following for edge, following in pairwise(edges)):
        raise ValueError("the edges of the bands do not ascend")


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
