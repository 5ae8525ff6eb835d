"""Age head (METHOD 7, 14)."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cilf.model.head import AgeHead


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-30, 30), min_size=101, max_size=101))
def test_moments_of_any_distribution(logits: list[float]) -> None:
    estimate = AgeHead(101).summarise(torch.tensor([logits]))
    torch.testing.assert_close(estimate.probabilities.sum(), torch.tensor(1.0))
    assert 0 <= estimate.age <= 100 + 1e-4
    assert estimate.spread >= 0
    assert -1e-5 <= estimate.entropy <= torch.tensor(101.0).log() + 1e-4


@pytest.mark.parametrize("age", [0, 33, 100])
def test_a_certain_distribution_gives_its_age(age: int) -> None:
    logits = torch.full((1, 101), -1e4)
    logits[0, age] = 0
    estimate = AgeHead(101).summarise(logits)
    torch.testing.assert_close(estimate.age, torch.tensor([float(age)]))
    assert estimate.spread < 1e-3


def test_a_higher_temperature_flattens() -> None:
    head = AgeHead(5)
    embedding = torch.nn.functional.normalize(torch.randn(1, 4), dim=-1)
    text = torch.nn.functional.normalize(torch.randn(1, 5, 4), dim=-1)
    before = head(embedding, text).entropy
    head.temperature.fill_(3.0)
    assert head(embedding, text).entropy > before
