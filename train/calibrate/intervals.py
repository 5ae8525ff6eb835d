"""Conformal calibration on photos that nothing else was fitted to or chosen on, and what tells a strange picture.

METHOD 9. The bands of true ages are chosen on held-out and validation photos; quantiles come from `cal` alone.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from cilf.conformal import ConformalConfig, Forecast, enough, score
from cilf.inference.correction import CorrectionConfig, ErrorModel, correct
from cilf.inference.familiarity import Familiarity, FamiliarityConfig
from cilf.inference.predictive import PredictiveConfig, moved
from train.calibrate.error_ensemble import Fold, stored_views
from train.calibrate.predictions import ViewOutputs

log = logging.getLogger(__name__)

BANDS = (13.0, 30.0, 45.0, 60.0)  # true ages between which coverage is watched
EDGES: tuple[tuple[float, ...], ...] = (
    (),
    (60.0,),
    (45.0,),
    (13.0, 60.0),
    (30.0, 50.0),
    BANDS,
)  # true ages that may divide the quantiles
LEAST_COVERED, ENOUGH = 0.87, 100  # share that a band of so many photos must hold of its true ages at 90 %
HIGHEST = 0.95  # coverage that every band must be able to promise
HALVINGS = 5  # random halves, one to calibrate and one to count
REFERENCES = 512  # photos whose embeddings tell what is familiar
STRANGE = 0.01  # share of the calibration photos that are called unlike themselves


@dataclass(frozen=True)
class Forecasts:
    """Final forecasts of N photos, their true ages in years and their file names."""

    rows: tuple[Forecast, ...]
    truth: Float[np.ndarray, " photo"]
    names: tuple[str, ...]

    def at(self, index: Int[np.ndarray, " row"]) -> "Forecasts":
        """The photos at these positions."""
        return Forecasts(
            tuple(self.rows[row] for row in index), self.truth[index], tuple(self.names[row] for row in index)
        )

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
    ages = np.array([each.age for each in corrections], state.age.dtype)
    probabilities = state.probabilities
    if predictive.location != "head":
        probabilities = moved(probabilities, ages, predictive.location)
    rows = zip(probabilities, corrections, strict=True)
    return Forecasts(
        tuple(Forecast(shares, each.age, each.estimated_error) for shares, each in rows),
        outputs.truth,
        outputs.names,
    )


def cross_forecast(folds: Sequence[Fold], rule: CorrectionConfig, predictive: PredictiveConfig) -> Forecasts:
    """As `forecast`, each photo with the error model that was fitted without it."""
    parts = [forecast(fold.errors, fold.outputs, rule, predictive) for fold in folds]
    joined = Forecasts(
        tuple(row for part in parts for row in part.rows),
        np.concatenate([part.truth for part in parts]),
        tuple(name for part in parts for name in part.names),
    )
    return joined.at(np.concatenate([fold.rows for fold in folds]).argsort())


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
    """Of `EDGES` those with the narrowest intervals with which every band of true ages holds `LEAST_COVERED`, or else
    those whose worst band holds most; each counted on halves that the quantiles do not come from."""
    measured = {edges: _held(forecasts, edges, coverage) for edges in EDGES}
    # The share that counts is cut off where it is enough: from there on the narrower is the better.
    best = max(EDGES, key=lambda edges: (min(measured[edges][0], LEAST_COVERED), -measured[edges][1]))
    worst, width = measured[best]
    log.info("interval: divided at %s, %.1f years wide, worst band holds %.1f %%", best, width, 100 * worst)
    return best


def _held(forecasts: Forecasts, edges: tuple[float, ...], coverage: float) -> tuple[float, float]:
    """The share that the worst band of true ages holds, of bands with `ENOUGH` photos, and the mean width in years."""
    truth = forecasts.truth
    inside, widths = np.full((HALVINGS, len(truth)), np.nan), []
    for number in range(HALVINGS):
        half = np.random.default_rng(number).random(len(truth)) < 0.5
        conformal = calibrate_conformal(forecasts.at(np.flatnonzero(half)), edges)
        rest = np.flatnonzero(~half)
        ends = np.array([conformal.interval(forecasts.rows[row], coverage) for row in rest]).reshape(-1, 2)
        inside[number, rest] = (ends[:, 0] <= truth[rest]) & (truth[rest] <= ends[:, 1])
        widths.append(float((ends[:, 1] - ends[:, 0]).mean()))
    bands = np.digitize(truth, BANDS)
    shares = [
        float(np.nanmean(inside[:, bands == band]))
        for band in range(len(BANDS) + 1)
        if (bands == band).sum() >= ENOUGH
    ]
    return min(shares, default=1.0), float(np.mean(widths))


def calibrate_conformal(forecasts: Forecasts, edges: tuple[float, ...]) -> ConformalConfig:
    """The calibration photos as numbers, rounded, so that the configuration stays small. Ages of which there is hardly
    a photo (MORPH has no children) count with their neighbours: by themselves they would never be ruled out."""
    return ConformalConfig(
        truth=_rounded(forecasts.truth, 2),
        age=_rounded(forecasts.age, 2),
        spread=_rounded(forecasts.spread.clip(1e-3), 3),
        score=_rounded(forecasts.score, 5),
        edges=_with_enough(forecasts.truth, edges),
    )


def _with_enough(truth: Float[np.ndarray, " photo"], edges: tuple[float, ...]) -> tuple[float, ...]:
    """Those edges between which lie enough photos for quantiles up to `HIGHEST`."""
    kept: list[float] = []
    for edge in edges:
        between = truth[(truth >= max(kept, default=-np.inf)) & (truth < edge)]
        if enough(len(between), HIGHEST) and enough(int((truth >= edge).sum()), HIGHEST):
            kept.append(edge)
    return tuple(kept)


def _rounded(values: Float[np.ndarray, " photo"], digits: int) -> tuple[float, ...]:
    return tuple(round(float(value), digits) for value in values)


def fit_familiarity(known: ViewOutputs, cal: ViewOutputs) -> Familiarity:
    """The embeddings of some known photos of faces, and how far calibration photos may lie from them."""
    faces = _embeddings(known, known.detected)
    chosen = torch.randperm(len(faces), generator=torch.Generator().manual_seed(0))[:REFERENCES].numpy()
    config = FamiliarityConfig(len(chosen), faces.shape[1])
    familiarity = Familiarity(config, faces[chosen])
    distance = familiarity.distance(_embeddings(cal, cal.detected))
    limit = round(float(np.quantile(distance, 1 - STRANGE)), 6)
    return replace(familiarity, config=replace(config, limit=limit))


def _embeddings(
    outputs: ViewOutputs, detected: Bool[np.ndarray, " photo"]
) -> Float[np.ndarray, "photo embed"]:
    rows = detected if detected.any() else np.ones_like(detected)
    return outputs.embedding[rows, 0]
