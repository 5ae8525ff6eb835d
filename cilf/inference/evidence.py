"""What is known of a face after some of its views: the state that reversible estimation works on (METHOD 8.4).

A view brings an embedding, a calibrated distribution, and how far the model's own parts are from agreeing. The state
keeps the mean of the embeddings, the mixture of the distributions and the disagreement of the views; it never keeps a
picture.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float, Int

from cilf.inference.outputs import CropOutputs
from cilf.inference.predictive import PredictiveConfig, calibrated, location, mean, softmax, whole_ages

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

    embedding: Float[np.ndarray, "batch embed"]
    probabilities: Float[np.ndarray, "batch age"]
    age: Float[np.ndarray, " batch"]
    spread: Float[np.ndarray, " batch"]
    views: Float[np.ndarray, " batch"]
    mean_age: Float[np.ndarray, " batch"]
    squares: Float[np.ndarray, " batch"]
    gap: Float[np.ndarray, " batch"]

    def at(self, index: Int[np.ndarray, " row"]) -> "Evidence":
        """The faces at these positions."""
        return Evidence(**{name: value[index] for name, value in _values(self).items()})

    def put(self, index: Int[np.ndarray, " row"], rows: "Evidence") -> "Evidence":
        """The same with the faces at these positions replaced."""
        changed = {name: value.copy() for name, value in _values(self).items()}
        for name, value in changed.items():
            value[index] = getattr(rows, name)
        return Evidence(**changed)

    def joined(self, view: "Evidence", config: PredictiveConfig) -> "Evidence":
        """Add one more view of every face."""
        count = self.views + 1
        share = (1 / count)[:, None]
        probabilities = self.probabilities + share * (view.probabilities - self.probabilities)
        change = view.age - self.mean_age
        mean_age = self.mean_age + change / count
        return Evidence(
            self.embedding + share * (view.embedding - self.embedding),
            probabilities,
            location(probabilities, config.location),
            _deviation(probabilities),
            count,
            mean_age,
            self.squares + change * (view.age - mean_age),
            self.gap + (view.gap - self.gap) / count,
        )

    @property
    def deviation(self) -> Float[np.ndarray, " batch"]:
        """Standard deviation in years of the views' ages; 0 of one view."""
        return np.sqrt((self.squares / (self.views - 1).clip(1)).clip(0))

    def summary(self) -> Float[np.ndarray, "batch summary"]:
        """Everything but embedding and distribution, each entry of about unit size."""
        entropy = -(self.probabilities * np.log(self.probabilities.clip(1e-12))).sum(axis=1)
        apart = 1 - np.linalg.norm(self.embedding, axis=1)
        return np.stack(
            [
                self.age / 100,
                self.spread / 10,
                entropy / 5,
                self.deviation / 5,
                self.views / 5,
                10 * apart,
                self.gap / 5,
            ],
            axis=1,
        )


def join(parts: Sequence[Evidence]) -> Evidence:
    """The faces of several, one after another."""
    names = [each.name for each in fields(Evidence)]
    return Evidence(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def evidence(outputs: CropOutputs, config: PredictiveConfig) -> Evidence:
    """The state after the first view, or what one further view brings."""
    if config.location == "head":
        probabilities, age, spread = softmax(outputs.logits), outputs.age, outputs.spread
    else:
        probabilities = calibrated(outputs.logits, config)
        age, spread = location(probabilities, config.location), _deviation(probabilities)
    nothing = np.zeros_like(age)
    gap = _gap(outputs.parts)
    return Evidence(outputs.embedding, probabilities, age, spread, nothing + 1, age, nothing, gap)


def _gap(parts: Float[np.ndarray, "batch part age"]) -> Float[np.ndarray, " batch"]:
    """Years between the lowest and the highest of the ages that the parts' logits say."""
    probabilities = softmax(parts)
    ages = probabilities @ whole_ages(probabilities)
    return ages.max(axis=1) - ages.min(axis=1)


def expected_gain(
    evidence: Evidence, error: Float[np.ndarray, " batch"], variance: float, weight: float
) -> Float[np.ndarray, " batch"]:
    """Estimate by how many years one more view lowers the mean absolute error.

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
    return between / (math.pi * count * (count + 1) * error.clip(0.1))


def _deviation(probabilities: Float[np.ndarray, "batch age"]) -> Float[np.ndarray, " batch"]:
    away = whole_ages(probabilities) - mean(probabilities)[:, None]
    return np.sqrt((probabilities * away**2).sum(axis=1).clip(1e-12))


def _values(evidence: Evidence) -> dict[str, np.ndarray]:
    return {each.name: getattr(evidence, each.name) for each in fields(evidence)}
