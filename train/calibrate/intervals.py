"""Conformal calibration on photos that nothing else was fitted to or chosen on, and what tells a strange picture.

METHOD 9. The bands of estimated ages are chosen on held-out and validation photos; quantiles come from `cal` alone.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cilf.conformal import ConformalConfig, Forecast, conformal_quantile, score
from cilf.model.correction import CorrectionConfig, ErrorModel, correct
from cilf.model.familiarity import Familiarity, FamiliarityConfig
from cilf.model.predictive import PredictiveConfig, moved
from train.calibrate.error_ensemble import Fold, stored_views
from train.calibrate.predictions import ViewOutputs

log = logging.getLogger(__name__)

BANDS = (13.0, 30.0, 45.0, 60.0)  # true ages between which coverage is watched
EDGES = (
    (),
    (60.0,),
    (45.0,),
    (13.0, 60.0),
    (30.0, 50.0),
    BANDS,
)  # estimated ages that may divide the quantiles
LEAST_COVERED, ENOUGH = 0.87, 100  # share that a band of so many photos must hold of its true ages at 90 %
HALVINGS = 20  # random halves, one to calibrate and one to count
REFERENCES = 512  # photos whose embeddings tell what is familiar
STRANGE = 0.005  # share of the calibration photos that are called unlike themselves


@dataclass(frozen=True)
class Forecasts:
    """Final forecasts of N photos, their true ages in years and their file names."""

    rows: tuple[Forecast, ...]
    truth: Float[np.ndarray, " photo"]
    names: tuple[str, ...]

    @property
    def age(self) -> Float[np.ndarray, " photo"]:
        """Estimated ages in years."""
        return np.array([row.age for row in self.rows])

    @property
    def spread(self) -> Float[np.ndarray, " photo"]:
        """Standard deviations of the distributions in years."""
        return np.array([row.spread for row in self.rows])

    @property
    def score(self) -> Float[np.ndarray, " photo"]:
        """|2F(truth) − 1|."""
        pairs = zip(self.rows, self.truth, strict=True)
        return np.array([score(row.probabilities, float(age)) for row, age in pairs])


def forecast(
    errors: ErrorModel, outputs: ViewOutputs, rule: CorrectionConfig, predictive: PredictiveConfig
) -> Forecasts:
    """What the estimator says of each photo, from its stored views."""
    first = outputs.evidence(0, predictive)
    corrections, state = correct(errors, first, rule, predictive, stored_views(outputs, predictive))
    ages = torch.tensor([each.age for each in corrections])
    probabilities = state.probabilities
    if predictive.location != "head":
        probabilities = moved(probabilities, ages, predictive.location)
    rows = zip(probabilities.numpy(), corrections, strict=True)
    return Forecasts(
        tuple(Forecast(shares, each.age, each.estimated_error) for shares, each in rows),
        outputs.truth.numpy(),
        outputs.names,
    )


def cross_forecast(folds: Sequence[Fold], rule: CorrectionConfig, predictive: PredictiveConfig) -> Forecasts:
    """As `forecast`, each photo with the error model that was fitted without it."""
    parts = [forecast(fold.errors, fold.outputs, rule, predictive) for fold in folds]
    return _reordered(parts, torch.cat([fold.rows for fold in folds]).argsort().tolist())


def _reordered(parts: Sequence[Forecasts], order: Sequence[int]) -> Forecasts:
    rows = [row for part in parts for row in part.rows]
    names = [name for part in parts for name in part.names]
    truth = np.concatenate([part.truth for part in parts])
    return Forecasts(
        tuple(rows[index] for index in order), truth[list(order)], tuple(names[index] for index in order)
    )


def covered(
    forecasts: Forecasts, conformal: ConformalConfig, levels: Sequence[float]
) -> dict[float, Bool[np.ndarray, " photo"]]:
    """For each level which true ages lie within the intervals that promise it."""
    inside = {}
    for level in levels:
        low, high = np.array([conformal.interval(row, level) for row in forecasts.rows]).T
        inside[level] = (low <= forecasts.truth) & (forecasts.truth <= high)
    return inside


def choose_edges(forecasts: Forecasts, coverage: float = 0.9) -> tuple[float, ...]:
    """The first of `EDGES` with which every band of true ages holds `LEAST_COVERED`, or the one whose worst band holds
    most; each counted on halves that the quantiles do not come from."""
    worst: dict[tuple[float, ...], float] = {}
    for edges in EDGES:
        worst[edges] = _worst_band(forecasts, edges, coverage)
        if worst[edges] >= LEAST_COVERED:
            break
    best = max(worst, key=worst.__getitem__)
    log.info("interval: divided at %s, worst band of true ages holds %.1f %%", best, 100 * worst[best])
    return best


def _worst_band(forecasts: Forecasts, edges: tuple[float, ...], coverage: float) -> float:
    scores, truth = forecasts.score, forecasts.truth
    band, true_band = np.digitize(forecasts.age, edges), np.digitize(truth, BANDS)
    inside = np.zeros((HALVINGS, len(truth)))
    counted = np.zeros((HALVINGS, len(truth)), dtype=bool)
    for number in range(HALVINGS):
        half = np.random.default_rng(number).random(len(truth)) < 0.5
        quantiles = [
            conformal_quantile(scores[half & (band == index)], coverage) for index in range(len(edges) + 1)
        ]
        inside[number] = scores <= np.array(quantiles)[band]
        counted[number] = ~half
    shares = [
        inside[:, of_band][counted[:, of_band]].mean()
        for of_band in (true_band == index for index in range(len(BANDS) + 1))
        if of_band.sum() >= ENOUGH
    ]
    return float(min(shares, default=1.0))


def calibrate_conformal(forecasts: Forecasts, edges: tuple[float, ...]) -> ConformalConfig:
    """The calibration photos as numbers; rounded, so that the configuration stays small."""
    return ConformalConfig(
        truth=_rounded(forecasts.truth, 2),
        age=_rounded(forecasts.age, 2),
        spread=_rounded(forecasts.spread, 3),
        score=_rounded(forecasts.score, 5),
        edges=edges,
    )


def _rounded(values: Float[np.ndarray, " photo"], digits: int) -> tuple[float, ...]:
    return tuple(round(float(value), digits) for value in values)


def fit_familiarity(known: ViewOutputs, cal: ViewOutputs) -> Familiarity:
    """The embeddings of some known photos of faces, and how far calibration photos may lie from them."""
    faces = _embeddings(known, known.detected)
    chosen = torch.randperm(len(faces), generator=torch.Generator().manual_seed(0))[:REFERENCES]
    familiarity = Familiarity(FamiliarityConfig(len(chosen), faces.shape[1]))
    familiarity.reference.copy_(faces[chosen])
    distance = familiarity.distance(_embeddings(cal, cal.detected))
    config = FamiliarityConfig(
        len(chosen), faces.shape[1], limit=round(float(distance.quantile(1 - STRANGE)), 6)
    )
    limited = Familiarity(config)
    limited.reference.copy_(familiarity.reference)
    return limited.eval()


def _embeddings(outputs: ViewOutputs, detected: Bool[Tensor, " photo"]) -> Float[Tensor, "photo embed"]:
    rows = detected if detected.any() else torch.ones_like(detected)
    return outputs.embedding[rows, 0]
