"""Does the correction pay? ε and the number of iterations swept, the ensemble's calibration, and three controls.

The error ensemble is a second regressor with photos of its own (`held`), so a gain over the base alone proves little.
Beside it stand: a monotone recalibration of the age fitted on `held`; the plain mean of the base's age and the age at
which the ensemble expects the smallest error; and, in the ablation, the base fitted on `train` and `held` together.
"""

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import isotonic_regression
from scipy.stats import spearmanr

from cilf.checkpoint import Checkpoint
from cilf.model.correction import ErrorModel
from train.calibrate.calibrate import Described, Remembering, ages_after, describe, join, search_correction
from train.data.crop_cache import Subset
from train.metrics import bootstrap_range, gain, mean_absolute_error

ITERATIONS = (1, 2, 3, 5)
THRESHOLDS = 13  # values of ε, evenly spaced over the quantiles of the first estimated errors


def sweep(checkpoint: Checkpoint, held: list[Subset], tune: Subset, test: Subset) -> dict[str, Any]:
    """All figures, as JSON values. The rule's other values are those that are best on `tune`."""
    model, ensemble, mirror = checkpoint.model, checkpoint.ensemble, checkpoint.config.mirror
    parts = {"tune": describe(model, tune, mirror=mirror), "test": describe(model, test, mirror=mirror)}
    on_held = join([describe(model, part, mirror=mirror) for part in held])
    tables = {
        name: Remembering(ensemble, part, part.estimate.logits.shape[1]) for name, part in parts.items()
    }
    _, rule = search_correction(ensemble, parts["tune"])
    first = _estimated(ensemble, parts["tune"])
    rows = []
    for epsilon in np.quantile(first, np.linspace(0, 1, THRESHOLDS)):
        for iterations in ITERATIONS:
            tried = replace(rule, epsilon=float(epsilon), max_iterations=iterations)
            rows.append(
                {"epsilon": float(epsilon), "iterations": iterations}
                | {name: _effect(tables[name], part, tried) for name, part in parts.items()}
            )
    return {
        "weights_sha256": checkpoint.config.sha256,
        "shipped_rule": asdict(checkpoint.config.correction),
        "best_rule_on_tune": asdict(rule),
        "sweep": rows,
        "calibration": {name: calibration(ensemble, part) for name, part in parts.items()},
        "controls": {name: _controls(ensemble, on_held, part, rule) for name, part in parts.items()},
    }


def _effect(ensemble: Remembering, part: Described, rule: Any) -> dict[str, Any]:
    truth, before = part.truth.numpy(), part.estimate.age.numpy()
    after = ages_after(rule, ensemble, part)
    fall = np.abs(before - truth) - np.abs(after - truth)
    return (
        {"mae": mean_absolute_error(truth, after)}
        | gain(truth, before, after)
        | {"gain_range": bootstrap_range(fall)}
    )


@torch.inference_mode()
def _estimated(ensemble: ErrorModel, part: Described) -> Float[np.ndarray, " photo"]:
    """The ensemble's estimated error of the first estimate, in years."""
    found = ensemble(part.embedding, part.estimate, part.estimate.age.unsqueeze(1))
    return found.mean(dim=0)[:, 0].double().numpy()


@torch.inference_mode()
def _wanted(ensemble: ErrorModel, part: Described) -> Float[np.ndarray, " photo"]:
    """The whole age at which the ensemble expects the smallest error."""
    ages = torch.arange(part.estimate.logits.shape[1], dtype=torch.float32).expand(len(part.truth), -1)
    return ensemble(part.embedding, part.estimate, ages).mean(dim=0).argmin(dim=1).double().numpy()


def calibration(ensemble: ErrorModel, part: Described, bins: int = 10) -> dict[str, Any]:
    """Estimated against real errors of the first estimate, in bins of as many photos each, ascending."""
    estimated = _estimated(ensemble, part)
    real = np.abs(part.estimate.age.numpy() - part.truth.numpy())
    order = np.array_split(np.argsort(estimated), bins)
    return {
        "estimated": [float(estimated[rows].mean()) for rows in order],
        "real": [float(real[rows].mean()) for rows in order],
        "rank_correlation": float(spearmanr(estimated, real).statistic),
        "mean_absolute_difference": float(np.abs(estimated - real).mean()),
    }


def _controls(ensemble: ErrorModel, held: Described, part: Described, rule: Any) -> dict[str, Any]:
    truth, base = part.truth.numpy(), part.estimate.age.double().numpy()
    order = np.argsort(held.estimate.age.numpy())
    monotone = isotonic_regression(held.truth.double().numpy()[order]).x
    wanted = _wanted(ensemble, part)
    ages = {
        "base": base,
        "correction, best rule on tune": ages_after(rule, ensemble, part),
        "monotone recalibration on held": np.interp(
            base, held.estimate.age.double().numpy()[order], monotone
        ),
        "mean of base and ensemble": (base + wanted) / 2,
        "ensemble alone": wanted,
    }
    return {
        name: {
            "mae": mean_absolute_error(truth, age),
            "gain": float((np.abs(base - truth) - np.abs(age - truth)).mean()),
            "gain_range": bootstrap_range(np.abs(base - truth) - np.abs(age - truth)),
        }
        for name, age in ages.items()
    }
