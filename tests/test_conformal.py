"""Distributional conformal prediction (METHOD 9, 14)."""

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from cilf.conformal import NEAR, ConformalConfig, Forecast, conformal_quantile, enough, score
from cilf.distribution import quantile_age
from cilf.errors import UsageError
from tests.stand_in import face

GRID = np.arange(101)


def forecast(age: float, spread: float) -> Forecast:
    """A Gaussian, said to lie at its own median."""
    shares = np.exp(-((GRID - age) ** 2) / (2 * spread**2))
    shares /= shares.sum()
    return Forecast(shares, quantile_age(shares, 0.5), 0.8 * spread)


def people(seed: int, count: int, error: float = 1.0) -> tuple[np.ndarray, list[Forecast]]:
    """True ages and forecasts whose distributions are too narrow by `error`, some of them wide."""
    chance = np.random.default_rng(seed)
    truth = chance.integers(1, 80, count).astype(float)
    spread = np.where(chance.random(count) < 0.3, 8.0, 3.0)
    estimates = truth + error * spread * chance.standard_normal(count)
    return truth, [
        forecast(float(np.clip(age, 0, 100)), float(s)) for age, s in zip(estimates, spread, strict=True)
    ]


@cache
def calibrated(seed: int, count: int, edges: tuple[float, ...] = (), error: float = 1.0) -> ConformalConfig:
    truth, rows = people(seed, count, error)
    return ConformalConfig(
        tuple(truth),
        tuple(row.age for row in rows),
        tuple(row.spread for row in rows),
        tuple(score(row.probabilities, age) for row, age in zip(rows, truth, strict=True)),
        edges,
    )


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
    assert ConformalConfig().interval(forecast(30, 4)) == (0, 100)


@given(count=st.integers(0, 60), coverage=st.floats(0.5, 0.99))
def test_enough_photos_are_those_that_have_a_quantile(count: int, coverage: float) -> None:
    assert enough(count, coverage) == math.isfinite(conformal_quantile(np.arange(float(count)), coverage))


@pytest.mark.slow
@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95])
@pytest.mark.parametrize("edges", [(), (40.0,)])
def test_intervals_hold_their_share_though_the_distributions_are_too_narrow(
    level: float, edges: tuple[float, ...]
) -> None:
    config = calibrated(0, 1500, edges, error=1.6)
    truth, rows = people(1, 1500, error=1.6)
    ends = np.array([config.interval(row, level) for row in rows])
    inside = (ends[:, 0] <= truth) & (truth <= ends[:, 1])
    for band in range(len(edges) + 1):
        of_band = np.digitize(truth, edges) == band
        assert inside[of_band].mean() >= level - 0.05


@pytest.mark.slow
def test_each_band_has_a_quantile_of_its_own() -> None:
    """Below 40 the distributions are as wide as the errors, above half as wide: one quantile for all serves neither."""

    def mixed(seed: int) -> tuple[np.ndarray, list[Forecast]]:
        parts = [people(seed + number, 1500, error) for number, error in enumerate((1.0, 2.0))]
        kept = [
            (age, row)
            for number, (truth, rows) in enumerate(parts)
            for age, row in zip(truth, rows, strict=True)
            if (age >= 40) == bool(number)
        ]
        return np.array([age for age, _ in kept]), [row for _, row in kept]

    def shares(edges: tuple[float, ...]) -> list[float]:
        known, said = mixed(0)
        config = ConformalConfig(
            tuple(known),
            tuple(row.age for row in said),
            tuple(row.spread for row in said),
            tuple(score(row.probabilities, age) for row, age in zip(said, known, strict=True)),
            edges,
        )
        truth, rows = mixed(10)
        ends = np.array([config.interval(row, 0.8) for row in rows])
        inside = (ends[:, 0] <= truth) & (truth <= ends[:, 1])
        return [float(inside[truth < 40].mean()), float(inside[truth >= 40].mean())]

    young, old = shares((40.0,))
    assert 0.75 <= young <= 0.93
    assert 0.75 <= old <= 0.93
    assert shares(())[1] < 0.74


@settings(deadline=None)
@given(age=st.floats(0, 100), spread=st.floats(0.5, 30), wide=st.floats(0.5, 0.95))
def test_an_interval_holds_the_age_and_grows_with_the_promise(age: float, spread: float, wide: float) -> None:
    config, said = calibrated(2, 200), forecast(age, spread)
    low, high = config.interval(said, wide)
    narrow_low, narrow_high = config.interval(said, 0.5)
    assert 0 <= low <= narrow_low <= said.age <= narrow_high <= high <= 100


def test_an_age_away_from_the_median_lies_in_its_interval_all_the_same() -> None:
    shares = forecast(30, 2).probabilities
    low, high = calibrated(2, 200).interval(Forecast(shares, 70.0, 4.0), 0.5)
    assert low < 30
    assert high == 70.0


@pytest.mark.parametrize("limit", [18, 21, 50])
def test_wrong_answers_are_rare_on_both_sides_and_near_the_limit(limit: float) -> None:
    """Calibrated on some people, asked about others like them: at most 5 % wrong, give or take four standard errors."""
    config = calibrated(0, 1500)
    truth, rows = people(1, 800)
    said = np.array([config.answer(row, limit, 0.95) for row in rows])
    for under, wrong in ((True, "yes"), (False, "no")):
        side = (truth < limit) == under
        for group in (side, side & (np.abs(truth - limit) <= NEAR)):
            share = (said[group] == wrong).mean()
            assert share <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / group.sum())
    assert (said[truth < limit - 15] == "no").mean() > 0.6
    assert (said[truth > limit + 15] == "yes").mean() > 0.6


@settings(deadline=None)
@given(st.floats(0, 100), st.floats(0, 100), st.floats(1, 20))
def test_an_older_face_never_gets_a_younger_answer(one: float, other: float, spread: float) -> None:
    config, rank = calibrated(2, 300), {"no": 0, "unsure": 1, "yes": 2}
    shares = forecast(50, spread).probabilities
    young, old = (Forecast(shares, age, 4.0) for age in sorted((one, other)))
    assert rank[config.answer(young, 18, 0.9)] <= rank[config.answer(old, 18, 0.9)]


@settings(deadline=None)
@given(st.floats(0, 100), st.floats(1, 12), st.sampled_from([13, 18, 21, 40]))
def test_an_answer_never_contradicts_distribution_and_interval(age: float, spread: float, limit: int) -> None:
    """ "Yes" only where most of the distribution and the interval's upper end lie at or over the limit, "no" only where
    they lie below."""
    config, said = calibrated(4, 800), forecast(age, spread)
    low, high = config.interval(said)
    answer = config.answer(said, limit, 0.95)
    if answer == "yes":
        assert said.age >= limit
        assert high >= limit
    if answer == "no":
        assert said.age < limit
        assert low < limit


def test_more_confidence_means_fewer_answers() -> None:
    config, rows = calibrated(3, 1000), [forecast(age, 4) for age in np.linspace(0, 60, 31)]
    sure = [
        sum(config.answer(row, 18, confidence) != "unsure" for row in rows)
        for confidence in (0.8, 0.9, 0.95, 0.99)
    ]
    assert sure == sorted(sure, reverse=True)


def test_without_calibration_nothing_is_sure() -> None:
    assert ConformalConfig().answer(forecast(50, 3), 18, 0.95) == "unsure"
    assert face(0).over(18) == "unsure"


@pytest.mark.parametrize(
    ("limit", "confidence", "said"),
    [
        (0, 0.95, "age limit"),
        (float("nan"), 0.95, "age limit"),
        (18, 1, "confidence"),
        (18, 0.4, "confidence"),
    ],
)
def test_wrong_arguments(limit: float, confidence: float, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        face(0).over(limit, confidence)


@pytest.mark.parametrize(
    "wrong",
    [
        {"age": (30.0,)},
        {"truth": ()},
        {"edges": (45.0, 45.0)},
        {"edges": (60.0, 20.0)},
        {"spread": (0.0, 4.0)},
    ],
)
def test_a_calibration_whose_parts_do_not_fit_is_refused(wrong: dict[str, tuple[float, ...]]) -> None:
    photos = dict.fromkeys(("truth", "age", "spread", "score"), (20.0, 40.0))
    with pytest.raises(ValueError, match=r"differ in length|do not ascend|not all above 0"):
        ConformalConfig(**photos | wrong)


def test_an_interval_ends_with_the_range_of_ages() -> None:
    """Also where a band begins beyond it."""
    low, high = ConformalConfig(edges=(30.0, 80.0)).interval(Forecast(np.full(50, 0.02), 24.5, 5.0))
    assert (low, high) == (0, 49)
