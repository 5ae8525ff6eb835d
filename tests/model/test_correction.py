"""Reversible correction (METHOD 8.5, 14)."""

import inspect
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cilf.model.correction import CorrectionConfig, correct, corrected_ages, mismatch
from cilf.model.head import AgeEstimate, AgeHead
from tests import tiny


def estimate_at(ages: Tensor, spread: float = 4.0) -> AgeEstimate:
    """A Gaussian-shaped distribution round each age."""
    grid = torch.arange(101.0)
    return AgeHead(101).summarise(-((grid - ages.unsqueeze(1)) ** 2) / (2 * spread**2))


def knowing(truth: Tensor, members: int = 3, noise: float = 0.0) -> Callable[..., Tensor]:
    """An error model that knows |truth − a|, each member off by its own constant noise."""
    offsets = noise * torch.linspace(-1, 1, members).view(-1, 1, 1)

    def errors(embedding: Tensor, estimate: AgeEstimate, ages: Tensor) -> Tensor:
        return ((truth.unsqueeze(1) - ages).abs() + offsets).clamp(min=0)

    return errors


EMBEDDING = torch.zeros(3, 16)


def test_no_label_can_enter() -> None:
    assert list(inspect.signature(correct).parameters) == ["ensemble", "embedding", "estimate", "config"]


def test_an_endless_threshold_changes_nothing() -> None:
    estimate = estimate_at(torch.tensor([20.0, 40.0, 70.0]))
    found = correct(tiny.ensemble(), EMBEDDING, estimate, CorrectionConfig(epsilon=float("inf")))
    assert [c.age for c in found] == pytest.approx(estimate.age.tolist())
    assert all(c.status == "accepted" and len(c.trace) == 1 for c in found)


def test_never_correct_keeps_the_estimate_and_says_how_sure_it_is() -> None:
    estimate = estimate_at(torch.tensor([20.0, 40.0, 70.0]))
    truth = torch.tensor([21.0, 48.0, 70.0])
    found = correct(knowing(truth), EMBEDDING, estimate, CorrectionConfig(epsilon=3.0, max_iterations=0))
    assert [c.age for c in found] == pytest.approx(estimate.age.tolist())
    assert [c.status for c in found] == ["accepted", "low_confidence", "accepted"]


def test_a_biased_base_is_corrected_and_a_perfect_one_left_alone() -> None:
    truth = torch.tensor([25.0, 45.0, 65.0])
    rule = CorrectionConfig(epsilon=1.0, margin=0.2)
    biased = correct(knowing(truth), EMBEDDING, estimate_at(truth + 8), rule)
    assert all(c.status == "corrected" for c in biased)
    assert [c.age for c in biased] == pytest.approx(truth.tolist(), abs=0.6)
    perfect = correct(knowing(truth), EMBEDDING, estimate_at(truth), rule)
    assert all(c.status == "accepted" and len(c.trace) == 1 for c in perfect)


def test_members_that_disagree_hold_the_candidate_back() -> None:
    def errors(embedding: Tensor, estimate: AgeEstimate, ages: Tensor) -> Tensor:
        centres = torch.tensor([20.0, 60.0, 40.0]).view(3, 1, 1)
        return (centres - ages).abs()

    estimate = estimate_at(torch.tensor([48.0]))
    bold = correct(errors, EMBEDDING[:1], estimate, CorrectionConfig(epsilon=1.0))[0]
    shy = correct(errors, EMBEDDING[:1], estimate, CorrectionConfig(epsilon=1.0, caution=2.0))[0]
    assert bold.age != pytest.approx(48.0, abs=1)
    assert shy.age == pytest.approx(48.0, abs=0.1)
    assert shy.status == "low_confidence"
    assert not shy.trace[-1].accepted


@settings(max_examples=25, deadline=None)
@given(
    ages=st.lists(st.floats(0, 100), min_size=1, max_size=4),
    epsilon=st.floats(0, 20),
    tether=st.floats(0, 1),
    weight=st.floats(0, 5),
    caution=st.floats(0, 2),
    margin=st.floats(0, 1),
    iterations=st.integers(0, 5),
)
def test_every_trace_keeps_its_promises(
    ages: list[float],
    epsilon: float,
    tether: float,
    weight: float,
    caution: float,
    margin: float,
    iterations: int,
) -> None:
    """Accepted steps lower the estimated error by more than the margin, the last accepted one is the result, and the
    status says what the estimated errors say."""
    estimate = estimate_at(torch.tensor(ages))
    rule = CorrectionConfig(epsilon, tether, weight, 5.0, caution, margin, iterations)
    embedding = torch.randn(len(ages), 16, generator=torch.Generator().manual_seed(1))
    corrections = correct(tiny.ensemble(), embedding, estimate, rule)
    assert corrected_ages(tiny.ensemble(), embedding, estimate, rule).tolist() == [c.age for c in corrections]
    for found in corrections:
        kept = [step for step in found.trace if step.accepted]
        assert [step.iteration for step in found.trace] == list(range(len(found.trace)))
        assert len(found.trace) <= iterations + 1
        for before, after in pairwise(kept):
            assert before.estimated_error - after.estimated_error > margin - 1e-4
        assert found.age == kept[-1].age
        assert 0 <= found.age <= 100.001
        first, last = found.trace[0].estimated_error, kept[-1].estimated_error
        wanted = "accepted" if first <= epsilon else "corrected" if last <= epsilon else "low_confidence"
        assert found.status == wanted


def test_the_same_faces_give_the_same_result_in_any_company() -> None:
    """A face's correction does not depend on the other faces of the photo."""
    ages = torch.tensor([10.0, 35.0, 80.0])
    embedding = torch.randn(3, 16, generator=torch.Generator().manual_seed(2))
    rule = CorrectionConfig(epsilon=2.0)
    together = correct(tiny.ensemble(), embedding, estimate_at(ages), rule)
    for index in range(3):
        part = slice(index, index + 1)
        alone = correct(tiny.ensemble(), embedding[part], estimate_at(ages[part]), rule)[0]
        assert alone.age == pytest.approx(together[index].age, abs=1e-3)
        assert alone.status == together[index].status


def test_ensemble_gives_one_error_per_member_face_and_age() -> None:
    estimate = estimate_at(torch.tensor([10.0, 35.0, 80.0]))
    found = tiny.ensemble()(EMBEDDING, estimate, torch.rand(3, 7) * 100)
    assert found.shape == (3, 3, 7)
    assert (found >= 0).all()


def test_mismatch_is_least_at_the_likeliest_age() -> None:
    found = mismatch(estimate_at(torch.tensor([30.0])).logits, scale=10.0)
    assert found.argmin() == 30
    assert found.min() == 0
    assert found.max() == 1
