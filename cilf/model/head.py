"""Age heads: a distribution over ages, from cosines of image and age prompts (METHOD 7) or from a linear layer, or
normal around one age."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True)
class AgeEstimate:
    """Distribution over K ages and its moments.

    Attributes:
        logits: (B, K) log-probabilities up to a constant.
        probabilities: (B, K).
        age: (B,) expectation in years (of a Gaussian, its mean); within the range of ages.
        spread: (B,) standard deviation in years.
        entropy: (B,) nats.
    """

    logits: Float[Tensor, "batch age"]
    probabilities: Float[Tensor, "batch age"]
    age: Float[Tensor, " batch"]
    spread: Float[Tensor, " batch"]
    entropy: Float[Tensor, " batch"]


class Head(nn.Module, ABC):
    """Whatever ends in an `AgeEstimate`, with a temperature: 1 but in checkpoints of format `cilf-3`, which were
    calibrated by it. Later ones calibrate the predictive distribution (METHOD 7)."""

    temperature: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("temperature", torch.ones(()))

    @abstractmethod
    def tempered(self, estimate: AgeEstimate, temperature: float) -> AgeEstimate:
        """The estimate with its distribution flatter (above 1) or sharper (below 1) by a temperature."""


class CategoricalHead(Head):
    """p = softmax(l), age = Σ p_k k."""

    ages: Tensor

    def __init__(self, num_ages: int) -> None:
        super().__init__()
        self.register_buffer("ages", torch.arange(num_ages, dtype=torch.float32), persistent=False)

    def tempered(self, estimate: AgeEstimate, temperature: float) -> AgeEstimate:
        """softmax(l / temperature), whose expectation moves with it."""
        return self.summarise(estimate.logits / temperature)

    def summarise(self, logits: Float[Tensor, "batch age"]) -> AgeEstimate:
        """Moments of softmax(logits)."""
        log_probabilities = logits.float().log_softmax(dim=-1)
        probabilities = log_probabilities.exp()
        age = probabilities @ self.ages
        spread = (probabilities * (self.ages - age.unsqueeze(1)) ** 2).sum(dim=1).clamp(min=1e-12).sqrt()
        entropy = -(probabilities * log_probabilities).sum(dim=1)
        return AgeEstimate(logits, probabilities, age, spread, entropy)


class AgeHead(CategoricalHead):
    """l_k = exp(s)⟨g, T′_k⟩ / t.

    s is learned (start ln(1/0.07) as in CLIP, exp(s) at most 100). The temperature t is not: see `Head`.
    """

    def __init__(self, num_ages: int) -> None:
        super().__init__(num_ages)
        self.log_scale = nn.Parameter(torch.tensor(1 / 0.07).log())

    def forward(
        self, embedding: Float[Tensor, "batch embed"], age_text: Float[Tensor, "*own age embed"]
    ) -> AgeEstimate:
        """Both of unit length; prompts of each image's own, or (K, D) for all."""
        # In bfloat16 the cosines of neighbouring ages would be the same.
        with torch.autocast(embedding.device.type, enabled=False):
            cosines = (age_text.float() @ embedding.float().unsqueeze(2)).squeeze(2)
            return self.summarise(self.log_scale.exp().clamp(max=100) * cosines / self.temperature)


class LinearHead(CategoricalHead):
    """l = (W f + b) / t: AgeHead's distribution without a text tower, for systems that have none."""

    def __init__(self, width: int, num_ages: int) -> None:
        super().__init__(num_ages)
        self.logits = nn.Linear(width, num_ages)

    def estimate(self, features: Float[Tensor, "batch width"]) -> AgeEstimate:
        """The distribution of each row of features."""
        with torch.autocast(features.device.type, enabled=False):
            return self.summarise(self.logits(features.float()) / self.temperature)

    def averaged(self, estimate: AgeEstimate, views: int) -> AgeEstimate:
        """One estimate a face from those of its views, all first views before all second ones: the mean logits."""
        return self.summarise(estimate.logits.unflatten(0, (views, -1)).mean(dim=0))


def usual_spread(age: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
    """σ in years of a head that does not learn one, before calibration: small for a baby, whose distribution must not
    lie half below 0, and growing with the age, as errors do."""
    return 1.5 + age.clamp(min=0) / 8


class NormalHead(Head):
    """p(age) = N(μ, σ²), with the age that is estimated at μ. Temperature t multiplies σ² and leaves μ where it is."""

    ages: Tensor

    def __init__(self, num_ages: int) -> None:
        super().__init__()
        self.register_buffer("ages", torch.arange(num_ages, dtype=torch.float32), persistent=False)

    def summarise(self, mean: Float[Tensor, " batch"], spread: Float[Tensor, " batch"]) -> AgeEstimate:
        """μ and σ in years → the distribution, cut to the range of ages and made discrete."""
        age = mean.clamp(0, len(self.ages) - 1)
        logits = -((self.ages - age.unsqueeze(1)) ** 2) / (2 * spread.unsqueeze(1) ** 2)
        log_probabilities = logits.log_softmax(dim=1)
        probabilities = log_probabilities.exp()
        return AgeEstimate(
            logits, probabilities, age, spread, -(probabilities * log_probabilities).sum(dim=1)
        )

    def tempered(self, estimate: AgeEstimate, temperature: float) -> AgeEstimate:
        """The same μ with σ² times `temperature`."""
        return self.summarise(estimate.age, estimate.spread * math.sqrt(temperature))

    def averaged(self, estimate: AgeEstimate, views: int) -> AgeEstimate:
        """One estimate a face from those of its views, all first views before all second ones: mean and variance of
        their mixture, as of a deep ensemble (METHOD 9)."""
        age, spread = (value.unflatten(0, (views, -1)) for value in (estimate.age, estimate.spread))
        variance = (spread**2).mean(dim=0) + age.var(dim=0, correction=0)
        return self.summarise(age.mean(dim=0), variance.sqrt())
