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
