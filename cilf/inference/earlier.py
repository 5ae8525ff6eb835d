"""Checkpoints of format cilf-3, from before there were further views and a calibrated distribution: how to read them.

They give the intervals and answers that they gave before, and the ages, unless their rule moved them. Their ensemble
becomes one that ignores what its inputs have gained since; their intervals come from the estimated error, and their
answers from the ages alone.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from cilf.conformal import Answer, Forecast, check_edges, check_question, decide
from cilf.inference.error_models import EnsembleConfig, layer_shapes
from cilf.model.registry import SystemConfig
from cilf.untrusted.bounds import (
    Count,
    CountFromZero,
    Factor,
    Name,
    Names,
    Number,
    Numbers,
    Share,
    Width,
    Years,
)

SUMMARY_BEFORE, FEATURES_BEFORE = (
    3,
    11,
)  # inputs of the ensemble besides the embedding: of a face, and of an age


@dataclass(frozen=True)
class EarlierConformal:
    """Intervals that are wide where the estimated error is large, with a quantile for each band of true ages.

    Attributes:
        edges: ascending true ages in years at which a band ends and the next begins.
        quantiles: of each band the calibrated quantile of |true age − age| / (estimated error + floor).
        floor: years added to the estimated error.
        truth, age: true and estimated ages of the calibration photos in years.
        coverage: the only one that the quantiles stand for.
        max_age: upper end of the age range in years.
    """

    edges: Numbers
    quantiles: Numbers
    floor: Years
    truth: Numbers = ()
    age: Numbers = ()
    coverage: Share = 0.9
    max_age: Years = 100.0
    kind: Literal["residual"] = "residual"

    def __post_init__(self) -> None:
        if len(self.truth) != len(self.age):
            raise ValueError("truth and age differ in length")
        if len(self.quantiles) != len(self.edges) + 1:
            raise ValueError("there are not as many quantiles as bands")
        check_edges(self.edges)

    def interval(self, forecast: Forecast, coverage: float | None = None) -> tuple[float, float]:
        """Lowest and highest age in years that lie no further from the estimate than the quantile of their own band
        allows; the coverage is always `self.coverage`."""
        age, spread = forecast.age, forecast.estimated_error + self.floor
        bands = zip((0.0, *self.edges), (*self.edges, self.max_age), self.quantiles, strict=True)
        reached = [(max(start, age - q * spread), min(end, age + q * spread)) for start, end, q in bands]
        lows, highs = zip((age, age), *((low, high) for low, high in reached if low <= high), strict=True)
        return min(lows), max(highs)

    def answer(self, forecast: Forecast, limit: float, confidence: float) -> Answer:
        """See `cilf.conformal.ConformalConfig.answer`; a face's distance from the limit counts in years."""
        check_question(limit, confidence)
        return decide(np.array(self.truth), np.array(self.age), forecast.age, limit, confidence)


@dataclass(frozen=True)
class _Ensemble:
    embed_dim: Width
    members: Count = 5
    width: Width = 128
    dropout: Share = 0.3
    max_age: Factor = 100.0


@dataclass(frozen=True)
class _Correction:
    epsilon: Number
    max_iterations: CountFromZero = 5


@dataclass(frozen=True)
class _Interval:
    edges: Numbers
    quantiles: Numbers
    floor: Years
    coverage: Share = 0.9
    max_age: Years = 100.0


@dataclass(frozen=True)
class _Decision:
    truth: Numbers = ()
    age: Numbers = ()


@dataclass(frozen=True)
class _Graph:
    weights: Names
    sha256: Name


@dataclass(frozen=True)
class EarlierConfig:
    """The configuration of a checkpoint of format cilf-3, as far as it still counts.

    A rule that moved ages without further views has no counterpart any more: such estimates stay where they are.
    """

    model: SystemConfig
    ensemble: _Ensemble | None
    correction: _Correction
    interval: _Interval
    format: Literal["cilf-3"]
    decision: _Decision = field(default_factory=_Decision)
    mirror: bool = True
    training: dict[str, Any] = field(default_factory=dict)
    sha256: Name = ""
    graph: _Graph | None = None

    def conformal(self) -> EarlierConformal:
        """Interval and answers in one."""
        return EarlierConformal(**vars(self.interval), truth=self.decision.truth, age=self.decision.age)

    def ensemble_config(self) -> EnsembleConfig | None:
        """The ensemble without an explicit error."""
        return None if self.ensemble is None else EnsembleConfig(**vars(self.ensemble), explicit=False)


def padded(tensors: dict[str, np.ndarray], config: EnsembleConfig) -> dict[str, np.ndarray]:
    """The tensors of a checkpoint of format cilf-3, with weights of 0 for inputs that its ensemble did not have."""
    shapes = with_padded_shapes({name: value.shape for name, value in tensors.items()}, config)
    return {name: _with_inputs(value, shapes[name]) for name, value in tensors.items()}


def _with_inputs(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if value.shape == shape:
        return value
    return np.pad(value, ((0, 0), (0, shape[1] - value.shape[1]), (0, 0)))


def with_padded_shapes(
    shapes: dict[str, tuple[int, ...]], config: EnsembleConfig
) -> dict[str, tuple[int, ...]]:
    """Shapes by name, those of a checkpoint of format cilf-3 as `padded` makes them."""
    shapes = dict(shapes)
    before = {"face_in": config.embed_dim + SUMMARY_BEFORE, "age_in": FEATURES_BEFORE}
    for layer, (members, inputs, outputs) in layer_shapes(config).items():
        name = f"ensemble.{layer}.weight"
        if layer in before and shapes.get(name) == (members, before[layer], outputs):
            shapes[name] = members, inputs, outputs
    return shapes
