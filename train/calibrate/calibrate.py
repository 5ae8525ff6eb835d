"""From a trained model to a checkpoint: temperature, error ensemble, correction rule and interval.

Each step has photos of its own: the ensemble is fitted on `held`, which the model never saw; temperature, ensemble
step, correction rule and the interval's floor are chosen on `tune`; the interval's quantile is taken on `cal` and on
nothing else. METHOD 7, 8.4, 8.5 and 9.
"""

import itertools
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from cilf.checkpoint import Checkpoint, CheckpointConfig
from cilf.conformal import IntervalConfig, conformal_quantile, enough
from cilf.decision import DecisionConfig
from cilf.model.base import AgeModel
from cilf.model.cilf import CILF
from cilf.model.correction import (
    CorrectionConfig,
    EnsembleConfig,
    ErrorEnsemble,
    ErrorModel,
    correct,
    corrected_ages,
)
from cilf.model.head import AgeEstimate
from cilf.model.registry import ErrorNetwork, build_errors
from train.data.augment import AugmentConfig, Draws, augment, draw, plain
from train.data.crop_cache import Subset
from train.fit.recipe import AnyRecipe, stored_model
from train.metrics import gain

log = logging.getLogger(__name__)

LEAST_GAIN = 0.02  # years on `tune`, below which the correction is left off (METHOD 8.5)
MOSTLY_ACCEPTED = 0.75  # quantile of the first estimated errors that ε takes when the correction is left off
FLOORS = (0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0)  # years, tried for the interval
BANDS = (13.0, 30.0, 45.0, 60.0)  # true ages between which the interval has quantiles of its own
# Values of a rule of correction that are tried, with every ε (METHOD 8.4): λ, μ, κ, m and how often at most.
TETHERS, MISMATCHES = (0.0, 0.1, 0.2, 0.4), (0.0, 1.0, 3.0)
CAUTIONS, MARGINS, ITERATIONS = (0.0, 0.5, 1.0, 2.0), (0.0, 0.1, 0.25, 0.5, 1.0), (1, 5)
VIEWS = 4  # of every `held` photo, itself and lightly augmented: fewer than 2,000 embeddings are soon learned by heart
LIGHT = AugmentConfig(
    rotation=5,
    scale=0.05,
    shift=0.02,
    brightness=0.15,
    contrast=0.15,
    saturation=0.15,
    hue=3,
    grey=0,
    erase=0,
)


@dataclass(frozen=True)
class Described:
    """What the model says of some photos, and their true ages."""

    embedding: Float[Tensor, "photo embed"]
    estimate: AgeEstimate
    truth: Float[Tensor, " photo"]

    def at(self, index: Tensor) -> "Described":
        """The photos at these positions."""
        estimate = AgeEstimate(**{name: value[index] for name, value in vars(self.estimate).items()})
        return Described(self.embedding[index], estimate, self.truth[index])


def join(parts: list[Described]) -> Described:
    """Several, one after another."""
    fields = vars(parts[0].estimate)
    estimate = AgeEstimate(**{name: torch.cat([getattr(p.estimate, name) for p in parts]) for name in fields})
    return Described(torch.cat([p.embedding for p in parts]), estimate, torch.cat([p.truth for p in parts]))


def calibrate(
    model: AgeModel,
    recipe: AnyRecipe,
    held: list[Subset],
    tune: Subset,
    cal: Subset,
    step: int,
    share: float = 0.0,
) -> tuple[ErrorNetwork, CheckpointConfig]:
    """Fit and choose everything that a checkpoint holds beside the trained model, whose temperature is set.

    CILF gets an error ensemble and a rule of correction. MTMSA, whose Gaussian says itself what error to expect, gets
    neither and never corrects. `step` and `share` (of the weights that the run started from,
    `train.calibrate.weight_averaging`) are only put down.
    """
    model.head.temperature.fill_(1)  # what is fitted below counts from there
    mirror = recipe.mirror
    tuned = describe(model, tune, mirror=mirror)
    temperature, error = fit_temperature(model, tuned)
    log.info("tune MAE %.3f at temperature %.2f%s", error, temperature, ", with mirror image" * mirror)
    model.head.temperature.fill_(temperature)
    on_tune = rescale(model, tuned, temperature)
    ensemble: ErrorNetwork
    ensemble_config: EnsembleConfig | None
    if isinstance(model, CILF):
        views = [
            join([describe(model, part, mirror=mirror, view=view) for part in held]) for view in range(VIEWS)
        ]
        ensemble_config = EnsembleConfig(embed_dim=model.embed_dim)
        ensemble = fit_ensemble(ensemble_config, views, on_tune)
        rule, chosen = choose_correction(ensemble, on_tune)
    else:
        ensemble_config, ensemble, chosen = None, build_errors(None), {}
        rule = never_correct(first_errors(ensemble, on_tune))
    on_cal = describe(model, cal, mirror=mirror)
    interval = calibrate_interval(ensemble, rule, on_tune, on_cal)
    decision = DecisionConfig(
        tuple(on_cal.truth.tolist()),
        tuple(round(float(age), 2) for age in ages_after(rule, ensemble, on_cal)),
    )
    tune_mae = float(np.abs(ages_after(rule, ensemble, on_tune) - on_tune.truth.numpy()).mean())
    training = {
        "seed": recipe.fit.seed,
        "steps": step,
        "share_of_start": share,
        "batch_size": recipe.fit.batch_size,
        "data": list(recipe.shares),
        "tune_mae": round(tune_mae, 4),
        "correction_on_tune": chosen,
    }
    return ensemble, CheckpointConfig(
        model=stored_model(recipe),
        ensemble=ensemble_config,
        correction=rule,
        interval=interval,
        decision=decision,
        mirror=mirror,
        training=training,
    )


def recalibrate(
    checkpoint: Checkpoint, recipe: AnyRecipe, held: list[Subset], tune: Subset, cal: Subset
) -> tuple[AgeModel, ErrorNetwork, CheckpointConfig]:
    """As `calibrate`, for the network of a checkpoint, when the code around it has changed since."""
    before = checkpoint.config
    steps, share = before.training["steps"], before.training.get("share_of_start", 0.0)
    ensemble, config = calibrate(checkpoint.model, recipe, held, tune, cal, steps, share)
    config = replace(config, model=before.model, training=before.training | config.training)
    return checkpoint.model, ensemble, config


@torch.no_grad()
def describe(
    model: AgeModel, subset: Subset, *, mirror: bool, view: int = 0, batch_size: int = 64
) -> Described:
    """Run the model in fp32 over a subset's crops; views above 0 are lightly augmented ones."""
    age_text = model.encode_ages()
    size, parts = model.image_size, []
    for start in range(0, len(subset.rows), batch_size):
        rows = subset.rows[start : start + batch_size]
        crops = torch.from_numpy(subset.cache.crops[rows])
        if view:
            pixels = augment(crops, size, subset.cache.margin, Draws(draw(0, view, rows)), LIGHT)
        else:
            pixels = plain(crops, size, subset.cache.margin)
        found = model.describe(pixels, age_text, mirror=mirror)
        truth = torch.tensor([float(subset.cache.samples[row].age) for row in rows])
        parts.append(Described(found.embedding, found.estimate, truth))
    return join(parts)


def fit_temperature(model: AgeModel, tune: Described) -> tuple[float, float]:
    """The head's temperature with the smallest mean absolute error on `tune`, and that error in years.

    A Gaussian's mean does not move with its temperature: of equal errors the likeliest distribution wins.
    """
    grid = np.round(np.arange(0.05, 2.01, 0.05), 2)
    found = []
    for temperature in grid:
        estimate = model.head.tempered(tune.estimate, float(temperature))
        whole = tune.truth.round().long().clamp(0, estimate.logits.shape[1] - 1)
        surprise = F.cross_entropy(estimate.logits, whole)
        error = float((estimate.age - tune.truth).abs().mean())
        found.append((round(error, 6), float(surprise), float(temperature)))
    smallest, _, best = min(found)
    return best, smallest


def rescale(model: AgeModel, described: Described, temperature: float) -> Described:
    """The same photos with the head at another temperature than 1."""
    return replace(described, estimate=model.head.tempered(described.estimate, temperature))


def fit_ensemble(
    config: EnsembleConfig, views: list[Described], tune: Described, *, steps: int = 1500, seed: int = 0
) -> ErrorEnsemble:
    """Fit the ensemble on `held` (one `Described` per view) and keep the step that is best on `tune`.

    Candidate ages: the estimate itself, two near it (σ = 8) and one from the whole range. Each member sees its own
    bootstrap sample of the photos. Huber loss in years.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    ensemble = ErrorEnsemble(config)
    optimizer = torch.optim.AdamW(ensemble.parameters(), lr=1e-3, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    count = len(views[0].truth)
    drawn = torch.randint(count, (config.members, count), generator=generator)
    weight = torch.stack([torch.bincount(row, minlength=count) for row in drawn]).float()
    best, kept = float("inf"), ensemble.state_dict()
    for step in range(steps):
        index = torch.randperm(count, generator=generator)[:256]
        batch = views[int(torch.randint(len(views), (1,), generator=generator))].at(index)
        ages = _candidates(batch, config.max_age, generator)
        found = ensemble.train()(batch.embedding, batch.estimate, ages)
        wanted = (batch.truth.unsqueeze(1) - ages).abs().expand_as(found)
        loss = F.huber_loss(found, wanted, reduction="none", delta=2.0).mean(dim=2)
        optimizer.zero_grad()
        ((loss * weight[:, index]).sum() / weight[:, index].sum()).backward()
        optimizer.step()
        schedule.step()
        if (step + 1) % 50 == 0:
            error = _ensemble_error(ensemble.eval(), tune, config.max_age)
            if error < best:
                best = error
                kept = {name: value.clone() for name, value in ensemble.state_dict().items()}
    ensemble.load_state_dict(kept)
    log.info("error ensemble: tune error of the estimated error %.3f years", best)
    return ensemble.eval()


def _candidates(batch: Described, max_age: float, generator: torch.Generator) -> Float[Tensor, "photo 4"]:
    age = batch.estimate.age.unsqueeze(1)
    near = age + 8 * torch.randn(len(age), 2, generator=generator)
    anywhere = max_age * torch.rand(len(age), 1, generator=generator)
    return torch.cat([age, near, anywhere], dim=1).clamp(0, max_age)


@torch.no_grad()
def _ensemble_error(ensemble: ErrorEnsemble, tune: Described, max_age: float) -> float:
    ages = _candidates(tune, max_age, torch.Generator().manual_seed(1))
    found = ensemble(tune.embedding, tune.estimate, ages).mean(dim=0)
    return float((found - (tune.truth.unsqueeze(1) - ages).abs()).abs().mean())


class Remembering:
    """The ensemble for some photos, with its errors at all whole ages kept: makes trying many rules cheap.

    Nothing is read off between whole ages: an error has its kink at the estimate itself, where a straight line would
    find gains that are not there.
    """

    def __init__(self, ensemble: ErrorModel, described: Described, num_ages: int) -> None:
        grid = torch.arange(num_ages, dtype=torch.float32).expand(len(described.truth), -1)
        self._ensemble = ensemble
        with torch.no_grad():
            self._at_whole_ages = ensemble(described.embedding, described.estimate, grid)

    def __call__(self, embedding: Tensor, estimate: AgeEstimate, ages: Tensor) -> Tensor:
        if ages.shape[1] == self._at_whole_ages.shape[2]:
            return self._at_whole_ages
        return self._ensemble(embedding, estimate, ages)


def choose_correction(ensemble: ErrorModel, tune: Described) -> tuple[CorrectionConfig, dict[str, Any]]:
    """The best rule of `search_correction`; "never correct" unless its gain exceeds both `LEAST_GAIN` and its own
    standard error. Gives the rule and what it did on `tune`."""
    never, best = search_correction(ensemble, tune)
    before = tune.estimate.age.numpy()
    found = gain(tune.truth.numpy(), before, ages_after(best, ensemble, tune))
    if found["mean_gain"] < max(LEAST_GAIN, found["standard_error"]):
        log.info("correction: best gain on tune %.3f ± %.3f years; left off", *_two(found))
        return never, {"best_refused": found}
    log.info("correction: gain on tune %.3f ± %.3f years", *_two(found))
    return best, found


def search_correction(ensemble: ErrorModel, tune: Described) -> tuple[CorrectionConfig, CorrectionConfig]:
    """The rule that never corrects, and the rule with the smallest mean absolute error on `tune`."""
    num_ages = tune.estimate.logits.shape[1]
    remembering = Remembering(ensemble, tune, num_ages)
    surprise = -tune.estimate.logits.log_softmax(dim=1)
    scale = float((surprise - surprise.min(dim=1, keepdim=True).values).quantile(0.9))
    first = first_errors(remembering, tune)
    before, truth = tune.estimate.age.numpy(), tune.truth.numpy()
    quantiles = {q: float(first.quantile(q)) for q in (0.0, 0.25, 0.5, MOSTLY_ACCEPTED)}
    never = replace(never_correct(first), mismatch_scale=scale)
    best, best_gain = never, 0.0
    choices = itertools.product(quantiles.values(), TETHERS, MISMATCHES, CAUTIONS, MARGINS, ITERATIONS)
    for epsilon, tether, weight, caution, margin, iterations in choices:
        rule = CorrectionConfig(epsilon, tether, weight, scale, caution, margin, iterations)
        found = gain(truth, before, ages_after(rule, remembering, tune))["mean_gain"]
        if found > best_gain:
            best, best_gain = rule, found
    return never, best


@torch.no_grad()
def first_errors(errors: ErrorModel, described: Described) -> Float[Tensor, " photo"]:
    """The expected error of each photo's first estimate, in years."""
    age = described.estimate.age.unsqueeze(1)
    return errors(described.embedding, described.estimate, age).mean(dim=0)[:, 0]


def never_correct(first: Float[Tensor, " photo"]) -> CorrectionConfig:
    """The rule that leaves every estimate as it is, and calls those with the largest expected errors uncertain."""
    return CorrectionConfig(epsilon=float(first.quantile(MOSTLY_ACCEPTED)), max_iterations=0)


def _two(found: dict[str, float]) -> tuple[float, float]:
    return found["mean_gain"], found["standard_error"]


def ages_after(rule: CorrectionConfig, ensemble: ErrorModel, described: Described) -> np.ndarray:
    """Ages in years after correction by a rule."""
    return corrected_ages(ensemble, described.embedding, described.estimate, rule).numpy()


def calibrate_interval(
    ensemble: ErrorModel, rule: CorrectionConfig, tune: Described, cal: Described, coverage: float = 0.9
) -> IntervalConfig:
    """Interval of the corrected age: the floor with the narrowest intervals on `tune`, the quantiles on `cal`."""
    on_tune, on_cal = _corrected(ensemble, rule, tune), _corrected(ensemble, rule, cal)
    floor = min(FLOORS, key=lambda floor: _mean_width(on_tune, _interval(on_tune, floor, coverage)))
    found = _interval(on_cal, floor, coverage)
    log.info(
        "interval: floor %.1f years, divided at %s, quantiles %s",
        floor,
        found.edges,
        np.round(found.quantiles, 2),
    )
    return found


def reliability(
    ensemble: ErrorModel,
    config: CheckpointConfig,
    tune: Described,
    cal: Described,
    levels: Sequence[float],
) -> tuple[Float[np.ndarray, " photo"], dict[float, np.ndarray]]:
    """Corrected ages on `tune`, and for each level which true ages lie within intervals that promise it, made from
    `cal` as the checkpoint's own are."""
    on_tune, on_cal = (_corrected(ensemble, config.correction, part) for part in (tune, cal))
    floor, inside = config.interval.floor, {}
    for level in levels:
        interval = _interval(on_cal, floor, level)
        ends = [interval.interval(row.age, row.estimated_error) for row in on_tune.itertuples()]
        low, high = np.array(ends).T
        inside[level] = (low <= tune.truth.numpy()) & (tune.truth.numpy() <= high)
    return on_tune["age"].to_numpy(), inside


def _interval(corrected: pd.DataFrame, floor: float, coverage: float) -> IntervalConfig:
    """The interval that these photos make, with the conformal quantile of each band of true ages."""
    truth = corrected["truth"].to_numpy()
    score = (corrected["error"] / (corrected["estimated_error"] + floor)).to_numpy()
    edges = _edges(truth, coverage)
    band = np.digitize(truth, edges)
    quantiles = tuple(conformal_quantile(score[band == index], coverage) for index in range(len(edges) + 1))
    return IntervalConfig(edges, quantiles, floor, coverage)


def _edges(truth: Float[np.ndarray, " photo"], coverage: float) -> tuple[float, ...]:
    """Those of `BANDS` between which lie enough photos for a finite quantile.

    Ages of which a set has hardly a photo (MORPH has no children) count with their neighbours. By themselves they would
    never be ruled out, and every interval would reach to them.
    """
    edges: list[float] = []
    for edge in BANDS:
        between = truth[(truth >= max(edges, default=-math.inf)) & (truth < edge)]
        if enough(len(between), coverage) and enough(int((truth >= edge).sum()), coverage):
            edges.append(edge)
    return tuple(edges)


def _mean_width(corrected: pd.DataFrame, config: IntervalConfig) -> float:
    ends = [config.interval(row.age, row.estimated_error) for row in corrected.itertuples()]
    return float(np.mean([high - low for low, high in ends]))


def _corrected(ensemble: ErrorModel, rule: CorrectionConfig, described: Described) -> pd.DataFrame:
    """One row per photo: true age, corrected age, its estimated error and its real one, in years."""
    corrections = correct(ensemble, described.embedding, described.estimate, rule)
    truth, age = described.truth.numpy(), np.array([correction.age for correction in corrections])
    return pd.DataFrame(
        {
            "truth": truth,
            "age": age,
            "estimated_error": [correction.estimated_error for correction in corrections],
            "error": np.abs(age - truth),
        }
    )
