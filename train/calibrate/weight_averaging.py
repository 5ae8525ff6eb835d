"""The mean of two sets of weights: those that a run started from and those that it ended with.

Both lie in one basin of the loss, so each weight can be taken between the two, and the model there is often better than
either, above all on photos unlike the last ones trained on: Wortsman et al., "Robust fine-tuning of zero-shot models"
(CVPR 2022, arXiv 2109.01903).
"""

import logging
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from torch import Tensor

from cilf.model.base import AgeModel
from train.calibrate.calibrate import describe, fit_temperature, rescale
from train.data.crop_cache import Subset
from train.fit.weight_matching import check_weights

log = logging.getLogger(__name__)

SHARES = (0.0, 0.25, 0.5, 0.75)
AGES = (13, 18, 60)  # years, where the bands of `even_error` begin after the first
ALIKE = (
    0.02  # years of `even_error` that tell nothing: the standard error of its difference between two shares
)


def blend(model: AgeModel, start: Mapping[str, Tensor], tune: Subset, *, mirror: bool) -> float:
    """Bring `model` to the best of some places between itself and `start`, by `even_error` on `tune`.

    Gives the share of `start` in it, in [0, 1). Raises UsageError where `start` is of another network.
    """
    end = {name: value.clone() for name, value in model.state_dict().items()}
    advice = "give as --start the checkpoint that the run started from"
    check_weights(start, end, "The checkpoint to mix in", advice)
    errors = {}
    for share in SHARES:
        model.load_state_dict(mean_weights(end, start, share))
        model.head.temperature.fill_(1)
        described = describe(model, tune, mirror=mirror)
        temperature, error = fit_temperature(model, described)
        tempered = rescale(model, described, temperature)
        errors[share] = even_error(tempered.estimate.age.numpy(), tempered.truth.numpy())
        log.info("%.0f %% of the start: tune MAE %.3f, evenly %.3f", 100 * share, error, errors[share])
    best = chosen(errors)
    model.load_state_dict(mean_weights(end, start, best))
    model.head.temperature.fill_(1)
    return best


def chosen(errors: Mapping[float, float]) -> float:
    """The share with the smallest error in years; of several that are alike the largest, for what lies nearer to the
    start does better on photos unlike those trained on last."""
    return max(share for share, error in errors.items() if error <= min(errors.values()) + ALIKE)


def even_error(age: Float[np.ndarray, " photo"], truth: Float[np.ndarray, " photo"]) -> float:
    """Mean over bands of true age of the mean absolute error in years: children and the old, who are few, weigh as
    much as the many in between."""
    band = np.digitize(truth, AGES)
    errors = np.abs(age - truth)
    return float(np.mean([errors[band == index].mean() for index in np.unique(band)]))


def mean_weights(end: Mapping[str, Tensor], start: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """`share` of `start` and the rest of `end`, name by name; whole numbers (counters) are `end`'s."""
    return {
        name: value.lerp(start[name].to(value), share) if value.is_floating_point() else value
        for name, value in end.items()
    }
