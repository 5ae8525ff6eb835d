"""The calibrated predictive distribution of one age, and what is read from it.

The head is too sure of itself: it is trained until it knows the training photos. A temperature is fitted for likelihood
on photos that the model never saw (Guo et al., "On calibration of modern neural networks", ICML 2017). Age, interval
and `over` are all read from what comes out. Smoothing and a share for "any age" were tried beside the temperature: they
made nothing likelier.

Whole ages carry the probabilities. Between them the cumulative distribution is linear through its mid-points,
F(k) = P(Y < k) + P(Y = k) / 2 (the mid-distribution function), so that every age in years has a value.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from cilf.untrusted.bounds import Factor

Location = Literal["mean", "median", "head"]

ROUNDS, PARTS = 13, 16  # in which the bracket of a root is divided: to double precision
STEEPEST = 4.0  # |λ| of a tilt: e⁴ from one age to the next puts all probability on one end of the range

Array = np.ndarray


@dataclass(frozen=True)
class PredictiveConfig:
    """How the head's logits become a predictive distribution.

    Attributes:
        temperature: divides the logits.
        location: what of the distribution is the estimated age; "head" takes the age that the head says and leaves the
            distribution as it is, as checkpoints of format cilf-3 did.
    """

    temperature: Factor = 1.0
    location: Location = "head"


def softmax(logits: Float[Array, "*rows age"]) -> Float[Array, "*rows age"]:
    """Shares along the last axis that sum to 1."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def calibrated(logits: Float[Array, "batch age"], config: PredictiveConfig) -> Float[Array, "batch age"]:
    """Probabilities of the whole ages."""
    return softmax(logits / np.float32(config.temperature))


def whole_ages(probabilities: Float[Array, "*rows age"]) -> Float[Array, " age"]:
    """0 … K − 1 years, in the probabilities' precision."""
    return np.arange(probabilities.shape[-1], dtype=probabilities.dtype)


def mean(probabilities: Float[Array, "batch age"]) -> Float[Array, " batch"]:
    """Expectations in years."""
    return probabilities @ whole_ages(probabilities)


def median(probabilities: Float[Array, "batch age"]) -> Float[Array, " batch"]:
    """Ages in years at which F, the mid-distribution function, is a half; within the range of ages."""
    below = probabilities.cumsum(axis=1) - probabilities / 2
    after = (below < 0.5).sum(axis=1).clip(1, probabilities.shape[1] - 1)
    rows = np.arange(len(below))
    low, high = below[rows, after - 1], below[rows, after]
    share = ((0.5 - low) / (high - low).clip(1e-12)).clip(0, 1)
    return (after - 1 + share).astype(probabilities.dtype)


def location(probabilities: Float[Array, "batch age"], which: Location) -> Float[Array, " batch"]:
    """The distributions' means or medians in years."""
    return median(probabilities) if which == "median" else mean(probabilities)


def moved(
    probabilities: Float[Array, "batch age"], ages: Float[Array, " batch"], which: Location
) -> Float[Array, "batch age"]:
    """The distributions nearest to the given ones whose means (medians) are `ages`: exponential tilts p(k) e^(λk).

    Among all distributions with a given mean the tilt has the smallest divergence KL(q ‖ p) (Csiszár, "I-divergence
    geometry", 1975). It orders distributions, so that the median, too, grows with λ, which is found by dividing a
    bracket again and again.
    """
    # In double precision: between two summits the median runs over many years within a millionth of λ.
    ages = ages.astype(np.float64)
    logs = np.log(probabilities.astype(np.float64).clip(1e-12))
    steps = whole_ages(logs) - ages[:, None]
    low, high = np.full_like(ages, -STEEPEST), np.full_like(ages, STEEPEST)
    inner, row = np.arange(1, PARTS) / PARTS, np.arange(len(ages))
    for _ in range(ROUNDS):
        tilts = low[:, None] + (high - low)[:, None] * inner
        tilted = softmax(logs[:, None] + tilts[..., None] * steps[:, None])
        at = location(tilted.reshape(-1, logs.shape[1]), which).reshape(tilts.shape)
        below = (at < ages[:, None]).sum(axis=1)
        edges = np.concatenate([low[:, None], tilts, high[:, None]], axis=1)
        low, high = edges[row, below], edges[row, below + 1]
    return softmax(logs + ((low + high) / 2)[:, None] * steps).astype(probabilities.dtype)


def expected_deviation(
    probabilities: Float[Array, "batch age"], ages: Float[Array, "batch candidate"]
) -> Float[Array, "batch candidate"]:
    """E|Y − a| in years of each candidate age a."""
    return (np.abs(ages[..., None] - whole_ages(probabilities)) * probabilities[:, None]).sum(axis=2)
