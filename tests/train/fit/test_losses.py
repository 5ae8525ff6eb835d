"""Losses (METHOD 6, 7, 14)."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from train.fit.losses import contrastive, label_distribution


@given(st.lists(st.floats(0, 116), min_size=1, max_size=5), st.floats(0.5, 5))
def test_label_distribution(ages: list[float], sigma: float) -> None:
    found = label_distribution(torch.tensor(ages), sigma, 101)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(len(ages)))
    assert (found.argmax(dim=1) - torch.tensor(ages).clamp(max=100)).abs().max() <= 0.5 + 1e-4


def test_no_similarity_costs_ln_b() -> None:
    """B distinct ages, all cosines equal."""
    image = F.normalize(torch.ones(6, 4), dim=-1)
    loss = contrastive(image, image, torch.tensor(10.0), torch.eye(6))
    assert loss.item() == pytest.approx(math.log(6), abs=1e-5)


def test_wrong_pairs_cost_more() -> None:
    torch.manual_seed(0)
    image = F.normalize(torch.randn(6, 8), dim=-1)
    right = contrastive(image, image, torch.tensor(10.0), torch.eye(6))
    wrong = contrastive(image, image.roll(1, dims=0), torch.tensor(10.0), torch.eye(6))
    assert wrong > right


def test_faces_of_one_age_do_not_push_each_other_away() -> None:
    """Two equal embeddings with the same age and text are already at the least loss: the gradient is nil."""
    image = F.normalize(torch.ones(2, 4), dim=-1).requires_grad_()
    text = F.normalize(torch.ones(2, 4), dim=-1)
    contrastive(image, text, torch.tensor(10.0), torch.ones(2, 2)).backward()
    assert image.grad is not None
    assert image.grad.abs().max() < 1e-6


def test_a_text_without_a_match_is_left_out() -> None:
    image = F.normalize(torch.randn(3, 4), dim=-1)
    matches = torch.eye(3)
    matches[2] = 0
    assert torch.isfinite(contrastive(image, image, torch.tensor(10.0), matches))
