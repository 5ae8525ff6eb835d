"""Measures of age estimates (METHOD 11). All ages in years."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import binomtest

Ages = Float[np.ndarray, " photo"]

OLDEST = 200  # years, no age is above
MOST_DRAWN = 100_000  # units of resamples that are drawn together
# Bands of true ages in every report and card: name → first and last age in whole years.
BANDS = {
    "0–12": (0, 12),
    "13–17": (13, 17),
    "18–29": (18, 29),
    "30–44": (30, 44),
    "45–59": (45, 59),
    "60+": (60, OLDEST),
}
# Where two systems are compared the three bands of adults below 60 are one, for narrower ranges.
WIDE_BANDS = {name: BANDS[name] for name in ("0–12", "13–17")} | {"18–59": (18, 59), "60+": BANDS["60+"]}


def within(age: Ages, first: int, last: int) -> Bool[np.ndarray, " photo"]:
    """Which ages lie in the band of whole years from `first` to `last`: somebody of 17.5 is 17 years old."""
    return (first <= age) & (age < last + 1)


def mean_absolute_error(truth: Ages, age: Ages) -> float:
    """MAE = mean |age − truth|."""
    return float(np.abs(age - truth).mean())


def cumulative_score(truth: Ages, age: Ages, tolerance: float = 5.0) -> float:
    """CS(θ): share of photos with |age − truth| ≤ θ, on unrounded ages."""
    return float((np.abs(age - truth) <= tolerance).mean())


def score_range(truth: Ages, age: Ages, units: Sequence[str] | None = None) -> tuple[float, float]:
    """95 % range of CS@5, from the same draws as the MAE's."""
    return bootstrap_range((np.abs(age - truth) <= 5).astype(np.float64), units)


def cumulative_curve(truth: Ages, age: Ages, last: int = 10) -> dict[str, float]:
    """CS(θ) at θ = 0, 1, … `last` years."""
    return {str(tolerance): cumulative_score(truth, age, tolerance) for tolerance in range(last + 1)}


def epsilon_error(truth: Ages, age: Ages, deviation: Ages) -> float:
    """ε-error of apparent age, 1 − mean exp(−(age − μ)² / 2σ²), where μ and σ are mean and standard deviation of the
    votes (Escalera et al., ChaLearn LAP 2015). Where all votes agree, σ = 0, only their age is free of error."""
    spread = np.maximum(deviation, 1e-6)  # years
    return float(1 - np.exp(-0.5 * ((age - truth) / spread) ** 2).mean())


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
    values: Float[np.ndarray, " photo"],
    units: Sequence[str] | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Range of the mean over photos resampled with replacement (percentile bootstrap).

    Where `units` says what each value belongs to, a person or a photo that is there more than once, whole units are
    drawn: their errors are alike, and drawn apart would make the range too narrow.
    """
    means, _ = _resampled_means(values, units, resamples, seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _resampled_means(
    values: Float[np.ndarray, " photo"], units: Sequence[str] | None, resamples: int, seed: int
) -> tuple[Float[np.ndarray, " resample"], int]:
    """Means over resampled units, and the number of units."""
    _, unit = np.unique(np.arange(len(values)) if units is None else np.array(units), return_inverse=True)
    sums, counts = np.bincount(unit, weights=values), np.bincount(unit)
    generator = np.random.default_rng(seed)
    means = []
    for first in range(0, resamples, at_once := max(1, MOST_DRAWN // len(sums))):
        drawn = generator.integers(len(sums), size=(min(at_once, resamples - first), len(sums)))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    return np.concatenate(means), len(sums)


def area_under_curve(
    scores: Float[np.ndarray, " photo"],
    positive: Bool[np.ndarray, " photo"],
    units: Sequence[str] | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, tuple[float, float]]:
    """Area under the ROC curve, and its range over resampled units as in `bootstrap_range`.

    The area is the probability that a positive photo scores above a negative one, ties counted half (Hanley and
    McNeil, 1982). Draws that hold photos of one kind alone are left out of the range.
    """
    _, unit = np.unique(np.arange(len(scores)) if units is None else np.array(units), return_inverse=True)
    number = int(np.max(unit)) + 1
    drawn = np.random.default_rng(seed).multinomial(number, np.full(number, 1 / number), resamples)
    area = float(_weighted_areas(scores, positive, np.ones((1, len(scores))))[0])
    with np.errstate(invalid="ignore"):
        areas = _weighted_areas(scores, positive, drawn[:, unit].astype(np.float64))
    low, high = np.nanquantile(areas, [(1 - level) / 2, (1 + level) / 2])
    return area, (float(low), float(high))


def _weighted_areas(
    scores: Float[np.ndarray, " photo"],
    positive: Bool[np.ndarray, " photo"],
    weights: Float[np.ndarray, "draw photo"],
) -> Float[np.ndarray, " draw"]:
    """Area under the curve for each row of the photos' weights."""
    order = np.argsort(scores)
    scores, weights = scores[order], weights[:, order]
    won, lost = weights * positive[order], weights * ~positive[order]
    below = np.pad(np.cumsum(lost, axis=1), ((0, 0), (1, 0)))
    beaten = sum(below[:, np.searchsorted(scores, scores, side)] for side in ("left", "right")) / 2
    areas: np.ndarray = (won * beaten).sum(axis=1) / (won.sum(axis=1) * lost.sum(axis=1))
    return areas


def paired_bootstrap(
    first: Float[np.ndarray, " photo"],
    second: Float[np.ndarray, " photo"],
    people: Sequence[str] | None = None,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare two models by their absolute errors in years on the same photos.

    Photos are resampled with replacement, each with both its errors; where `people` says who is on each photo, whole
    people are drawn, because photos of one person err alike.

    Returns:
        `gain`, by how much the second's mean error is smaller; `gain_range`, its range at `level` (percentiles); `p`,
        the two-sided bootstrap p-value of no difference; and `units`, how many photos or people were drawn from.
    """
    gain = first - second
    means, units = _resampled_means(gain, people, resamples, seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    # Counting the sample itself keeps p above 0 (Davison and Hinkley, 1997, section 4.2).
    tail = (1 + min((means <= 0).sum(), (means >= 0).sum())) / (resamples + 1)
    return {
        "gain": float(gain.mean()),
        "gain_range": (float(low), float(high)),
        "p": float(min(1.0, 2 * tail)),
        "units": units,
    }


def share_range(hits: Bool[np.ndarray, " photo"], method: str, level: float = 0.95) -> tuple[float, float]:
    """Range of a share: `method` is "wilson", or "exact" for Clopper and Pearson's."""
    interval = binomtest(int(hits.sum()), len(hits)).proportion_ci(level, method=method)
    return float(interval.low), float(interval.high)


def summary(table: dict[str, Ages], units: Sequence[str] | None = None) -> dict[str, Any]:
    """All measures of one group of photos; `table` has truth, age, initial_age, age_low and age_high.

    Ranges are at 95 %: for errors, CS@5 and gains bootstrap ones over `units` as in `bootstrap_range`, for the coverage
    Wilson's, which takes photos as independent.
    """
    truth, age, initial = table["truth"], table["age"], table["initial_age"]
    low, high = table["age_low"], table["age_high"]
    fall = np.abs(initial - truth) - np.abs(age - truth)
    inside = (low <= truth) & (truth <= high)
    return {
        "count": len(truth),
        **accuracy(truth, age),
        "mae_range": bootstrap_range(np.abs(age - truth), units),
        "cs5_range": score_range(truth, age, units),
        "bias_range": bootstrap_range(age - truth, units),
        "before_correction": accuracy(truth, initial),
        "correction": gain(truth, initial, age) | {"gain_range": bootstrap_range(fall, units)},
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
