"""The calibrated distribution, the error ensemble and the rule of correction, all by cross-fitting.

What is chosen is chosen on photos that it was not fitted on: held-out and validation photos together are divided into
folds, near-duplicates in one (METHOD 8.5). Calibration photos take no part.
"""

import itertools
import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from cilf.face.views import View
from cilf.inference.correction import CorrectionConfig, ErrorModel, NextView, corrected_ages
from cilf.inference.error_models import (
    EnsembleConfig,
    ErrorEnsemble,
    ensemble_inputs,
    layer_shapes,
    member_outputs,
)
from cilf.inference.evidence import Evidence
from cilf.inference.predictive import Location, PredictiveConfig, calibrated, location
from train.calibrate.even_choice import best_for_all_ages, even_error
from train.calibrate.predictions import ViewOutputs
from train.metrics import gain

log = logging.getLogger(__name__)

FOLDS = 5
STEPS = 300  # of the ensemble's fit
LEAST_GAIN = 0.02  # years, below which the correction is left off (METHOD 8.5)
MOSTLY_ACCEPTED = 0.75  # quantile of the first estimated errors that ε takes when the correction is left off
MOST_ASKING = 0.55  # share of the faces that may ask for a further view
MOST_VIEWS = 5  # of a face, the first crop among them
TEMPERATURES = tuple(np.round(np.arange(0.4, 5.01, 0.1), 2).tolist())  # tried for the distribution
# Values of a rule of correction that are tried: quantile of the first errors that ε takes, and cost of a view in years.
# κ and m stay 0: larger ones gain hardly more, and ages jump where a candidate nearly wins (train/LOG.md).
ACCEPTED, COSTS = (0.45, 0.5, 0.55, 0.65), (0.0, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04)
TRUSTS = (0.25, 0.5, 1.0)  # tried with the best of these rules, which have a trust of 0


def fold_of(groups: Sequence[str], count: int = FOLDS) -> Int[np.ndarray, " photo"]:
    """The fold of each photo, the same for all of a group of near-duplicates."""
    return np.array([int(sha256(group.encode()).hexdigest(), 16) % count for group in groups])


def log_likelihood(
    probabilities: Float[np.ndarray, "photo age"], truth: Float[np.ndarray, " photo"]
) -> Float[np.ndarray, " photo"]:
    """log p of each true age, to the whole year; ages over the range count as its end."""
    whole = truth.round().astype(int).clip(0, probabilities.shape[1] - 1)
    return np.log(probabilities[np.arange(len(whole)), whole].clip(1e-12))


def fit_predictive(outputs: ViewOutputs) -> PredictiveConfig:
    """The likeliest temperature for the first crop's distribution, and the location with the smaller mean error.

    One number is fitted to thousands of photos: what it owes to the photos that it is fitted on is far below what can
    be measured, so that no folds are needed.
    """
    logits = outputs.logits[:, 0]

    def likelihood(temperature: float) -> float:
        probabilities = calibrated(logits, PredictiveConfig(temperature))
        return float(log_likelihood(probabilities, outputs.truth).mean())

    config = PredictiveConfig(max(TEMPERATURES, key=likelihood))
    probabilities = calibrated(logits, config)
    choices: tuple[Location, ...] = ("median", "mean")
    errors = {name: float(np.abs(location(probabilities, name) - outputs.truth).mean()) for name in choices}
    log.info("distribution at temperature %.1f: errors in years %s", config.temperature, errors)
    return replace(config, location=min(choices, key=errors.__getitem__))


def choose_views(outputs: ViewOutputs, predictive: PredictiveConfig) -> tuple[View, ...]:
    """The further views in the order in which each adds most to those before it, by the errors of the mixture's age
    (`train.calibrate.even_choice`); `MOST_VIEWS` − 1 of them."""
    taken: list[View] = []
    while len(taken) < min(MOST_VIEWS - 1, len(outputs.views)):
        errors = {
            view: _mixture_errors(outputs.with_views([*taken, view]), predictive)
            for view in outputs.views
            if view not in taken
        }
        best = best_for_all_ages(errors)
        taken.append(best)
        log.info(
            "view %d: %s, error of the mixture %.3f years, evenly %.3f", len(taken), best.name, *errors[best]
        )
    return tuple(taken)


def _mixture_errors(outputs: ViewOutputs, predictive: PredictiveConfig) -> tuple[float, float]:
    age = outputs.states(predictive)[-1].age
    return float(np.abs(age - outputs.truth).mean()), even_error(age, outputs.truth)


def fit_ensemble(
    config: EnsembleConfig,
    states: Sequence[Evidence],
    truth: Float[np.ndarray, " photo"],
    *,
    seed: int = 0,
) -> ErrorEnsemble:
    """Fit the ensemble to photos after 1, 2, … views.

    Candidate ages: the first view's age, the evidence's own, one near it (σ = 8) and one from the whole range. Each
    member sees its own bootstrap sample of the photos. The loss is quadratic up to 10 years, so that what is estimated
    is about the mean error, not the median.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    config = replace(config, levels=())
    weights = _first_weights(config)
    optimizer = torch.optim.AdamW(weights.values(), lr=1e-3, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=STEPS)
    drop = torch.nn.Dropout(config.dropout)
    count = len(truth)
    drawn = torch.randint(count, (config.members, count), generator=generator)
    weight = torch.stack([torch.bincount(row, minlength=count) for row in drawn]).float()
    for _ in range(STEPS):
        index = torch.randperm(count, generator=generator)[:256].numpy()
        evidence = states[int(torch.randint(len(states), (1,), generator=generator))].at(index)
        ages = _candidates(evidence, states[0].age[index], config.max_age, generator)
        given = ensemble_inputs(evidence, ages, config)
        inputs = SimpleNamespace(**{name: torch.from_numpy(value) for name, value in vars(given).items()})
        errors = 10 * F.softplus(member_outputs(weights, inputs, drop) + inputs.offset)
        real = torch.from_numpy(np.abs(truth[index, None] - ages)).expand_as(errors)
        loss = F.huber_loss(errors, real, reduction="none", delta=10.0).mean(dim=2) / 10
        optimizer.zero_grad()
        ((loss * weight[:, index]).sum() / weight[:, index].sum().clamp(min=1)).backward()
        optimizer.step()
        schedule.step()
    return ErrorEnsemble(config, {name: value.detach().numpy() for name, value in weights.items()})


def _first_weights(config: EnsembleConfig) -> dict[str, Tensor]:
    weights = {}
    for name, (members, inputs, outputs) in layer_shapes(config).items():
        bound = 1 / math.sqrt(inputs)
        weights[f"{name}.weight"] = torch.empty(members, inputs, outputs).uniform_(-bound, bound)
        weights[f"{name}.bias"] = torch.zeros(members, 1, outputs)
    return {name: value.requires_grad_() for name, value in weights.items()}


def _candidates(
    evidence: Evidence, first: Float[np.ndarray, " photo"], max_age: float, generator: torch.Generator
) -> Float[np.ndarray, "photo 4"]:
    near = evidence.age + 8 * torch.randn(len(first), generator=generator).numpy()
    anywhere = max_age * torch.rand(len(first), generator=generator).numpy()
    return np.stack([first, evidence.age, near, anywhere], axis=1).clip(0, max_age)


@dataclass(frozen=True)
class Fold:
    """Photos of one fold with all their views, and an error model that was fitted without them."""

    rows: Int[np.ndarray, " row"]
    outputs: ViewOutputs
    errors: ErrorModel


def cross_fit(
    config: EnsembleConfig | None,
    outputs: ViewOutputs,
    fold: Int[np.ndarray, " photo"],
    predictive: PredictiveConfig,
    without: ErrorModel | None = None,
) -> list[Fold]:
    """An ensemble for each fold, fitted to the other folds; or `without` one, that model for all."""
    folds = []
    for number in np.unique(fold).tolist():
        inside, outside = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        errors = without
        if config is not None:
            states = [state.at(outside) for state in outputs.states(predictive)]
            errors = fit_ensemble(config, states, outputs.truth[outside], seed=number)
        assert errors is not None
        folds.append(Fold(inside, outputs.at(inside), errors))
    return folds


def levels(folds: Sequence[Fold], predictive: PredictiveConfig) -> tuple[float, ...]:
    """For each number of views the mean real error of the evidence's own ages, divided by the mean estimated one. What
    one more view gains is far less than single errors scatter, so that an ensemble does not learn it by itself."""
    real: list[list[np.ndarray]] = [[] for _ in range(1 + len(folds[0].outputs.views))]
    estimated: list[list[np.ndarray]] = [[] for _ in real]
    for fold in folds:
        for number, state in enumerate(fold.outputs.states(predictive)):
            real[number].append(np.abs(state.age - fold.outputs.truth))
            estimated[number].append(fold.errors(state, state.age[:, None]).mean(axis=0)[:, 0])
    pairs = zip(real, estimated, strict=True)
    return tuple(round(float(np.concatenate(a).mean() / np.concatenate(b).mean()), 4) for a, b in pairs)


def with_levels(errors: ErrorModel, factors: tuple[float, ...]) -> ErrorModel:
    """An ensemble with these levels; an error model without levels as it is."""
    if isinstance(errors, ErrorEnsemble):
        return replace(errors, config=replace(errors.config, levels=factors))
    return errors


def stored_views(outputs: ViewOutputs, predictive: PredictiveConfig) -> NextView:
    """Further views of stored photos, for `cilf.inference.correction.correct`."""
    views = [outputs.evidence(number, predictive) for number in range(1 + len(outputs.views))]

    def next_view(number: int, rows: list[int]) -> Evidence:
        return views[number].at(np.array(rows))

    return next_view


@dataclass(frozen=True)
class Corrected:
    """What a rule makes of N photos: corrected ages in years and views taken, both (N,)."""

    age: Float[np.ndarray, " photo"]
    views: Float[np.ndarray, " photo"]


def corrected(folds: Sequence[Fold], rule: CorrectionConfig, predictive: PredictiveConfig) -> Corrected:
    """Every photo corrected with the error model that was fitted without it, in the photos' order."""
    ages, views = zip(
        *(
            corrected_ages(
                fold.errors,
                fold.outputs.evidence(0, predictive),
                rule,
                predictive,
                stored_views(fold.outputs, predictive),
            )
            for fold in folds
        ),
        strict=True,
    )
    order = np.concatenate([fold.rows for fold in folds]).argsort()
    return Corrected(np.concatenate(ages)[order], np.concatenate(views)[order])


def first_errors(folds: Sequence[Fold], predictive: PredictiveConfig) -> Float[np.ndarray, " photo"]:
    """The estimated error of each photo's first estimate in years, in the photos' order."""
    errors = []
    for fold in folds:
        state = fold.outputs.evidence(0, predictive)
        errors.append(fold.errors(state, state.age[:, None]).mean(axis=0)[:, 0])
    order = np.concatenate([fold.rows for fold in folds]).argsort()
    return np.concatenate(errors)[order]


def view_variance(outputs: ViewOutputs, predictive: PredictiveConfig) -> float:
    """The variance between a photo's views as a share of its first distribution's own, on average."""
    last, first = outputs.states(predictive)[-1], outputs.evidence(0, predictive)
    return float((last.deviation**2).mean() / (first.spread**2).mean())


def never_correct(first: Float[np.ndarray, " photo"]) -> CorrectionConfig:
    """The rule that leaves every estimate as it is, and calls those with the largest estimated errors uncertain."""
    return CorrectionConfig(epsilon=float(np.quantile(first, MOSTLY_ACCEPTED)))


def rules(first: Float[np.ndarray, " photo"], views: int, variance: float) -> Iterator[CorrectionConfig]:
    """The rules that are tried."""
    for accepted, cost in itertools.product(ACCEPTED, COSTS):
        epsilon = float(np.quantile(first, accepted))
        yield CorrectionConfig(epsilon, max_views=views, cost=cost, variance=variance)


def choose_correction(
    folds: Sequence[Fold], outputs: ViewOutputs, predictive: PredictiveConfig
) -> tuple[CorrectionConfig, dict[str, Any]]:
    """The rule with the largest gain per photo for which at most `MOST_ASKING` of the photos ask for a view and at most
    half of all views are taken; "never correct" unless its gain exceeds both `LEAST_GAIN` and its own standard error.

    Gives the rule and what it did, by cross-fitting.
    """
    first = first_errors(folds, predictive)
    count, never = 1 + len(outputs.views), never_correct(first)
    tried = rules(first, count, view_variance(outputs, predictive)) if count > 1 else ()
    best, chosen = _best(tried, folds, outputs, predictive, (never, {"mean_gain": 0.0}))
    if best.max_views > 1:
        trusting = [replace(best, trust=trust) for trust in TRUSTS]
        best, chosen = _best(trusting, folds, outputs, predictive, (best, chosen))
    if chosen["mean_gain"] < max(LEAST_GAIN, chosen.get("standard_error", 0.0)):
        log.info("correction: left off, best %s", chosen)
        return never, {"best_refused": chosen}
    log.info("correction: %s", chosen)
    return best, chosen


Choice = tuple[CorrectionConfig, dict[str, Any]]


def _best(
    tried: Iterable[CorrectionConfig],
    folds: Sequence[Fold],
    outputs: ViewOutputs,
    predictive: PredictiveConfig,
    best: Choice,
) -> Choice:
    """The best of these rules and what it does, or the present best where none gains more and is cheap enough."""
    for rule in tried:
        result = effect(folds, rule, outputs, predictive)
        few = result["mean_views"] <= (1 + len(outputs.views)) / 2
        if few and result["share_asking"] <= MOST_ASKING and result["mean_gain"] > best[1]["mean_gain"]:
            best = rule, result
    return best


def effect(
    folds: Sequence[Fold], rule: CorrectionConfig, outputs: ViewOutputs, predictive: PredictiveConfig
) -> dict[str, float]:
    """What a rule changes: gain in years, and shares of the photos that ask for a view and that move by half a year."""
    before, truth = outputs.evidence(0, predictive).age, outputs.truth
    result = corrected(folds, rule, predictive)
    after, views = result.age, result.views
    return gain(truth, before, after) | {
        "share_asking": float((views > 1).mean()),
        "share_moved": float((np.abs(after - before) >= 0.5).mean()),
        "mean_views": float(views.mean()),
    }
