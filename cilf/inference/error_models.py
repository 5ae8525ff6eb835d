"""How far off an estimated age may be: an ensemble that has learned it, or the estimate's own Gaussian (METHOD 8.4).

An error model maps (evidence, candidate ages) to estimated errors in years of every member, face and candidate.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float
from pydantic import Field

from cilf.inference.evidence import SUMMARY, Evidence
from cilf.inference.predictive import expected_deviation
from cilf.untrusted.bounds import Count, Factor, Share, Width

Array = np.ndarray

FREQUENCIES = (1, 2, 4, 8)
FEATURES = 3 + 2 * len(FREQUENCIES) + 2


@dataclass(frozen=True)
class EnsembleConfig:
    """Sizes of the error ensemble: `members` networks of two hidden layers of `width`, on embeddings of `embed_dim`.

    `dropout` is used while it is fitted alone. With `explicit` the members learn what the explicit error leaves over,
    without it the whole error, as in checkpoints of format cilf-3. `levels` are factors of the estimated errors after
    1, 2, … views, so that their mean is that of real errors; 1 where there are none.
    """

    embed_dim: Width
    members: Count = 5
    width: Width = 32
    dropout: Share = 0.3
    max_age: Factor = 100.0
    explicit: bool = True
    levels: Annotated[tuple[Factor, ...], Field(max_length=64)] = ()


@dataclass(frozen=True)
class EnsembleInputs:
    """What the members compute with, for B faces and C candidate ages each.

    Attributes:
        embedding: (B, D) mean embedding, of about unit size.
        summary: (B, 7) `Evidence.summary`.
        features: (B, C, F) of the candidate ages.
        offset: (B, C) what is added to the members' outputs: the inverse softplus of the explicit error.
        level: (B,) factor for the number of views.
    """

    embedding: Float[Array, "batch embed"]
    summary: Float[Array, "batch summary"]
    features: Float[Array, "batch candidate feature"]
    offset: Float[Array, "batch candidate"]
    level: Float[Array, " batch"]


def ensemble_inputs(
    evidence: Evidence, ages: Float[Array, "batch candidate"], config: EnsembleConfig
) -> EnsembleInputs:
    """The inputs of every member: mean embedding, the evidence's summary, and features of each candidate age."""
    explicit = expected_deviation(evidence.probabilities, ages) / 10
    unit, away = ages / config.max_age, (ages - evidence.age[:, None]) / 10
    waves = [wave(math.pi * frequency * unit) for frequency in FREQUENCIES for wave in (np.sin, np.cos)]
    surprise = _surprise(evidence.probabilities, ages) / 5
    offset = np.log(np.expm1(explicit.clip(1e-3))) if config.explicit else np.zeros_like(explicit)
    levels = np.array(config.levels or (1.0,), np.float32)
    return EnsembleInputs(
        evidence.embedding * np.float32(math.sqrt(evidence.embedding.shape[1])),
        evidence.summary(),
        np.stack([unit, away, np.abs(away), *waves, explicit, surprise], axis=-1),
        offset,
        levels[(evidence.views.astype(int) - 1).clip(0, len(levels) - 1)],
    )


def _surprise(
    probabilities: Float[Array, "batch age"], ages: Float[Array, "batch candidate"]
) -> Float[Array, "batch candidate"]:
    """−log p(a) in nats, linear between whole ages: the mismatch of image and the text of that age (METHOD 8.3)."""
    surprise = -np.log(probabilities.clip(1e-6))
    low = np.floor(ages).astype(int).clip(0, probabilities.shape[1] - 2)
    below, above = (np.take_along_axis(surprise, low + offset, axis=1) for offset in (0, 1))
    return below + (above - below) * (ages - low).clip(0, 1).astype(surprise.dtype)


def member_outputs(weights: Mapping[str, Any], inputs: Any, drop: Callable[[Any], Any] = lambda x: x) -> Any:
    """Outputs (member, batch, candidate) of two hidden layers, before offset and softplus.

    All members are computed at once; the part of the first layer that does not depend on the candidate age is computed
    once per face. It takes arrays or, while the ensemble is fitted, tensors, with `drop` as dropout.
    """

    def layer(name: str, x: Any) -> Any:
        return x @ weights[f"{name}.weight"] + weights[f"{name}.bias"]

    batch, candidates, features = inputs.features.shape
    width = inputs.embedding.shape[1]
    of_face = weights["face_in.weight"]
    face = drop(inputs.embedding) @ of_face[:, :width] + inputs.summary @ of_face[:, width:]
    face = face + weights["face_in.bias"]
    age = layer("age_in", inputs.features.reshape(-1, features)).reshape(len(face), batch, candidates, -1)
    x = (face[:, :, None] + age).clip(min=0).reshape(len(face), batch * candidates, -1)
    x = layer("out", drop(layer("hidden", drop(x)).clip(min=0)))
    return x.reshape(len(face), batch, candidates)


def layer_shapes(config: EnsembleConfig) -> dict[str, tuple[int, int, int]]:
    """(member, in, out) of each layer's weights; its biases are (member, 1, out)."""
    members, width = config.members, config.width
    inputs = {"face_in": config.embed_dim + SUMMARY, "age_in": FEATURES, "hidden": width, "out": width}
    return {name: (members, size, 1 if name == "out" else width) for name, size in inputs.items()}


@dataclass(frozen=True)
class ErrorEnsemble:
    """Estimates |true age − a| in years for any candidate age a of a face, with weights that were learned on photos
    that the network never saw (`train.calibrate.error_ensemble`)."""

    config: EnsembleConfig
    weights: Mapping[str, Array]

    def __call__(
        self, evidence: Evidence, ages: Float[Array, "batch candidate"]
    ) -> Float[Array, "member batch candidate"]:
        """Estimated errors in years, ≥ 0, of each candidate age."""
        inputs = ensemble_inputs(evidence, ages, self.config)
        x = member_outputs(self.weights, inputs) + inputs.offset
        return 10 * np.logaddexp(0, x) * inputs.level[:, None]


@dataclass(frozen=True)
class GaussianError:
    """The error model of a Gaussian head: E|y − a| for y ~ N(μ, σ²), the mean of a folded normal distribution,

        σ √(2/π) exp(−d² / 2σ²) + d erf(d / σ√2),   d = μ − a.

    It has the form of `ErrorEnsemble` with one member and nothing to learn. It is smallest at a = μ, so it finds
    nothing to correct; it only says how far off the estimate may be.
    """

    weights: Mapping[str, Array] = field(default_factory=dict)

    def __call__(
        self, evidence: Evidence, ages: Float[Array, "batch candidate"]
    ) -> Float[Array, "1 batch candidate"]:
        """Expected errors in years, ≥ 0, of each candidate age."""
        away, spread = evidence.age[:, None] - ages, evidence.spread[:, None]
        near = spread * math.sqrt(2 / math.pi) * np.exp(-(away**2) / (2 * spread**2))
        shares = np.vectorize(math.erf, otypes=[away.dtype])(away / (spread * math.sqrt(2)))
        return (near + away * shares)[None]


ErrorNetwork = ErrorEnsemble | GaussianError
