"""Age prompts: interpolation, caching, context-aware prompting (METHOD 3, 5.1, 14)."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from cilf.model.prompts import ContextAwarePrompting, hat_weights
from tests import tiny


@given(ages=st.integers(2, 120), anchors=st.integers(2, 20))
def test_interpolation_weights(ages: int, anchors: int) -> None:
    """Rows sum to 1, at most two neighbours count, and the weighted anchor positions rise evenly with the age."""
    weights = hat_weights(ages, anchors)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(ages))
    assert ((weights > 0).sum(dim=1) <= 2).all()
    positions = weights @ torch.arange(anchors, dtype=torch.float32)
    torch.testing.assert_close(positions, torch.linspace(0, anchors - 1, ages), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_age_text_depends_on_parameters_alone() -> None:
    model = tiny.model()
    first = model.encode_ages()
    model(torch.rand(2, 3, 64, 64), first)
    torch.testing.assert_close(model.encode_ages(), first, rtol=0, atol=0)
    torch.testing.assert_close(first.norm(dim=1), torch.ones(101))


@torch.no_grad()
def test_the_pool_averages_its_templates() -> None:
    model = tiny.model()
    first, second, pooled = model.encode_ages(0), model.encode_ages(1), model.encode_ages()
    assert not torch.allclose(first, second)
    assert not torch.allclose(pooled, first)


def test_without_gain_the_prompts_stay_as_they_are() -> None:
    text = F.normalize(torch.randn(5, 8), dim=-1)
    prompting = ContextAwarePrompting(8, gamma=0.0)
    torch.testing.assert_close(prompting(text, torch.randn(3, 5, 8)), text.expand(3, -1, -1))
