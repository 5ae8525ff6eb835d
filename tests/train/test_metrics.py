"""Measures, against scikit-learn's or by hand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binom

from train.evaluate.point_report import units
from train.metrics import accuracy, bootstrap_range, gain, interval_quality, summary

AGES = arrays(np.float64, 20, elements=st.floats(0, 100))


def test_accuracy_by_hand() -> None:
    truth, age = np.array([10.0, 20, 30, 40]), np.array([12.0, 25, 35.01, 40])
    found = accuracy(truth, age)
    assert found["mae"] == pytest.approx((2 + 5 + 5.01 + 0) / 4)
    assert found["cs5"] == 0.75  # exactly 5 counts, 5.01 does not
    assert found["bias"] == pytest.approx(12.01 / 4)


def test_the_range_of_cs5_is_that_of_a_share() -> None:
    """Percentiles of the binomial distribution for many photos; no width where all photos agree."""
    truth = np.zeros(400)
    age = np.where(np.arange(400) < 300, 5.0, 5.1)  # exactly 5 counts
    columns = {"truth": truth, "age": age, "initial_age": age, "age_low": truth, "age_high": age}
    found = summary(columns)
    assert found["cs5"] == 0.75
    assert found["cs5_range"] == pytest.approx(binom(400, 0.75).ppf([0.025, 0.975]) / 400, abs=0.006)
    assert summary({name: ages[:300] for name, ages in columns.items()})["cs5_range"] == (1, 1)
    assert found["mae_range"] == bootstrap_range(age)


def test_a_range_over_people_is_as_wide_as_one_photo_of_each_makes_it() -> None:
    """Photos of one person that err alike tell no more than one of them; photos of many people tell more."""
    errors = np.random.default_rng(0).exponential(5, 60)
    people = [f"person {number:02}" for number in range(60)]
    one_each = bootstrap_range(errors)
    assert bootstrap_range(np.repeat(errors, 9), np.repeat(people, 9)) == pytest.approx(one_each)
    low, high = bootstrap_range(np.repeat(errors, 9))
    assert high - low < (one_each[1] - one_each[0]) / 2


def test_ranges_are_drawn_from_people_else_from_photos() -> None:
    photos = pd.DataFrame({"name": ["a", "b", "c"], "subject": [None] * 3})
    assert units(photos) is None
    assert units(photos.assign(name=["a", "b", "a"])) == ["a", "b", "a"]  # tested twice, as in morph-s3
    assert units(photos.assign(subject=["x", "y", "x"])) == ["x", "y", "x"]


@given(AGES, AGES, AGES)
def test_gain_is_the_difference_of_the_errors(
    truth: np.ndarray, before: np.ndarray, after: np.ndarray
) -> None:
    found = gain(truth, before, after)
    wanted = accuracy(truth, before)["mae"] - accuracy(truth, after)["mae"]
    assert found["mean_gain"] == pytest.approx(wanted, abs=1e-9)
    assert found["share_better"] + found["share_worse"] <= 1


def test_interval_quality_counts_the_ends_as_inside() -> None:
    found = interval_quality(np.array([10.0, 20, 30]), np.array([10.0, 15, 31]), np.array([12.0, 20, 40]))
    assert found["coverage"] == pytest.approx(2 / 3)
    assert found["mean_width"] == pytest.approx((2 + 5 + 9) / 3)
