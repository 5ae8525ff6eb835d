"""Does the correction pay? ε and the number of views swept, the ensemble's calibration, and its controls.

More views gain something without any rule, and the error ensemble is a second regressor with photos of its own, so a
gain over the base alone proves little. Beside the correction stand: all views for every face; the age at which the
ensemble expects the smallest error after the first crop, and its mean with the base; a monotone recalibration of the
age; and what CLIP's image tower and the fusion say each without the other. All are read from the same stored outputs of
the network for every view of every photo.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.optimize import isotonic_regression
from scipy.stats import spearmanr

from cilf.checkpoint import Checkpoint
from cilf.inference.correction import CorrectionConfig
from cilf.inference.predictive import PredictiveConfig, calibrated, location, whole_ages
from train.calibrate.error_ensemble import (
    Fold,
    choose_correction,
    corrected,
    cross_fit,
    first_errors,
    fold_of,
    with_levels,
)
from train.calibrate.predictions import ViewOutputs
from train.metrics import bootstrap_range, gain, mean_absolute_error

THRESHOLDS = 13  # values of ε, evenly spaced over the quantiles of the first estimated errors
CHOSEN_ON, TEST = "held and tune", "test"
PARTS = ("image tower alone", "fusion alone")  # as in `cilf.model.cilf.CILF.describe`

Ages = Float[np.ndarray, " photo"]


@dataclass(frozen=True)
class Part:
    """Photos with all their views, in folds whose error models were fitted without them, and the group of
    near-duplicates of each."""

    outputs: ViewOutputs
    folds: Sequence[Fold]
    groups: Sequence[str]

    @property
    def truth(self) -> Ages:
        """True ages in years."""
        return self.outputs.truth.astype(np.float64)


def sweep(
    checkpoint: Checkpoint,
    known: ViewOutputs,
    groups: Sequence[str],
    test: ViewOutputs,
    test_groups: Sequence[str],
) -> dict[str, Any]:
    """All figures, as JSON values.

    Args:
        checkpoint: whose rule and ensemble are measured on `test`.
        known: held-out and validation photos; on them, by cross-fitting, ensembles like the checkpoint's, with its
            levels.
        groups: of near-duplicates, one of each photo in `known`.
        test: the photos to report on.
        test_groups: the same of each photo in `test`.
    """
    config = checkpoint.config
    predictive, everyone = config.predictive, np.arange(len(test.names))
    folds = cross_fit(config.ensemble, known, fold_of(groups), predictive, checkpoint.ensemble)
    levels = config.ensemble.levels if config.ensemble else ()
    parts = {
        CHOSEN_ON: Part(
            known, [replace(fold, errors=with_levels(fold.errors, levels)) for fold in folds], groups
        ),
        TEST: Part(test, [Fold(everyone, test, checkpoint.ensemble)], test_groups),
    }
    rule, _ = choose_correction(parts[CHOSEN_ON].folds, known, predictive)
    first = first_errors(parts[CHOSEN_ON].folds, predictive)
    rows = []
    for epsilon in np.quantile(first, np.linspace(0, 1, THRESHOLDS)):
        for views in range(2, 2 + len(known.views)):
            tried = replace(rule, epsilon=float(epsilon), max_views=views)
            rows.append(
                {"epsilon": float(epsilon), "iterations": views - 1}
                | {name: _effect(part, tried, predictive) for name, part in parts.items()}
            )
    return {
        "weights_sha256": config.sha256,
        "shipped_rule": asdict(config.correction),
        "sweep": rows,
        "calibration": {name: calibration(part, predictive) for name, part in parts.items()},
        "controls": {
            name: controls(part, config.correction, predictive, parts[CHOSEN_ON])
            for name, part in parts.items()
        },
    }


def _effect(part: Part, rule: CorrectionConfig, predictive: PredictiveConfig) -> dict[str, Any]:
    before = part.outputs.evidence(0, predictive).age.astype(np.float64)
    result = corrected(part.folds, rule, predictive)
    after = result.age.astype(np.float64)
    fall = np.abs(before - part.truth) - np.abs(after - part.truth)
    return (
        {"mae": mean_absolute_error(part.truth, after)}
        | gain(part.truth, before, after)
        | {"gain_range": bootstrap_range(fall, part.groups), "mean_views": float(result.views.mean())}
    )


def calibration(part: Part, predictive: PredictiveConfig, bins: int = 10) -> dict[str, Any]:
    """Estimated against real errors of the first estimate, in bins of as many photos each, ascending."""
    estimated = first_errors(part.folds, predictive).astype(np.float64)
    age = part.outputs.evidence(0, predictive).age.astype(np.float64)
    real = np.abs(age - part.truth)
    order = np.array_split(np.argsort(estimated), bins)
    return {
        "estimated": [float(estimated[rows].mean()) for rows in order],
        "real": [float(real[rows].mean()) for rows in order],
        "rank_correlation": float(spearmanr(estimated, real).statistic),
        "mean_absolute_difference": float(np.abs(estimated - real).mean()),
    }


def _smallest_error(part: Part, predictive: PredictiveConfig) -> Ages:
    """The whole age at which the ensemble expects the smallest error after the first crop."""
    ages = []
    for fold in part.folds:
        state = fold.outputs.evidence(0, predictive)
        whole = np.tile(whole_ages(state.probabilities), (len(state.age), 1))
        ages.append(fold.errors(state, whole).mean(axis=0).argmin(axis=1))
    order = np.concatenate([fold.rows for fold in part.folds]).argsort()
    return np.concatenate(ages)[order].astype(np.float64)


def controls_of(checkpoint: Checkpoint, outputs: ViewOutputs, groups: Sequence[str]) -> dict[str, Any]:
    """The controls of a checkpoint's own rule on some photos, all read from their stored views; `groups` as of
    `Part`."""
    everyone = np.arange(len(outputs.names))
    part = Part(outputs, [Fold(everyone, outputs, checkpoint.ensemble)], groups)
    return controls(part, checkpoint.config.correction, checkpoint.config.predictive)


def controls(
    part: Part, rule: CorrectionConfig, predictive: PredictiveConfig, known: Part | None = None
) -> dict[str, Any]:
    """MAE and gain over the base in years, mean views a face and share of moved ages: of the rule, and of what it must
    stand beside. Without `known` photos there is no monotone recalibration."""
    first = part.outputs.evidence(0, predictive)
    truth, base = part.truth, first.age.astype(np.float64)
    smallest, result = _smallest_error(part, predictive), corrected(part.folds, rule, predictive)
    everything = part.outputs.states(predictive)[-1]
    # age after it, and the mean number of views that it takes
    ways = {
        "base": (base, 1.0),
        "correction": (result.age.astype(np.float64), float(result.views.mean())),
        "all views for every face": (everything.age.astype(np.float64), float(everything.views.mean())),
        "mean of base and ensemble": ((base + smallest) / 2, 1.0),
        "ensemble alone": (smallest, 1.0),
    }
    logits = part.outputs.parts[:, 0]
    if logits.shape[1] == len(PARTS):
        ways |= {name: (_said_by(logits[:, number], predictive), 1.0) for number, name in enumerate(PARTS)}
    if known is not None:
        ways["monotone recalibration on held and tune"] = (_monotone(part, known, predictive), 1.0)
    widest, groups = first.spread >= np.quantile(first.spread, 2 / 3), np.array(part.groups)
    rows = {}
    for name, (age, views) in ways.items():
        fall = np.abs(base - truth) - np.abs(age - truth)
        rows[name] = {
            "mae": mean_absolute_error(truth, age),
            "gain": float(fall.mean()),
            "gain_range": bootstrap_range(fall, part.groups),
            "gain_of_widest_third": float(fall[widest].mean()),
            "gain_range_of_widest_third": bootstrap_range(fall[widest], groups[widest]),
            "mean_views": views,
            "share_moved": float((np.abs(age - base) >= 0.5).mean()),
        }
    rows["correction"]["share_asking"] = float((result.views > 1).mean())
    return rows


def _said_by(logits: Float[np.ndarray, "photo age"], predictive: PredictiveConfig) -> Ages:
    """The age that a part's logits say, read as the model's own are."""
    where = "mean" if predictive.location == "head" else predictive.location
    return location(calibrated(logits, predictive), where).astype(np.float64)


def _monotone(part: Part, known: Part, predictive: PredictiveConfig) -> Ages:
    """First ages through a monotone curve, fitted to the known photos of other folds."""
    age = part.outputs.evidence(0, predictive).age.astype(np.float64)
    known_age = known.outputs.evidence(0, predictive).age.astype(np.float64)
    result = np.empty_like(age)
    for fold in part.folds:
        rows = fold.rows
        others = np.ones(len(known_age), dtype=bool)
        if part is known:
            others[rows] = False
        order = np.argsort(known_age[others])
        curve = isotonic_regression(known.truth[others][order]).x
        result[rows] = np.interp(age[rows], known_age[others][order], curve)
    return result
