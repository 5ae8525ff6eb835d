"""The calibrated distribution: what is read from it agrees."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cilf.distribution import distribution_at, quantile_age, standard_deviation
from cilf.inference.predictive import (
    Location,
    PredictiveConfig,
    calibrated,
    expected_deviation,
    location,
    median,
    moved,
)

AGES = st.floats(1, 99)
LEVELS = st.floats(0.02, 0.98)


def distribution(seed: int, temperature: float = 1.0) -> np.ndarray:
    """One with several summits."""
    centres = np.random.default_rng(seed).random((3, 1)) * 100
    logits = np.logaddexp.reduce(-((np.arange(101) - centres) ** 2) / 40, keepdims=True)
    return calibrated(logits.astype(np.float32), PredictiveConfig(temperature))


@pytest.mark.slow
@pytest.mark.parametrize("which", ["mean", "median"])
@settings(deadline=None)
@given(seed=st.integers(0, 50), age=AGES)
def test_a_distribution_is_moved_to_an_age(which: Location, seed: int, age: float) -> None:
    before = distribution(seed)
    after = moved(before, np.array([age]), which)
    assert after.sum().item() == pytest.approx(1, abs=1e-4)
    if which == "mean":
        assert location(after, which).item() == pytest.approx(age, abs=0.05)
    else:  # between two summits every age is a median
        assert distribution_at(after[0], age) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("which", ["mean", "median"])
def test_a_distribution_that_is_there_already_stays(which: Location) -> None:
    before = distribution(3)
    after = moved(before, location(before, which), which)
    np.testing.assert_allclose(after, before, atol=1e-4, rtol=0)


@given(st.integers(0, 50), LEVELS)
def test_quantiles_and_the_distribution_function_are_inverse(seed: int, level: float) -> None:
    shares = distribution(seed)[0]
    age = quantile_age(shares, level)
    if 0 < age < 100:
        assert distribution_at(shares, age) == pytest.approx(level, abs=1e-5)


def test_the_median_is_the_half() -> None:
    shares = distribution(7)
    assert quantile_age(shares[0], 0.5) == pytest.approx(median(shares).item(), abs=1e-3)


def test_a_certain_distribution_says_its_age() -> None:
    shares = np.eye(101, dtype=np.float32)[[0, 30, 100]]
    for which in ("mean", "median"):
        assert location(shares, which).tolist() == pytest.approx([0, 30, 100], abs=0.51)


def test_beyond_the_range_all_is_certain() -> None:
    shares = distribution(1)[0]
    assert distribution_at(shares, -1) == 0
    assert distribution_at(shares, 116) == 1


def test_a_temperature_makes_it_wider() -> None:
    widths = [standard_deviation(distribution(2, t)[0]) for t in (0.5, 1.0, 2.5)]
    assert widths == sorted(widths)


def test_the_expected_deviation_is_least_at_the_median() -> None:
    shares, grid = distribution(5), np.arange(101.0)[None]
    deviations = expected_deviation(shares, grid)[0]
    assert abs(int(deviations.argmin()) - median(shares).item()) <= 1
    by_hand = (shares[0] * np.abs(np.arange(101) - 40)).sum()
    assert deviations[40].item() == pytest.approx(by_hand.item(), rel=1e-4)
    assert np.isfinite(deviations).all()
