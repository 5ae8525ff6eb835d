"""Choosing by the mean absolute error without letting one band of ages pay for the others."""

from collections.abc import Hashable, Mapping
from typing import TypeVar

import numpy as np
from jaxtyping import Float

AGES = (13, 18, 60)  # years, where the bands of `even_error` begin after the first
# Years of `even_error` that tell nothing: the standard error of its difference between two shares of the start
# (`train.calibrate.weight_averaging`).
ALIKE = 0.02

Candidate = TypeVar("Candidate", bound=Hashable)


def best_for_all_ages(errors: Mapping[Candidate, tuple[float, float]]) -> Candidate:
    """The candidate with the smallest mean absolute error of those whose `even_error` is the smallest, or like it; of
    equal ones the first.

    Args:
        errors: candidate → both in years.
    """
    limit = min(evenly for _, evenly in errors.values()) + ALIKE
    fair = {candidate: error for candidate, (error, evenly) in errors.items() if evenly <= limit}
    return min(fair, key=fair.__getitem__)


def even_error(age: Float[np.ndarray, " photo"], truth: Float[np.ndarray, " photo"]) -> float:
    """Mean over bands of true age of the mean absolute error in years: children and the old, who are few, weigh as
    much as the many in between."""
    band = np.digitize(truth, AGES)
    errors = np.abs(age - truth)
    return float(np.mean([errors[band == index].mean() for index in np.unique(band)]))
