"""Measures of age estimates (METHOD 11). All ages in years."""

from typing import Any

import numpy as np
from jaxtyping import Float

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


def summary(table: dict[str, Ages]) -> dict[str, Any]:
    """All measures of one group of photos; `table` has truth, age, initial_age, age_low and age_high."""
    truth, age, initial = table["truth"], table["age"], table["initial_age"]
    return {
        "count": len(truth),
        **accuracy(truth, age),
        "before_correction": accuracy(truth, initial),
        "correction": gain(truth, initial, age),
        "interval": interval_quality(truth, table["age_low"], table["age_high"]),
    }
