"""From a trained model to a checkpoint: calibrated distribution, further views, error ensemble, rule of correction and
conformal intervals.

Distribution, ensemble, views and rule are fitted to and chosen on held-out and validation photos together, by
cross-fitting; conformal quantiles are taken on `cal` alone, and so is the limit of what
counts as unlike it. METHOD 7, 8.4, 8.5 and 9.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional as F

from cilf.checkpoint import Checkpoint, CheckpointConfig
from cilf.inference.error_models import EnsembleConfig, ErrorNetwork, GaussianError
from cilf.inference.familiarity import Familiarity
from cilf.inference.outputs import CropOutputs, Network
from cilf.model.base import AgeModel
from cilf.model.head import AgeEstimate
from cilf.model.registry import family_of
from cilf.model.runtime import crop_outputs
from train.calibrate.error_ensemble import (
    choose_correction,
    choose_views,
    cross_fit,
    fit_ensemble,
    fit_predictive,
    fold_of,
    levels,
    with_levels,
)
from train.calibrate.intervals import (
    Forecasts,
    calibrate_conformal,
    choose_edges,
    cross_forecast,
    fit_familiarity,
    forecast,
)
from train.calibrate.predictions import PROPOSED, ViewOutputs, view_outputs
from train.calibrate.predictions import join as join_outputs
from train.data.augmentation.augment import plain
from train.data.crop_cache import Subset
from train.data.datasets import Sample
from train.fit.recipe import AnyRecipe, stored_model

log = logging.getLogger(__name__)

# What calibration measures of a checkpoint; the rest of its `training` is of the run that made the weights.
MEASURED = ("tune_mae", "correction_by_cross_fitting", "correction_on_tune")


@dataclass(frozen=True)
class Photos:
    """The photos that a checkpoint is calibrated with.

    Attributes:
        held, tune: held-out and validation photos, for fitting and choosing.
        cal: for conformal quantiles, and for the limit of what counts as unlike these photos.
        groups: file name → group of near-duplicates; a photo that is not named is a group of its own.
    """

    held: Sequence[Sample]
    tune: Sequence[Sample]
    cal: Sequence[Sample]
    groups: Mapping[str, str]


@dataclass(frozen=True)
class Calibrated:
    """What a checkpoint holds beside the network, and what is measured of it.

    Attributes:
        errors, familiarity, config: for `cilf.checkpoint.save`.
        chosen_on: forecasts of held-out and validation photos, each with an ensemble that was fitted without it.
        cal: forecasts of the calibration photos.
    """

    errors: ErrorNetwork
    familiarity: Familiarity
    config: CheckpointConfig
    chosen_on: Forecasts
    cal: Forecasts


def calibrate(
    model: AgeModel,
    recipe: AnyRecipe,
    photos: Photos,
    folder: Path,
    step: int,
    share: float = 0.0,
    *,
    network: Network | None = None,
    processes: int = 1,
) -> Calibrated:
    """Fit and choose everything that a checkpoint holds beside the trained model.

    CILF gets an error ensemble, further views and a rule of correction. MTMSA, whose Gaussian says itself what error to
    expect, gets the distribution and its intervals alone and never corrects.

    Args:
        model: its head's temperature is set to 1; what is fitted counts from there.
        recipe: of the run.
        photos: see `Photos`.
        folder: where the views' outputs are stored, for a second call.
        step, share: of the weights that the run started from (`train.calibrate.weight_averaging`); they are only put
        down. network: computes the model; None for its own `describe`. processes: that find faces and cut out crops.
    """
    model.head.temperature.fill_(1)
    compute = network or _plain_network(model, mirror=recipe.mirror)
    proposed = PROPOSED if family_of(recipe.model).corrects else ()

    def outputs_of(samples: Sequence[Sample]) -> ViewOutputs:
        how: dict[str, Any] = {"mirror": recipe.mirror, "processes": processes}
        return view_outputs(model, compute, samples, proposed, folder, **how)

    held, tune, cal = map(outputs_of, (photos.held, photos.tune, photos.cal))
    known = join_outputs([held, tune])
    predictive = fit_predictive(known)
    views = choose_views(known, predictive)
    known, cal = known.with_views(views), cal.with_views(views)
    ensemble = EnsembleConfig(embed_dim=model.embed_dim) if views else None
    errors: ErrorNetwork = GaussianError()
    fold = fold_of([photos.groups.get(name, name) for name in known.names])
    folds = cross_fit(ensemble, known, fold, predictive, errors)
    if ensemble is not None:
        ensemble = replace(ensemble, levels=levels(folds, predictive))
        folds = [replace(fold, errors=with_levels(fold.errors, ensemble.levels)) for fold in folds]
        fitted = fit_ensemble(ensemble, known.states(predictive), known.truth)
        errors = replace(fitted, config=ensemble)
    rule, chosen = choose_correction(folds, known, predictive)
    if rule.max_views == 1:
        views = ()
    chosen_on = cross_forecast(folds, rule, predictive)
    on_cal = forecast(errors, cal, rule, predictive)
    sets = {sample.name: sample.dataset for sample in (*photos.held, *photos.tune)}
    like_cal = [row for row, name in enumerate(known.names) if sets[name] == photos.cal[0].dataset]
    edges = choose_edges(chosen_on.at(np.array(like_cal, dtype=int)))
    familiarity = fit_familiarity(known, cal)
    validation = np.arange(len(held.names), len(known.names))
    training = {
        "seed": recipe.fit.seed,
        "steps": step,
        "share_of_start": share,
        "batch_size": recipe.fit.batch_size,
        "data": list(recipe.shares),
        "tune_mae": round(_error(chosen_on, validation), 4),
        "correction_by_cross_fitting": chosen,
    }
    config = CheckpointConfig(
        model=stored_model(recipe),
        ensemble=ensemble,
        correction=rule,
        predictive=predictive,
        conformal=calibrate_conformal(on_cal, edges),
        views=views,
        familiarity=familiarity.config,
        mirror=recipe.mirror,
        training=training,
    )
    return Calibrated(errors, familiarity, config, chosen_on, on_cal)


def recalibrate(
    checkpoint: Checkpoint, recipe: AnyRecipe, photos: Photos, folder: Path, **how: Any
) -> Calibrated:
    """As `calibrate`, for the network of a checkpoint, when the code around it has changed since."""
    before = checkpoint.config
    steps, share = before.training["steps"], before.training.get("share_of_start", 0.0)
    result = calibrate(checkpoint.model, recipe, photos, folder, steps, share, **how)
    kept = {name: value for name, value in before.training.items() if name not in MEASURED}
    config = replace(result.config, model=before.model, training=result.config.training | kept)
    return replace(result, config=config)


def _plain_network(model: AgeModel, *, mirror: bool) -> Network:
    with torch.inference_mode():
        age_text = model.encode_ages()

    def compute(crops: UInt8[np.ndarray, "batch side side 3"]) -> CropOutputs:
        return crop_outputs(model, crops, age_text, mirror=mirror)

    return compute


def _error(forecasts: Forecasts, rows: Int[np.ndarray, " row"]) -> float:
    return float(np.abs(forecasts.age - forecasts.truth)[rows].mean())


@dataclass(frozen=True)
class Described:
    """What the model says of some photos, and their true ages."""

    embedding: Float[Tensor, "photo embed"]
    estimate: AgeEstimate
    truth: Float[Tensor, " photo"]


def join(parts: list[Described]) -> Described:
    """Several, one after another."""
    fields = vars(parts[0].estimate)
    estimate = AgeEstimate(**{name: torch.cat([getattr(p.estimate, name) for p in parts]) for name in fields})
    return Described(torch.cat([p.embedding for p in parts]), estimate, torch.cat([p.truth for p in parts]))


@torch.no_grad()
def describe(model: AgeModel, subset: Subset, *, mirror: bool, batch_size: int = 64) -> Described:
    """Run the model in fp32 over a subset's crops."""
    age_text = model.encode_ages()
    size, parts = model.image_size, []
    for start in range(0, len(subset.rows), batch_size):
        rows = subset.rows[start : start + batch_size]
        crops = torch.from_numpy(subset.cache.crops[rows])
        pixels = plain(crops, size, subset.cache.margin)
        description = model.describe(pixels, age_text, mirror=mirror)
        truth = torch.tensor([float(subset.cache.samples[row].age) for row in rows])
        parts.append(Described(description.embedding, description.estimate, truth))
    return join(parts)


def fit_temperature(model: AgeModel, tune: Described) -> tuple[float, float]:
    """The head's temperature with the smallest mean absolute error on `tune`, and that error in years.

    A Gaussian's mean does not move with its temperature: of equal errors the likeliest distribution wins.
    """
    grid = np.round(np.arange(0.05, 2.01, 0.05), 2)
    candidates = []
    for temperature in grid:
        estimate = model.head.tempered(tune.estimate, float(temperature))
        whole = tune.truth.round().long().clamp(0, estimate.logits.shape[1] - 1)
        surprise = F.cross_entropy(estimate.logits, whole)
        error = float((estimate.age - tune.truth).abs().mean())
        candidates.append((round(error, 6), float(surprise), float(temperature)))
    smallest, _, best = min(candidates)
    return best, smallest


def rescale(model: AgeModel, described: Described, temperature: float) -> Described:
    """The same photos with the head at another temperature than 1."""
    return replace(described, estimate=model.head.tempered(described.estimate, temperature))
