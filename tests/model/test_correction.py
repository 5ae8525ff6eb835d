"""Reversible correction (METHOD 8.5, 14)."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cilf.model.base import Description
from cilf.model.correction import CorrectionConfig, NextView, correct, corrected_ages
from cilf.model.evidence import Evidence, evidence, expected_gain
from cilf.model.head import AgeHead
from cilf.model.predictive import PredictiveConfig
from tests import tiny

MEDIAN = PredictiveConfig(location="median")


def shown(ages: Tensor, spread: float = 4.0, seed: int = 0) -> Evidence:
    """What views show whose distributions are Gaussians round each age."""
    grid = torch.arange(101.0)
    estimate = AgeHead(101).summarise(-((grid - ages.unsqueeze(1)) ** 2) / (2 * spread**2))
    embedding = torch.randn(len(ages), 16, generator=torch.Generator().manual_seed(seed))
    unit = torch.nn.functional.normalize(embedding, dim=1)
    return evidence(
        Description(unit, estimate, estimate.logits[:, None], torch.zeros(len(ages), 1, 1)), MEDIAN
    )


def views_of(*views: Tensor) -> NextView:
    """Further views that show these ages, one tensor a view."""

    def next_view(number: int, rows: list[int]) -> Evidence:
        return shown(views[number - 1], seed=number).at(torch.tensor(rows))

    return next_view


def nothing_more(number: int, rows: list[int]) -> Evidence:
    raise AssertionError("a view was asked for")


def knowing(truth: Tensor, members: int = 3, noise: float = 0.0) -> Callable[..., Tensor]:
    """An error model that knows |truth − a|, each member off by its own constant noise; for all faces alone."""
    offsets = noise * torch.linspace(-1, 1, members).view(-1, 1, 1)

    def errors(evidence: Evidence, ages: Tensor) -> Tensor:
        assert len(ages) == len(truth)
        return ((truth.unsqueeze(1) - ages).abs() + offsets).clamp(min=0)

    return errors


def test_no_label_can_enter() -> None:
    parameters = ["errors", "first", "config", "predictive", "next_view", "names"]
    assert list(inspect.signature(correct).parameters) == parameters


def test_an_endless_threshold_changes_nothing_and_asks_for_nothing() -> None:
    first = shown(torch.tensor([20.0, 40.0, 70.0]))
    rule = CorrectionConfig(epsilon=float("inf"), max_views=5)
    result, state = correct(tiny.ensemble(), first, rule, MEDIAN, nothing_more)
    assert [c.age for c in result] == pytest.approx(first.age.tolist())
    assert all(c.status == "accepted" and len(c.trace) == 1 for c in result)
    assert state.views.tolist() == [1, 1, 1]


def test_never_correct_keeps_the_estimate_and_says_how_sure_it_is() -> None:
    first = shown(torch.tensor([20.0, 40.0, 70.0]))
    truth = torch.tensor([21.0, 48.0, 70.0])
    result, _ = correct(knowing(truth), first, CorrectionConfig(epsilon=3.0), MEDIAN, nothing_more)
    assert [c.age for c in result] == pytest.approx(first.age.tolist())
    assert [c.status for c in result] == ["accepted", "low_confidence", "accepted"]


def test_a_view_costs_nothing_until_it_is_asked_for() -> None:
    """The second face is good enough at once: no view of it is ever computed."""
    first, asked = shown(torch.tensor([30.0, 50.0, 80.0])), []

    def next_view(number: int, rows: list[int]) -> Evidence:
        asked.append((number, rows))
        return shown(torch.tensor([36.0, 50.0, 74.0])).at(torch.tensor(rows))

    def errors(evidence: Evidence, ages: Tensor) -> Tensor:
        return torch.where(evidence.age.unsqueeze(1) == 50.0, 1.0, 6.0 / evidence.views.unsqueeze(1)).expand(
            2, len(ages), ages.shape[1]
        )

    rule = CorrectionConfig(epsilon=2.0, max_views=5)
    result, state = correct(errors, first, rule, MEDIAN, next_view)
    assert asked == [(1, [0, 2]), (2, [0, 2])]
    assert state.views.tolist() == [3, 1, 3]
    assert [c.status for c in result] == ["corrected", "accepted", "corrected"]


def test_a_biased_first_crop_is_corrected_by_the_other_views() -> None:
    truth = torch.tensor([25.0, 45.0, 65.0])
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


def test_the_candidate_lies_where_the_ensemble_is_trusted() -> None:
    """Between the mixture's age and the age of the smallest estimated error."""
    truth, first = torch.tensor([50.0]), shown(torch.tensor([40.0]))
    for trust, age in ((0.0, 42.0), (0.5, 46.0), (1.0, 50.0)):
        rule = CorrectionConfig(epsilon=0.0, max_views=2, trust=trust)
        [result], _ = correct(knowing(truth), first, rule, MEDIAN, views_of(torch.tensor([44.0])))
        assert result.age == pytest.approx(age, abs=0.3)


def test_members_that_disagree_hold_the_candidate_back() -> None:
    def errors(evidence: Evidence, ages: Tensor) -> Tensor:
        centres = torch.tensor([20.0, 60.0, 40.0]).view(3, 1, 1)
        return (centres - ages).abs()

    first, more = shown(torch.tensor([48.0])), views_of(torch.tensor([30.0]))
    [bold], _ = correct(errors, first, CorrectionConfig(1.0, 2), MEDIAN, more)
    [shy], _ = correct(errors, first, CorrectionConfig(1.0, 2, caution=2.0), MEDIAN, more)
    assert bold.age != pytest.approx(48.0, abs=1)
    assert shy.age == pytest.approx(48.0, abs=0.1)
    assert shy.status == "low_confidence"
    assert not shy.trace[-1].accepted


def test_a_view_is_asked_for_only_where_it_is_expected_to_pay() -> None:
    """Views that have agreed so far promise less of the next one than views that have not."""
    one, other = shown(torch.tensor([40.0, 40.0])), shown(torch.tensor([40.5, 60.0]), seed=1)
    both, error = one.joined(other, MEDIAN), torch.tensor([5.0, 5.0])
    gain = expected_gain(both, error, variance=0.1, weight=2.0)
    assert gain[0] < gain[1]
    assert (gain[0] < expected_gain(one, error, 0.1, 2.0)).all()
    dear = CorrectionConfig(epsilon=0.0, max_views=5, cost=100.0)
    correct(knowing(torch.tensor([40.0, 70.0])), one, dear, MEDIAN, nothing_more)


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
    first = shown(torch.tensor(ages))
    more = views_of(*(torch.full((len(ages),), age) for age in further))
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
    first, further = shown(torch.tensor([10.0, 35.0, 80.0])), torch.tensor([14.0, 30.0, 75.0])
    rule = CorrectionConfig(epsilon=2.0, max_views=3)
    more = views_of(further, further)
    together, _ = correct(tiny.ensemble(), first, rule, MEDIAN, more)
    for index in range(3):
        row = torch.tensor([index])

        def of_it_alone(number: int, rows: list[int], index: int = index) -> Evidence:
            return more(number, [index for _ in rows])

        [alone], _ = correct(tiny.ensemble(), first.at(row), rule, MEDIAN, of_it_alone)
        assert alone.age == pytest.approx(together[index].age, abs=1e-3)
        assert alone.status == together[index].status


def test_ensemble_gives_one_error_per_member_face_and_age() -> None:
    errors = tiny.ensemble()(shown(torch.tensor([10.0, 35.0, 80.0])), torch.rand(3, 7) * 100)
    assert errors.shape == (3, 3, 7)
    assert (errors >= 0).all()


def test_an_ensemble_with_nothing_learned_says_the_explicit_error() -> None:
    ensemble = tiny.ensemble()
    for parameter in (ensemble.out.weight, ensemble.out.bias):
        torch.nn.init.zeros_(parameter)
    state = shown(torch.tensor([40.0]), spread=5.0)
    errors = ensemble(state, torch.tensor([[40.0, 60.0]])).mean(dim=0)[0]
    assert errors.tolist() == pytest.approx([5 * (2 / torch.pi) ** 0.5, 20.0], rel=0.01)


class TestEvidence:
    def test_views_are_averaged_in_any_order(self) -> None:
        views = [
            shown(torch.tensor([age, 50.0]), seed=number) for number, age in enumerate((20.0, 30.0, 37.0))
        ]
        states = []
        for order in ((0, 1, 2), (2, 0, 1)):
            state = views[order[0]]
            for index in order[1:]:
                state = state.joined(views[index], MEDIAN)
            states.append(state)
        one, other = states
        torch.testing.assert_close(one.probabilities, other.probabilities)
        torch.testing.assert_close(one.embedding, other.embedding)
        torch.testing.assert_close(one.deviation, other.deviation, atol=1e-3, rtol=1e-3)
        ages = torch.stack([view.age for view in views])
        torch.testing.assert_close(one.deviation, ages.std(dim=0), atol=1e-3, rtol=1e-3)
        assert one.views.tolist() == [3, 3]
        assert one.probabilities.sum(dim=1).tolist() == pytest.approx([1, 1])

    def test_parts_that_disagree_leave_a_gap(self) -> None:
        state = shown(torch.tensor([40.0]))
        grid = torch.arange(101.0)
        parts = torch.stack([-((grid - age) ** 2) for age in (30.0, 47.0)]).unsqueeze(0)
        estimate = AgeHead(101).summarise(parts.mean(dim=1))
        description = Description(state.embedding, estimate, parts, torch.zeros(1, 1, 1))
        assert evidence(description, MEDIAN).gap.item() == pytest.approx(17)
        agreed = replace(description, parts=parts[:, :1])
        assert evidence(agreed, MEDIAN).gap.item() == 0
