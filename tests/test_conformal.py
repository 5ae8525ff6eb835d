"""Split-conformal intervals (METHOD 9, 14)."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from cilf.conformal import IntervalConfig, conformal_quantile


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


@given(age=st.floats(0, 100), error=st.floats(0, 50), quantile=st.floats(0, 10), floor=st.floats(0, 10))
def test_the_interval_holds_the_estimate_and_stays_in_the_range(
    age: float, error: float, quantile: float, floor: float
) -> None:
    low, high = IntervalConfig((), (quantile,), floor).interval(age, error)
    assert 0 <= low <= age <= high <= 100


def test_each_band_has_its_quantile() -> None:
    config = IntervalConfig((13.0, 60.0), (1.0, 2.0, 3.0), floor=0.0)
    reaches = [high - age for age in (12.9, 13.0, 59.9, 60.0) for _, high in [config.interval(age, 4.0)]]
    assert reaches == pytest.approx([4, 8, 8, 12])
