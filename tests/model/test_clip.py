"""The CLIP towers: open_clip's own results, plus the grid, the learnable tokens and the cut vocabulary."""

from dataclasses import replace

import open_clip
import pytest
import torch
from torch.nn import functional as F

from cilf.model.clip import ClipTowers
from tests import tiny
from train.fit.recipe import read_recipe


@pytest.fixture(scope="module")
def vit() -> ClipTowers:
    """ViT-B/16 with random weights: the published ones need a network."""
    torch.manual_seed(0)
    return ClipTowers(replace(read_recipe("vit-b-16").model.clip, pretrained=None)).eval()


@pytest.mark.slow
@torch.no_grad()
def test_vit_gives_open_clips_embeddings_and_a_projected_grid(
    vit: ClipTowers, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = torch.rand(1, 3, 224, 224)
    image, grid = vit.encode_image(pixels)
    wanted = vit.clip.encode_image((pixels - vit.mean) / vit.std)
    torch.testing.assert_close(image, wanted, rtol=1e-4, atol=1e-4)
    visual = vit.clip.visual
    monkeypatch.setattr(visual, "output_tokens", True)
    _, tokens = visual((pixels - vit.mean) / vit.std)
    assert grid.shape == (1, 512, 14, 14)
    torch.testing.assert_close(grid.flatten(2).mT, tokens @ visual.proj, rtol=1e-4, atol=1e-4)
    monkeypatch.undo()
    texts = ["a photo of a cat", "a much longer text about an old man with gray hair"]
    wanted = F.normalize(vit.clip.encode_text(open_clip.get_tokenizer("ViT-B-16-quickgelu")(texts)), dim=-1)
    torch.testing.assert_close(vit.encode_text(texts), wanted, rtol=1e-4, atol=1e-5)


def test_vit_runs_openais_activation(vit: ClipTowers) -> None:
    assert type(vit.clip.visual.transformer.resblocks[0].mlp.gelu).__name__ == "QuickGELU"


@torch.no_grad()
def test_compact_tower_keeps_a_spatial_grid() -> None:
    towers = ClipTowers(read_recipe("compact").model.clip).eval()
    image, grid = towers.encode_image(torch.rand(2, 3, 112, 112))
    assert image.shape == (2, 256)
    assert grid.shape == (2, 256, 7, 7)


@torch.no_grad()
def test_text_embedding_ignores_company_and_padding() -> None:
    towers = tiny.model().towers
    alone = towers.encode_text(["a child"])[0]
    beside = towers.encode_text(["a child", "a photo of the face of a very old person"])[0]
    torch.testing.assert_close(alone, beside, rtol=1e-4, atol=1e-5)


def test_cut_vocabulary_keeps_the_end_token_last_and_maps_the_rest_to_unknown() -> None:
    config = read_recipe("compact").model.clip
    towers = ClipTowers(config)
    ids = towers.tokenize(["a photo of a giraffe"])[0]
    assert ids.argmax() == len(ids) - 1
    assert ids[-1] == len(config.token_ids or ())
    assert (ids == 0).sum() >= 1
    assert towers.clip.token_embedding.num_embeddings == len(config.token_ids or ()) + 1


@torch.no_grad()
def test_style_adds_nothing_at_first_and_then_tells_tone_and_contrast() -> None:
    config = replace(tiny.CLIP, style=True)
    torch.manual_seed(0)
    towers = ClipTowers(config).eval()
    pixels = torch.rand(4, 3, 64, 64)
    with_style, _ = towers.encode_image(pixels)
    style, towers.style = towers.style, None
    without, _ = towers.encode_image(pixels)
    torch.testing.assert_close(with_style, without)
    assert style is not None
    torch.nn.init.normal_(style.projection.weight)
    towers.style = style
    changed = torch.cat(
        [pixels[:1], pixels[:1].mean(dim=1, keepdim=True).expand(-1, 3, -1, -1), pixels[:1] / 2]
    )
    image, grid = towers.encode_image(changed)
    assert (image[0] - image[1:]).norm(dim=1).min() > 0.1
    torch.testing.assert_close(grid[0], towers.encode_image(pixels)[1][0])
