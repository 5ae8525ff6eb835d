"""Age groups, CS curve, ε-error and paired bootstrap, against scikit-learn, SciPy or by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import bootstrap, wilcoxon
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    mean_absolute_error,
    top_k_accuracy_score,
)

from train.data.datasets import DATASETS
from train.data.datasets.adience import GROUPS
from train.evaluate.age_groups import as_markdown, borders, group_accuracy, group_of, group_report
from train.metrics import (
    bootstrap_range,
    cumulative_curve,
    cumulative_score,
    epsilon_error,
    paired_bootstrap,
)
from train.metrics import mean_absolute_error as ours

AGES = arrays(np.float64, 30, elements=st.floats(0, 100))
NUMBERS = arrays(np.int64, 40, elements=st.integers(0, 7))


def test_an_age_counts_for_the_nearest_group() -> None:
    assert borders(GROUPS).tolist() == [3, 7, 13.5, 22.5, 35.5 - 0.5, 45.5, 56.5]
    ages = np.array([0.0, 2.9, 3.1, 13.4, 13.6, 29.0, 56.4, 56.6, 100.0])
    assert group_of(ages, GROUPS).tolist() == [0, 0, 1, 2, 3, 4, 6, 7, 7]


@pytest.mark.parametrize("name", [name for name, reader in DATASETS.items() if reader.facts.groups])
def test_the_ages_of_a_group_fall_into_it(name: str) -> None:
    groups = DATASETS[name].facts.groups
    for number, (first, last) in enumerate(groups):
        assert set(group_of(np.array([first, (first + last) / 2, last]), groups)) == {number}


@given(NUMBERS, NUMBERS)
@settings(max_examples=30, deadline=None)
def test_group_accuracy_is_scikit_learns(truth: np.ndarray, found: np.ndarray) -> None:
    measured = group_accuracy(truth, found)
    assert measured["accuracy"] == pytest.approx(accuracy_score(truth, found))
    assert measured["group_mae"] == pytest.approx(mean_absolute_error(truth, found))
    # Scores that fall with the distance from the found group: among the best three (or two, at an end) is 1-off.
    inner = (found > 0) & (found < 7)
    if inner.any():
        scores = -np.abs(np.arange(8) - found[inner, None])
        wanted = top_k_accuracy_score(truth[inner], scores, k=3, labels=np.arange(8))
        assert group_accuracy(truth[inner], found[inner])["one_off"] == pytest.approx(wanted)
    assert measured["accuracy"] <= measured["one_off"]


def test_group_report_has_the_confusions() -> None:
    chance = np.random.default_rng(0)
    truth, age = chance.integers(0, 8, 300), chance.uniform(0, 90, 300)
    found = group_report(truth, age, GROUPS)
    rows = [row["found"] for row in found["by_group"].values()]
    assert rows == confusion_matrix(truth, group_of(age, GROUPS), labels=range(8)).tolist()
    assert sum(row["count"] for row in found["by_group"].values()) == found["count"] == 300
    assert "| 60–100 |" in as_markdown(found)


@given(AGES, AGES)
@settings(max_examples=30, deadline=None)
def test_mae_is_scikit_learns_and_the_curve_never_falls(truth: np.ndarray, age: np.ndarray) -> None:
    assert ours(truth, age) == pytest.approx(mean_absolute_error(truth, age))
    curve = list(cumulative_curve(truth, age).values())
    assert curve == sorted(curve)
    assert curve[5] == cumulative_score(truth, age)
    assert len(curve) == 11


def test_epsilon_error_by_hand() -> None:
    truth, age = np.array([30.0, 30.0]), np.array([30.0, 34.0])
    assert epsilon_error(truth, age, np.array([4.0, 4.0])) == pytest.approx((1 - np.exp(-0.5)) / 2)
    assert epsilon_error(truth, age, np.array([0.0, 0.0])) == pytest.approx(0.5)
    assert epsilon_error(truth, truth, np.array([0.0, 3.0])) == 0


def test_paired_bootstrap_agrees_with_scipy() -> None:
    chance = np.random.default_rng(1)
    first = chance.gamma(2, 2, 200)
    second = np.maximum(first - chance.normal(0.3, 1, 200), 0)
    found = paired_bootstrap(first, second, resamples=3000)
    wanted = bootstrap(
        (first - second,), np.mean, n_resamples=3000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert found["gain"] == pytest.approx((first - second).mean())
    assert found["gain_range"] == pytest.approx((wanted.low, wanted.high), abs=0.02)
    assert found["gain_range"] == pytest.approx(bootstrap_range(first - second), abs=0.02)
    assert (found["p"] < 0.05) == (wilcoxon(first, second).pvalue < 0.05)
    assert paired_bootstrap(first, first)["p"] == 1


def test_photos_of_one_person_count_as_one() -> None:
    """Each photo twelve times over tells nothing new: the range stays as wide as with one of each."""
    chance = np.random.default_rng(3)
    first, second = chance.gamma(2, 2, 60), chance.gamma(2, 2, 60)
    once = paired_bootstrap(first, second, resamples=2000)
    people = [str(person) for person in range(60) for _ in range(12)]
    repeated = paired_bootstrap(np.repeat(first, 12), np.repeat(second, 12), people, resamples=2000)
    assert repeated["units"] == 60
    assert repeated["gain_range"] == pytest.approx(once["gain_range"], abs=0.12)
    alone = paired_bootstrap(np.repeat(first, 12), np.repeat(second, 12), resamples=2000)
    assert np.ptp(alone["gain_range"]) < np.ptp(repeated["gain_range"]) / 2
