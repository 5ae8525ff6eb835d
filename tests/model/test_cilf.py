"""The whole model's promises that none of its parts makes alone."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests import tiny


def test_the_mirror_changes_nothing_for_a_tower_that_sees_the_same_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both views' grids must lie over each other before they are averaged."""
    model, pixels = tiny.model(), torch.rand(2, 3, 64, 64)
    torch.nn.init.normal_(model.fusion.grid_out.weight)

    def encode(pixels: Tensor) -> tuple[Tensor, Tensor]:
        grid = F.adaptive_avg_pool2d(pixels, 4).repeat(1, 6, 1, 1)[:, :16]
        return grid.mean(dim=(2, 3)), grid

    monkeypatch.setattr(model.towers, "encode_image", encode)
    with torch.no_grad():
        text = model.encode_ages()
        alone, both = (model.describe(pixels, text, mirror=mirror) for mirror in (False, True))
        other = model.describe(pixels.flip(-1), text, mirror=False)
    torch.testing.assert_close(both.estimate.age, alone.estimate.age)
    torch.testing.assert_close(both.embedding, alone.embedding)
    torch.testing.assert_close(both.relevance, alone.relevance)
    assert not torch.allclose(other.relevance, alone.relevance)


@torch.no_grad()
def test_relevance_is_what_cells_add_towards_the_likely_ages() -> None:
    torch.manual_seed(0)
    model = tiny.model()
    torch.nn.init.normal_(model.fusion.grid_out.weight)
    prediction = model(torch.rand(2, 3, 64, 64), model.encode_ages())
    likely = (prediction.estimate.probabilities.unsqueeze(2) * prediction.age_text).sum(dim=1)
    direction = F.normalize(likely - prediction.age_text.mean(dim=1), dim=-1)
    added = prediction.grid.mean(dim=(2, 3))
    torch.testing.assert_close(prediction.relevance().mean(dim=(1, 2)), (added * direction).sum(dim=1))
    whole = prediction.tower.embedding + added
    torch.testing.assert_close(F.normalize(whole, dim=-1), prediction.embedding)


def test_scales_have_an_end() -> None:
    """exp(s) ≤ 100, of the age head and of texts (METHOD 6, 7)."""
    model = tiny.model()
    model.head.log_scale.data.fill_(10.0)
    model.towers.clip.logit_scale.data.fill_(10.0)
    torch.testing.assert_close(model.scale, torch.tensor(100.0))
    embedding, text = (F.normalize(torch.randn(count, 4), dim=-1) for count in (2, 101))
    torch.testing.assert_close(model.head(embedding, text).logits, 100 * embedding @ text.T)
