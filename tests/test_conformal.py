"""Split-conformal intervals (METHOD 9, 14)."""

import math
from bisect import bisect_right

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from cilf.conformal import IntervalConfig, conformal_quantile, enough


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("size", [50, 200, 1000])
def test_coverage_on_exchangeable_data(seed: int, size: int) -> None:
    """Given the calibration photos, coverage follows Beta(k, n + 1 − k)."""
    chance = np.random.default_rng((seed, size))
    quantile = conformal_quantile(np.abs(chance.standard_normal(size)), 0.9)
    coverage = float((np.abs(chance.standard_normal(200_000)) <= quantile).mean())
    rank = math.ceil((size + 1) * 0.9)
    low, high = beta.ppf([0.001, 0.999], rank, size + 1 - rank)
    assert low - 0.005 <= coverage <= high + 0.005


def test_too_few_photos_give_an_endless_interval() -> None:
    assert math.isinf(conformal_quantile(np.arange(8.0), 0.9))
    assert conformal_quantile(np.arange(9.0), 0.9) == 8.0


@given(count=st.integers(0, 60), coverage=st.floats(0.5, 0.99))
def test_enough_photos_are_those_that_have_a_quantile(count: int, coverage: float) -> None:
    assert enough(count, coverage) == math.isfinite(conformal_quantile(np.arange(float(count)), coverage))


@given(
    age=st.floats(0, 100),
    error=st.floats(0, 50),
    quantiles=st.tuples(*[st.floats(0, 10)] * 3),
    floor=st.floats(0, 10),
    other=st.floats(0, 100),
)
def test_the_interval_spans_the_estimate_and_all_ages_that_it_cannot_rule_out(
    age: float, error: float, quantiles: tuple[float, ...], floor: float, other: float
) -> None:
    low, high = IntervalConfig((13.0, 60.0), quantiles, floor).interval(age, error)
    assert 0 <= low <= age <= high <= 100
    reach = quantiles[bisect_right((13.0, 60.0), other)] * (error + floor)
    if abs(other - age) < reach:
        assert low - 1e-9 <= other <= high + 1e-9


@pytest.mark.parametrize(
    ("age", "interval"),
    [
        (40.0, (32, 48)),  # 8 years by the quantile of its own band
        (12.0, (8, 20)),  # 4 years down, but from 13 on an age may lie 8 years away
        (50.0, (42, 62)),  # from 60 on 12 years
        (47.0, (39, 55)),  # whose band begins too far away here
        (66.0, (58, 78)),
        (70.0, (60, 82)),  # 60 is within reach, 59 not: that is more than 8 years away
        (3.0, (0, 7)),
        (95.0, (83, 100)),
    ],
)
def test_each_band_of_true_ages_has_its_quantile(age: float, interval: tuple[float, float]) -> None:
    config = IntervalConfig((13.0, 60.0), (1.0, 2.0, 3.0), floor=0.0)
    assert config.interval(age, 4.0) == pytest.approx(interval)


def test_an_endless_quantile_leaves_its_whole_band_possible() -> None:
    config = IntervalConfig((13.0, 60.0), (1.0, 2.0, math.inf), floor=1.0)
    assert config.interval(20.0, 2.0) == (14.0, 100.0)
    assert config.interval(90.0, 2.0) == (60.0, 100.0)


@pytest.mark.parametrize("seed", range(3))
def test_coverage_holds_in_each_band_of_true_ages(seed: int) -> None:
    """Where the middle-aged are often taken for the young, whose estimates are good."""
    chance = np.random.default_rng(seed)

    def faces(count: int) -> tuple[np.ndarray, np.ndarray]:
        truth = chance.uniform(0, 100, count)
        missed = (truth > 60) & (chance.random(count) < 0.3)
        return truth, np.clip(truth + chance.normal(0, 2 + truth / 10) - 25 * missed, 0, 100)

    edges = (30.0, 60.0)
    truth, age = faces(1500)
    bands = [np.digitize(truth, edges) == band for band in range(3)]
    quantiles = tuple(conformal_quantile(np.abs(age - truth)[band], 0.9) for band in bands)
    config = IntervalConfig(edges, quantiles, floor=1.0)
    truth, age = faces(30_000)
    ends = np.array([config.interval(one, 0.0) for one in age])
    inside = (ends[:, 0] <= truth) & (truth <= ends[:, 1])
    for band, calibrated in enumerate(bands):
        rank = math.ceil((calibrated.sum() + 1) * 0.9)
        low = beta.ppf(0.001, rank, calibrated.sum() + 1 - rank)
        assert inside[np.digitize(truth, edges) == band].mean() >= low - 0.01
