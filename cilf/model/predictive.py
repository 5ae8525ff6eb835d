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

import torch
from jaxtyping import Float
from torch import Tensor

from cilf.untrusted.bounds import Factor

Location = Literal["mean", "median", "head"]

HALVINGS = 50  # of the bracket in which a root lies: to double precision
STEEPEST = 4.0  # |λ| of a tilt: e⁴ from one age to the next puts all probability on one end of the range


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


def calibrated(logits: Float[Tensor, "batch age"], config: PredictiveConfig) -> Float[Tensor, "batch age"]:
    """Probabilities of the whole ages."""
    return (logits.float() / config.temperature).softmax(dim=1)


def mid_distribution(probabilities: Float[Tensor, "batch age"]) -> Float[Tensor, "batch age"]:
    """F at the whole ages, ascending within (0, 1)."""
    return probabilities.cumsum(dim=1) - probabilities / 2


def mean(probabilities: Float[Tensor, "batch age"]) -> Float[Tensor, " batch"]:
    """Expectations in years."""
    return probabilities @ torch.arange(
        probabilities.shape[1], dtype=probabilities.dtype, device=probabilities.device
    )


def median(probabilities: Float[Tensor, "batch age"]) -> Float[Tensor, " batch"]:
    """Ages in years at which F is a half; within the range of ages."""
    below = mid_distribution(probabilities)
    after = (below < 0.5).sum(dim=1, keepdim=True).clamp(1, probabilities.shape[1] - 1)
    low, high = below.gather(1, after - 1), below.gather(1, after)
    share = ((0.5 - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
    return (after - 1 + share).squeeze(1)


def location(probabilities: Float[Tensor, "batch age"], which: Location) -> Float[Tensor, " batch"]:
    """The distributions' means or medians in years."""
    return median(probabilities) if which == "median" else mean(probabilities)


def moved(
    probabilities: Float[Tensor, "batch age"], ages: Float[Tensor, " batch"], which: Location
) -> Float[Tensor, "batch age"]:
    """The distributions nearest to the given ones whose means (medians) are `ages`: exponential tilts p(k) e^(λk).

    Among all distributions with a given mean the tilt has the smallest divergence KL(q ‖ p) (Csiszár, "I-divergence
    geometry", 1975). It orders distributions, so that the median, too, grows with λ, which is found by halving.
    """
    ages = ages.double()  # between two summits the median runs over many years within a millionth of λ
    logs = probabilities.double().clamp(min=1e-12).log()
    steps = torch.arange(probabilities.shape[1], dtype=logs.dtype, device=logs.device) - ages.unsqueeze(1)
    low = torch.full_like(ages, -STEEPEST)
    high = -low
    for _ in range(HALVINGS):
        tilt = (low + high) / 2
        small = location((logs + tilt.unsqueeze(1) * steps).softmax(dim=1), which) < ages
        low, high = torch.where(small, tilt, low), torch.where(small, high, tilt)
    return (logs + ((low + high) / 2).unsqueeze(1) * steps).softmax(dim=1).to(probabilities)


def expected_deviation(
    probabilities: Float[Tensor, "batch age"], ages: Float[Tensor, "batch candidate"]
) -> Float[Tensor, "batch candidate"]:
    """E|Y − a| in years of each candidate age a."""
    whole = torch.arange(probabilities.shape[1], dtype=probabilities.dtype, device=probabilities.device)
    return ((ages.unsqueeze(2) - whole).abs() * probabilities.unsqueeze(1)).sum(dim=2)
