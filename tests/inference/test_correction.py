"""Reversible correction (METHOD 8.5, 14)."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from cilf.inference.correction import CorrectionConfig, NextView, correct, corrected_ages
from cilf.inference.error_models import ErrorEnsemble
from cilf.inference.evidence import Evidence, evidence, expected_gain
from cilf.inference.familiarity import normalized
from cilf.inference.outputs import CropOutputs
from cilf.inference.predictive import PredictiveConfig
from tests import tiny

MEDIAN = PredictiveConfig(location="median")


def years(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def shown(ages: np.ndarray, spread: float = 4.0, seed: int = 0) -> Evidence:
    """What views show whose distributions are Gaussians round each age."""
    logits = -((np.arange(101, dtype=np.float32) - ages[:, None]) ** 2) / (2 * spread**2)
    unit = normalized(np.random.default_rng(seed).standard_normal((len(ages), 16), np.float32))
    nothing = np.zeros((len(ages), 1, 1), np.float32)
    return evidence(
        CropOutputs(unit, logits, ages, np.full_like(ages, spread), logits[:, None], nothing), MEDIAN
    )


def views_of(*views: np.ndarray) -> NextView:
    """Further views that show these ages, one tensor a view."""

    def next_view(number: int, rows: list[int]) -> Evidence:
        return shown(views[number - 1], seed=number).at(np.array(rows))

    return next_view


def nothing_more(number: int, rows: list[int]) -> Evidence:
    raise AssertionError("a view was asked for")


def knowing(truth: np.ndarray, members: int = 3, noise: float = 0.0) -> Callable[..., np.ndarray]:
    """An error model that knows |truth − a|, each member off by its own constant noise; for all faces alone."""
    offsets = noise * np.linspace(-1, 1, members, dtype=np.float32)[:, None, None]

    def errors(evidence: Evidence, ages: np.ndarray) -> np.ndarray:
        assert len(ages) == len(truth)
        return (np.abs(truth[:, None] - ages) + offsets).clip(0)

    return errors


def test_no_label_can_enter() -> None:
    parameters = ["errors", "first", "config", "predictive", "next_view", "names"]
    assert list(inspect.signature(correct).parameters) == parameters


@pytest.mark.parametrize(
    "wrong", [{"margin": -5.0}, {"caution": -1.0}, {"cost": -1.0}, {"variance": -1.0}, {"weight": 0.0}]
)
def test_a_rule_that_would_take_worse_ages_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(CorrectionConfig).validate_python({"epsilon": 4.0, **wrong})


def test_an_endless_threshold_changes_nothing_and_asks_for_nothing() -> None:
    first = shown(years(20.0, 40.0, 70.0))
    rule = CorrectionConfig(epsilon=float("inf"), max_views=5)
    result, state = correct(tiny.ensemble(), first, rule, MEDIAN, nothing_more)
    assert [c.age for c in result] == pytest.approx(first.age.tolist())
    assert all(c.status == "accepted" and len(c.trace) == 1 for c in result)
    assert state.views.tolist() == [1, 1, 1]


def test_never_correct_keeps_the_estimate_and_says_how_sure_it_is() -> None:
    first = shown(years(20.0, 40.0, 70.0))
    truth = years(21.0, 48.0, 70.0)
    result, _ = correct(knowing(truth), first, CorrectionConfig(epsilon=3.0), MEDIAN, nothing_more)
    assert [c.age for c in result] == pytest.approx(first.age.tolist())
    assert [c.status for c in result] == ["accepted", "low_confidence", "accepted"]


def test_a_view_costs_nothing_until_it_is_asked_for() -> None:
    """The second face is good enough at once: no view of it is ever computed."""
    first, asked = shown(years(30.0, 50.0, 80.0)), []

    def next_view(number: int, rows: list[int]) -> Evidence:
        asked.append((number, rows))
        return shown(years(36.0, 50.0, 74.0)).at(np.array(rows))

    def errors(evidence: Evidence, ages: np.ndarray) -> np.ndarray:
        error = np.where(evidence.age[:, None] == 50.0, 1.0, 6.0 / evidence.views[:, None])
        return np.broadcast_to(error, (2, *ages.shape))

    rule = CorrectionConfig(epsilon=2.0, max_views=5)
    result, state = correct(errors, first, rule, MEDIAN, next_view)
    assert asked == [(1, [0, 2]), (2, [0, 2])]
    assert state.views.tolist() == [3, 1, 3]
    assert [c.status for c in result] == ["corrected", "accepted", "corrected"]


def test_a_biased_first_crop_is_corrected_by_the_other_views() -> None:
    truth = years(25.0, 45.0, 65.0)
    rule = CorrectionConfig(epsilon=1.5, max_views=5, margin=0.1)
    more = views_of(*[truth] * 4)
    result, _ = correct(knowing(truth), shown(truth + 8), rule, MEDIAN, more)
    assert [c.age for c in result] == pytest.approx((truth + 8 / 5).tolist(), abs=1.2)
    for each in result:
        errors = [step.estimated_error for step in each.trace if step.accepted]
        assert errors == sorted(errors, reverse=True)
        assert len(errors) > 2
    perfect, _ = correct(knowing(truth), shown(truth), rule, MEDIAN, nothing_more)
    assert all(c.status == "accepted" and len(c.trace) == 1 for c in perfect)


@pytest.mark.parametrize("trust", [0.0, 0.5])
def test_an_estimate_that_cannot_be_improved_is_left_alone(trust: float) -> None:
    """The error that stays at the true age sends the loop to every view, and each proposes an age that is worse."""
    truth = years(25.0, 45.0, 65.0)

    def errors(evidence: Evidence, ages: np.ndarray) -> np.ndarray:
        return knowing(truth, noise=0.5)(evidence, ages) + 3.0

    more = views_of(*(truth + offset for offset in years(8.0, -12.0, 20.0, -6.0)))
    rule = CorrectionConfig(epsilon=1.0, max_views=5, trust=trust)
    result, state = correct(errors, shown(truth), rule, MEDIAN, more)
    assert state.views.tolist() == [5, 5, 5]
    assert [c.age for c in result] == pytest.approx(truth.tolist(), abs=0.05)
    for each in result:
        assert [step.accepted for step in each.trace] == [True] + [False] * 4
        assert any(abs(step.age - each.age) > 1 for step in each.trace)  # something was proposed
        assert each.status == "low_confidence"


def test_the_candidate_lies_where_the_ensemble_is_trusted() -> None:
    """Between the mixture's age and the age of the smallest estimated error."""
    truth, first = years(50.0), shown(years(40.0))
    for trust, age in ((0.0, 42.0), (0.5, 46.0), (1.0, 50.0)):
        rule = CorrectionConfig(epsilon=0.0, max_views=2, trust=trust)
        [result], _ = correct(knowing(truth), first, rule, MEDIAN, views_of(years(44.0)))
        assert result.age == pytest.approx(age, abs=0.3)


def test_members_that_disagree_hold_the_candidate_back() -> None:
    def errors(evidence: Evidence, ages: np.ndarray) -> np.ndarray:
        centres = years(20.0, 60.0, 40.0)[:, None, None]
        return np.abs(centres - ages)

    first, more = shown(years(48.0)), views_of(years(30.0))
    [bold], _ = correct(errors, first, CorrectionConfig(1.0, 2), MEDIAN, more)
    [shy], _ = correct(errors, first, CorrectionConfig(1.0, 2, caution=2.0), MEDIAN, more)
    assert bold.age != pytest.approx(48.0, abs=1)
    assert shy.age == pytest.approx(48.0, abs=0.1)
    assert shy.status == "low_confidence"
    assert not shy.trace[-1].accepted


def test_a_view_is_asked_for_only_where_it_is_expected_to_pay() -> None:
    """Views that have agreed so far promise less of the next one than views that have not."""
    one, other = shown(years(40.0, 40.0)), shown(years(40.5, 60.0), seed=1)
    both, error = one.joined(other, MEDIAN), years(5.0, 5.0)
    gain = expected_gain(both, error, variance=0.1, weight=2.0)
    assert gain[0] < gain[1]
    assert (gain[0] < expected_gain(one, error, 0.1, 2.0)).all()
    dear = CorrectionConfig(epsilon=0.0, max_views=5, cost=100.0)
    correct(knowing(years(40.0, 70.0)), one, dear, MEDIAN, nothing_more)


@settings(max_examples=25, deadline=None)
@given(
    ages=st.lists(st.floats(0, 100), min_size=1, max_size=4),
    further=st.lists(st.floats(0, 100), min_size=4, max_size=4),
    epsilon=st.floats(0, 20),
    trust=st.floats(0, 1),
    caution=st.floats(0, 2),
    margin=st.floats(0, 1),
    views=st.integers(1, 5),
)
def test_every_trace_keeps_its_promises(
    ages: list[float],
    further: list[float],
    epsilon: float,
    trust: float,
    caution: float,
    margin: float,
    views: int,
) -> None:
    """Accepted steps lower the estimated error by more than the margin, the last accepted one is the result, and the
    status says what the estimated errors say."""
    rule = CorrectionConfig(epsilon, views, trust=trust, caution=caution, margin=margin)
    first = shown(years(*ages))
    more = views_of(*(np.full(len(ages), age, np.float32) for age in further))
    corrections, state = correct(tiny.ensemble(), first, rule, MEDIAN, more, list("abcd"))
    again, count = corrected_ages(tiny.ensemble(), first, rule, MEDIAN, more)
    assert again.tolist() == [c.age for c in corrections]
    assert count.tolist() == state.views.tolist() == [len(c.trace) for c in corrections]
    for result in corrections:
        kept = [step for step in result.trace if step.accepted]
        assert [step.iteration for step in result.trace] == list(range(len(result.trace)))
        assert [step.view for step in result.trace] == ["first crop", *"abcd"][: len(result.trace)]
        assert len(result.trace) <= views
        for step in kept[1:]:
            assert step.kept_error - step.estimated_error > margin - 1e-4
        for before, _ in pairwise(result.trace):
            error = before.estimated_error if before.accepted else before.kept_error
            assert error > epsilon  # else no further view would have been asked for
        assert result.age == kept[-1].age
        assert 0 <= result.age <= 100.001
        opening, last = result.trace[0].estimated_error, result.estimated_error
        status = "accepted" if opening <= epsilon else "corrected" if last <= epsilon else "low_confidence"
        assert result.status == status


def test_the_same_faces_give_the_same_result_in_any_company() -> None:
    """A face's correction does not depend on the other faces of the photo."""
    first, further = shown(years(10.0, 35.0, 80.0)), years(14.0, 30.0, 75.0)
    rule = CorrectionConfig(epsilon=2.0, max_views=3)
    more = views_of(further, further)
    together, _ = correct(tiny.ensemble(), first, rule, MEDIAN, more)
    for index in range(3):
        row = np.array([index])

        def of_it_alone(number: int, rows: list[int], index: int = index) -> Evidence:
            return more(number, [index for _ in rows])

        [alone], _ = correct(tiny.ensemble(), first.at(row), rule, MEDIAN, of_it_alone)
        assert alone.age == pytest.approx(together[index].age, abs=1e-3)
        assert alone.status == together[index].status


def test_ensemble_gives_one_error_per_member_face_and_age() -> None:
    errors = tiny.ensemble()(shown(years(10.0, 35.0, 80.0)), np.random.default_rng(0).random((3, 7)) * 100)
    assert errors.shape == (3, 3, 7)
    assert (errors >= 0).all()


def test_an_ensemble_with_nothing_learned_says_the_explicit_error() -> None:
    ensemble = tiny.ensemble()
    silent = {name: value * (not name.startswith("out")) for name, value in ensemble.weights.items()}
    state = shown(years(40.0), spread=5.0)
    errors = ErrorEnsemble(ensemble.config, silent)(state, years(40.0, 60.0)[None]).mean(axis=0)[0]
    assert errors.tolist() == pytest.approx([5 * (2 / np.pi) ** 0.5, 20.0], rel=0.01)


class TestEvidence:
    def test_views_are_averaged_in_any_order(self) -> None:
        views = [shown(years(age, 50.0), seed=number) for number, age in enumerate((20.0, 30.0, 37.0))]
        states = []
        for order in ((0, 1, 2), (2, 0, 1)):
            state = views[order[0]]
            for index in order[1:]:
                state = state.joined(views[index], MEDIAN)
            states.append(state)
        one, other = states
        np.testing.assert_allclose(one.probabilities, other.probabilities, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(one.embedding, other.embedding, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(one.deviation, other.deviation, atol=1e-3, rtol=1e-3)
        ages = np.stack([view.age for view in views])
        np.testing.assert_allclose(one.deviation, ages.std(axis=0, ddof=1), atol=1e-3, rtol=1e-3)
        assert one.views.tolist() == [3, 3]
        assert one.probabilities.sum(axis=1).tolist() == pytest.approx([1, 1])

    def test_parts_that_disagree_leave_a_gap(self) -> None:
        state, grid = shown(years(40.0)), np.arange(101, dtype=np.float32)
        parts = np.stack([-((grid - age) ** 2) for age in (30, 47)])[None]
        nothing = np.zeros((1, 1, 1), np.float32)
        outputs = CropOutputs(state.embedding, parts.mean(axis=1), state.age, state.spread, parts, nothing)
        assert evidence(outputs, MEDIAN).gap.item() == pytest.approx(17)
        agreed = replace(outputs, parts=parts[:, :1])
        assert evidence(agreed, MEDIAN).gap.item() == 0
