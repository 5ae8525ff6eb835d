"""Means of sets of weights: of those that a run started from and those that it ended with, and of several runs' that
differ in their seeds alone.

All lie in one basin of the loss, so each weight can be taken between them, and the model there is often better than
either, above all on photos unlike the last ones trained on: Wortsman et al., "Robust fine-tuning of zero-shot models"
(CVPR 2022, arXiv 2109.01903) and "Model soups" (ICML 2022, arXiv 2203.05482).
"""

import logging
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from cilf.model.base import AgeModel
from train.calibrate.calibrate import describe, fit_temperature, join, rescale
from train.calibrate.even_choice import best_for_all_ages, even_error
from train.data.crop_cache import Subset
from train.fit.weight_matching import LATER, TEXT_TOWER, check_weights

log = logging.getLogger(__name__)

SHARES = (0.0, 0.25, 0.5, 0.75)


def blend(
    model: AgeModel,
    start: Mapping[str, Tensor],
    photos: Sequence[Subset],
    *,
    mirror: bool,
    new_texts: bool = False,
) -> float:
    """Bring `model` to the best of some places between itself and `start`, by its errors on `photos`.

    Args:
        model: the network at the end of the run.
        start: the weights that the run started from.
        photos: held-out and validation photos: what it did not learn from.
        mirror: also describe each photo mirrored.
        new_texts: the run began with a text tower of its own. Then that one, the prompts and the parts that `start` has
            not stay as they are.

    Returns:
        The share of `start`, in [0, 1).

    Raises:
        UsageError: `start` is of another network.
    """
    end = {name: value.clone() for name, value in model.state_dict().items()}
    if new_texts:
        start = {name: value for name, value in start.items() if not name.startswith(TEXT_TOWER)}
    learned = {
        name: value for name, value in end.items() if name in start or not new_texts or not is_new(name)
    }
    advice = "give as --start the checkpoint that the run started from"
    check_weights(start, learned, "The checkpoint to mix in", advice)
    errors: dict[float, tuple[float, float]] = {}
    for share in SHARES:
        model.load_state_dict(mean_weights(end, start, share))
        model.head.temperature.fill_(1)
        described = join([describe(model, part, mirror=mirror) for part in photos])
        temperature, error = fit_temperature(model, described)
        tempered = rescale(model, described, temperature)
        evenly = even_error(tempered.estimate.age.numpy(), tempered.truth.numpy())
        errors[share] = error, evenly
        log.info("%.0f %% of the start: error %.3f years, evenly %.3f", 100 * share, error, evenly)
    best = best_for_all_ages(errors)
    model.load_state_dict(mean_weights(end, start, best))
    model.head.temperature.fill_(1)
    return best


def mean_of(models: Sequence[AgeModel]) -> AgeModel:
    """Bring the first of several networks to the mean of all their weights; counters stay the first one's."""
    weights = [model.state_dict() for model in models]
    for name, value in weights[0].items():
        if value.is_floating_point():
            value.copy_(torch.stack([each[name] for each in weights]).mean(dim=0))
    return models[0]


def is_new(name: str) -> bool:
    """Whether a weight belongs to a text tower, or to parts that earlier networks have not."""
    return name.startswith(TEXT_TOWER + LATER)


def mean_weights(end: Mapping[str, Tensor], start: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """`share` of `start` and the rest of `end`, name by name; whole numbers (counters), and what `start` has not, are
    `end`'s."""
    return {
        name: value.lerp(start[name].to(value), share)
        if value.is_floating_point() and name in start
        else value
        for name, value in end.items()
    }
