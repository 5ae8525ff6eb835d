"""What is known of a face after some of its views: the state that reversible estimation works on (METHOD 8.4).

A view brings an embedding, a calibrated distribution, and how far the model's own parts are from agreeing. The state
keeps the mean of the embeddings, the mixture of the distributions and the disagreement of the views; it never keeps a
picture.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cilf.model.base import Description
from cilf.model.predictive import PredictiveConfig, calibrated, location

SUMMARY = 7  # numbers in `Evidence.summary`


@dataclass(frozen=True)
class Evidence:
    """The state of B faces; ages in years, K whole ages, embeddings of width D.

    Attributes:
        embedding: (B, D) mean of the views' unit embeddings; the shorter, the less they agree.
        probabilities: (B, K) mixture of the views' calibrated distributions.
        age, spread: (B,) the mixture's location (`PredictiveConfig.location`) and standard deviation.
        views: (B,) how many have been seen.
        mean_age: (B,) mean of the views' ages.
        squares: (B,) sum of their squared distances from that mean.
        gap: (B,) years between the ages that the model's parts say by themselves, mean over the views; 0 where they say
            none.
    """

    embedding: Float[Tensor, "batch embed"]
    probabilities: Float[Tensor, "batch age"]
    age: Float[Tensor, " batch"]
    spread: Float[Tensor, " batch"]
    views: Float[Tensor, " batch"]
    mean_age: Float[Tensor, " batch"]
    squares: Float[Tensor, " batch"]
    gap: Float[Tensor, " batch"]

    def at(self, index: Int[Tensor, " row"]) -> "Evidence":
        """The faces at these positions."""
        return Evidence(**{name: value[index] for name, value in _values(self).items()})

    def put(self, index: Int[Tensor, " row"], rows: "Evidence") -> "Evidence":
        """The same with the faces at these positions replaced."""
        changed = {
            name: value.index_put((index,), getattr(rows, name)) for name, value in _values(self).items()
        }
        return Evidence(**changed)

    def joined(self, view: "Evidence", config: PredictiveConfig) -> "Evidence":
        """With one more view of every face."""
        count = self.views + 1
        share = (1 / count).unsqueeze(1)
        probabilities = self.probabilities.lerp(view.probabilities, share)
        change = view.age - self.mean_age
        mean_age = self.mean_age + change / count
        return Evidence(
            self.embedding.lerp(view.embedding, share),
            probabilities,
            location(probabilities, config.location),
            _deviation(probabilities),
            count,
            mean_age,
            self.squares + change * (view.age - mean_age),
            self.gap.lerp(view.gap, 1 / count),
        )

    @property
    def deviation(self) -> Float[Tensor, " batch"]:
        """Standard deviation in years of the views' ages; 0 of one view."""
        return (self.squares / (self.views - 1).clamp(min=1)).clamp(min=0).sqrt()

    def summary(self) -> Float[Tensor, "batch summary"]:
        """Everything but embedding and distribution, each entry of about unit size."""
        entropy = -(self.probabilities * self.probabilities.clamp(min=1e-12).log()).sum(dim=1)
        apart = 1 - self.embedding.norm(dim=1)
        return torch.stack(
            [
                self.age / 100,
                self.spread / 10,
                entropy / 5,
                self.deviation / 5,
                self.views / 5,
                10 * apart,
                self.gap / 5,
            ],
            dim=1,
        )


def join(parts: Sequence[Evidence]) -> Evidence:
    """The faces of several, one after another."""
    names = [each.name for each in fields(Evidence)]
    return Evidence(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


def evidence(description: Description, config: PredictiveConfig) -> Evidence:
    """The state after the first view, or what one further view brings."""
    estimate = description.estimate
    if config.location == "head":
        probabilities, age, spread = estimate.probabilities, estimate.age, estimate.spread
    else:
        probabilities = calibrated(estimate.logits, config)
        age, spread = location(probabilities, config.location), _deviation(probabilities)
    nothing = torch.zeros_like(age)
    gap = _gap(description.parts)
    return Evidence(description.embedding, probabilities, age, spread, nothing + 1, age, nothing, gap)


def _gap(parts: Float[Tensor, "batch part age"]) -> Float[Tensor, " batch"]:
    """Years between the lowest and the highest of the ages that the parts' logits say."""
    ages = parts.float().softmax(dim=2) @ torch.arange(
        parts.shape[2], dtype=torch.float32, device=parts.device
    )
    return ages.amax(dim=1) - ages.amin(dim=1)


def expected_gain(
    evidence: Evidence, error: Float[Tensor, " batch"], variance: float, weight: float
) -> Float[Tensor, " batch"]:
    """By how many years one more view may be expected to lower the mean absolute error.

    The mean of t views with a variance v between them has a variance of v/t; one more takes v / t(t + 1) off. The error
    of a normal estimate, e = σ √(2/π), falls by dσ² / πe when σ² falls by dσ². Before a second view nobody knows v: it
    starts as `variance` times the mixture's own variance, counted as `weight` views.

    Args:
        evidence: the state.
        error: the estimated error of the present age in years.
        variance, weight: see above.
    """
    count = evidence.views
    between = (weight * variance * evidence.spread**2 + evidence.squares) / (weight + count - 1)
    return between / (math.pi * count * (count + 1) * error.clamp(min=0.1))


def _deviation(probabilities: Float[Tensor, "batch age"]) -> Float[Tensor, " batch"]:
    ages = torch.arange(probabilities.shape[1], dtype=probabilities.dtype, device=probabilities.device)
    mean = probabilities @ ages
    return (probabilities * (ages - mean.unsqueeze(1)) ** 2).sum(dim=1).clamp(min=1e-12).sqrt()


def _values(evidence: Evidence) -> dict[str, Tensor]:
    return {each.name: getattr(evidence, each.name) for each in fields(evidence)}
