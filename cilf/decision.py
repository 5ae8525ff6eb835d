"""Is a person over an age? Yes, no or unsure, with a promised share of wrong answers.

A conformal classifier with the two classes "younger than the limit" and "of that age or older", each calibrated on
photos of its own class, so the promise holds for each class whatever their mix (Vovk, 2013, class-conditional conformal
prediction). It also holds for people within a few years of the limit: a promise kept with toddlers alone helps nobody.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from cilf.errors import UsageError

Answer = Literal["yes", "no", "unsure"]

NEAR = 5.0  # years; the promise is made for all on one side of the limit, and again for those this near to it


@dataclass(frozen=True)
class DecisionConfig:
    """Calibration photos, as numbers alone: true and estimated age of each, in years."""

    truth: tuple[float, ...] = ()
    age: tuple[float, ...] = ()

    def answer(self, estimate: float, limit: float, confidence: float) -> Answer:
        """Whether a person whose age is estimated as `estimate` years has reached `limit` years.

        Among people under the limit, a share of at most 1 − `confidence` is answered "yes"; among the others, of at
        most as many "no". "unsure" when both classes are possible, when neither is, or with too few calibration photos.

        Raises:
            UsageError: `limit` is not above 0 years, or `confidence` not between 0.5 and 1.
        """
        if not limit > 0:
            raise UsageError(f"the age limit is {limit!r}; give years above 0")
        if not 0.5 <= confidence < 1:
            raise UsageError(f"confidence is {confidence!r}; give a share from 0.5 to below 1")
        possible = [self._p_value(estimate, limit, under) > 1 - confidence for under in (True, False)]
        if possible[0] == possible[1]:
            return "unsure"
        return "no" if possible[0] else "yes"

    def _p_value(self, estimate: float, limit: float, under: bool) -> float:
        """How unusual the estimate is among calibration photos of one class: (1 + number as extreme) / (n + 1)."""
        truth, age = np.array(self.truth), np.array(self.age)
        of_class = truth < limit if under else truth >= limit
        extreme = age >= estimate if under else age <= estimate
        groups = (of_class, of_class & (np.abs(truth - limit) <= NEAR))
        return max(float((1 + (extreme & group).sum()) / (1 + group.sum())) for group in groups)
