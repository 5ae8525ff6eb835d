"""What is read from one distribution over whole ages; between them F is linear (`cilf.inference.predictive`)."""

import numpy as np
from jaxtyping import Float


def quantile_age(probabilities: Float[np.ndarray, " age"], level: float) -> float:
    """The age in years at which F reaches `level`; the end of the range where it never does."""
    below = np.cumsum(probabilities, dtype=np.float64) - probabilities / 2
    return float(np.interp(level, below, np.arange(len(below))))


def standard_deviation(probabilities: Float[np.ndarray, " age"]) -> float:
    """The standard deviation in years; a millionth at least."""
    ages = np.arange(len(probabilities))
    mean = float(probabilities @ ages)
    return max(float(probabilities @ (ages - mean) ** 2) ** 0.5, 1e-6)


def distribution_at(probabilities: Float[np.ndarray, " age"], age: float) -> float:
    """F at an age in years: 0 below and 1 above the range of ages."""
    below = np.cumsum(probabilities, dtype=np.float64) - probabilities / 2
    return float(np.interp(age, np.arange(len(below)), below, left=0.0, right=1.0))
