"""Measures of age estimates (METHOD 11). All ages in years."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import binomtest

Ages = Float[np.ndarray, " photo"]


def mean_absolute_error(truth: Ages, age: Ages) -> float:
    """MAE = mean |age − truth|."""
    return float(np.abs(age - truth).mean())


def cumulative_score(truth: Ages, age: Ages, tolerance: float = 5.0) -> float:
    """CS(θ): share of photos with |age − truth| ≤ θ, on unrounded ages."""
    return float((np.abs(age - truth) <= tolerance).mean())


def accuracy(truth: Ages, age: Ages) -> dict[str, float]:
    """MAE, CS@5 and the mean signed error."""
    return {
        "mae": mean_absolute_error(truth, age),
        "cs5": cumulative_score(truth, age),
        "bias": float((age - truth).mean()),
    }


def gain(truth: Ages, before: Ages, after: Ages) -> dict[str, float]:
    """What a correction changed: mean fall of the absolute error, its standard error, and shares of photos."""
    fall = np.abs(before - truth) - np.abs(after - truth)
    return {
        "mean_gain": float(fall.mean()),
        "standard_error": float(fall.std(ddof=1) / np.sqrt(len(fall))) if len(fall) > 1 else 0.0,
        "share_changed": float((before != after).mean()),
        "share_better": float((fall > 0).mean()),
        "share_worse": float((fall < 0).mean()),
    }


def interval_quality(truth: Ages, low: Ages, high: Ages) -> dict[str, float]:
    """Coverage of the intervals, and their width in years."""
    width = high - low
    return {
        "coverage": float(((low <= truth) & (truth <= high)).mean()),
        "mean_width": float(width.mean()),
        "median_width": float(np.median(width)),
    }


def bootstrap_range(
    values: Float[np.ndarray, " photo"], level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Range of the mean over photos drawn anew with replacement (percentile bootstrap)."""
    generator = np.random.default_rng(seed)
    means = [generator.choice(values, len(values)).mean() for _ in range(resamples)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def share_range(hits: Bool[np.ndarray, " photo"], method: str, level: float = 0.95) -> tuple[float, float]:
    """Range of a share: `method` is "wilson", or "exact" for Clopper and Pearson's."""
    found = binomtest(int(hits.sum()), len(hits)).proportion_ci(level, method=method)
    return float(found.low), float(found.high)


def summary(table: dict[str, Ages]) -> dict[str, Any]:
    """All measures of one group of photos; `table` has truth, age, initial_age, age_low and age_high.

    Ranges are at 95 %: bootstrap ones for errors and gains, Wilson's for the coverage.
    """
    truth, age, initial = table["truth"], table["age"], table["initial_age"]
    low, high = table["age_low"], table["age_high"]
    fall = np.abs(initial - truth) - np.abs(age - truth)
    inside = (low <= truth) & (truth <= high)
    return {
        "count": len(truth),
        **accuracy(truth, age),
        "mae_range": bootstrap_range(np.abs(age - truth)),
        "bias_range": bootstrap_range(age - truth),
        "before_correction": accuracy(truth, initial),
        "correction": gain(truth, initial, age) | {"gain_range": bootstrap_range(fall)},
        "interval": interval_quality(truth, low, high) | {"coverage_range": share_range(inside, "wilson")},
    }


def decision_quality(answers: list[str], wrong: str) -> dict[str, Any]:
    """Counts of the answers yes, no and unsure to one question, and the share of the wrong one with its exact range."""
    given = np.array(answers)
    return {
        "count": len(given),
        **{answer: int((given == answer).sum()) for answer in ("yes", "no", "unsure")},
        "wrong": float((given == wrong).mean()),
        "wrong_range": share_range(given == wrong, "exact"),
    }
