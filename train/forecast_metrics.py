"""Measures of predictive distributions and of the evidence that was sought for them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from train.metrics import bootstrap_range, share_range

MOVED = 0.5  # years, from which on an age counts as moved


def crps(probabilities: Float[np.ndarray, " whole_age"], truth: float) -> float:
    """Continuous ranked probability score in years, Σ (P(Y ≤ k) − [truth ≤ k])² over all whole years k (Gneiting and
    Raftery, 2007): for a distribution in one place and a whole true age the absolute error."""
    reached = np.arange(len(probabilities)) >= truth
    beyond = max(0, math.ceil(truth) - len(probabilities))  # years after the last one, at which P is 1
    return float(((np.cumsum(probabilities) - reached) ** 2).sum()) + beyond


def interval_score(
    truth: Float[np.ndarray, " photo"],
    low: Float[np.ndarray, " photo"],
    high: Float[np.ndarray, " photo"],
    level: float,
) -> float:
    """Mean of width + 2/α times what is missed, α = 1 − level, in years (Gneiting and Raftery, 2007)."""
    missed = np.maximum(low - truth, 0) + np.maximum(truth - high, 0)
    return float((high - low + 2 / (1 - level) * missed).mean())


def calibration_report(
    table: pd.DataFrame, levels: Sequence[float], units: Sequence[str] | None = None, bins: int = 10
) -> dict[str, Any]:
    """CRPS; coverage, width and score of the intervals at each level; and the reliability of F: the share of the photos
    whose true age lies below each tenth of its own distribution, which should be that tenth. `units` as of
    `bootstrap_range`."""
    truth = table["truth"].to_numpy(dtype=np.float64)
    scores = table["crps"].to_numpy(dtype=np.float64)
    intervals = {}
    for level in levels:
        low, high = (table[f"{end}_{level:g}"].to_numpy(dtype=np.float64) for end in ("low", "high"))
        inside = (low <= truth) & (truth <= high)
        intervals[f"{level:g}"] = {
            "coverage": float(inside.mean()),
            "coverage_range": share_range(inside, "wilson"),
            "mean_width": float((high - low).mean()),
            "interval_score": interval_score(truth, low, high, level),
        }
    below = table["level"].to_numpy(dtype=np.float64)
    return {
        "crps": float(scores.mean()),
        "crps_range": bootstrap_range(scores, units),
        "intervals": intervals,
        "reliability": {
            f"{level:.1f}": float((below <= level).mean()) for level in np.arange(1, bins) / bins
        },
    }


def evidence_report(table: pd.DataFrame, units: Sequence[str] | None = None) -> dict[str, Any]:
    """How many faces further views were sought for, how many ages moved, and what that gained, in years. `units` as of
    `bootstrap_range`."""
    truth, before, after = (
        table[name].to_numpy(dtype=np.float64) for name in ("truth", "initial_age", "age")
    )
    fall = np.abs(before - truth) - np.abs(after - truth)
    further = table["iterations"].to_numpy() if "iterations" in table else np.zeros(len(table))
    return {
        "share_asking": float((further > 0).mean()),
        "share_moved": float((np.abs(after - before) >= MOVED).mean()),
        "mean_views": float(1 + further.mean()),
        "gain": float(fall.mean()),
        "gain_range": bootstrap_range(fall, units),
    }
