"""Over an age or not (issue: wrong answers are promised to be rare on both sides of the limit)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cilf.decision import NEAR, DecisionConfig
from cilf.errors import UsageError
from tests.stand_in import face


def people(seed: int, count: int, noise: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(seed)
    truth = chance.integers(1, 80, count).astype(float)
    return truth, truth + noise * chance.standard_normal(count)


def answers(config: DecisionConfig, estimates: np.ndarray, limit: float, confidence: float) -> np.ndarray:
    return np.array([config.answer(float(age), limit, confidence) for age in estimates])


@pytest.mark.parametrize("limit", [18, 21, 50])
def test_wrong_answers_are_rare_on_both_sides_and_near_the_limit(limit: float) -> None:
    """Calibrated on some people, asked about others like them: at most 5 % wrong, give or take four standard errors."""
    config = DecisionConfig(*map(tuple, people(0, 1500)))
    truth, age = people(1, 800)
    said = answers(config, age, limit, 0.95)
    for under, wrong in ((True, "yes"), (False, "no")):
        side = (truth < limit) == under
        for group in (side, side & (np.abs(truth - limit) <= NEAR)):
            share = (said[group] == wrong).mean()
            assert share <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / group.sum())
    assert (said[truth < limit - 15] == "no").mean() > 0.9
    assert (said[truth > limit + 15] == "yes").mean() > 0.9


@given(st.floats(-20, 120), st.floats(-20, 120))
def test_an_older_face_never_gets_a_younger_answer(one: float, other: float) -> None:
    config = DecisionConfig(*map(tuple, people(2, 300)))
    rank = {"no": 0, "unsure": 1, "yes": 2}
    young, old = sorted((one, other))
    assert rank[config.answer(young, 18, 0.9)] <= rank[config.answer(old, 18, 0.9)]


def test_more_confidence_means_fewer_answers() -> None:
    config = DecisionConfig(*map(tuple, people(3, 1000)))
    ages = np.linspace(0, 60, 31)
    sure = [
        (answers(config, ages, 18, confidence) != "unsure").sum() for confidence in (0.8, 0.9, 0.95, 0.99)
    ]
    assert sure == sorted(sure, reverse=True)


def test_without_calibration_nothing_is_sure() -> None:
    assert DecisionConfig().answer(50, 18, 0.95) == "unsure"
    assert face(0).over(18) == "unsure"


@pytest.mark.parametrize(
    ("limit", "confidence", "said"), [(0, 0.95, "age limit"), (18, 1, "confidence"), (18, 0.4, "confidence")]
)
def test_wrong_arguments(limit: float, confidence: float, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        face(0).over(limit, confidence)
