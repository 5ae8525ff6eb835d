"""Ablation, prompt families and the sweep of the correction, on generated pictures."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from cilf.model.config import FusionConfig
from cilf.model.fourierformer import FourierFormerBlock, FourierFusion
from tests import tiny
from tests.train.fit.test_loop import RECIPE, subset
from train.data.captions import vocabulary
from train.data.datasets import DatasetError
from train.fit.provenance import weights_sha256
from train.fit.recipe import Recipe
from train.studies.ablation import (
    ROWS,
    Row,
    ablate,
    compare_prompts,
    fit_row,
    frozen_towers,
    paired_gain,
    prompt_table,
    table,
)
from train.studies.block_variants import AttentionBlock, ConvolutionBlock, Mixer, exchange
from train.studies.frozen_features import extract
from train.studies.texts.prompt_families import ENSEMBLE, FAMILIES, texts

pytestmark = pytest.mark.usefixtures("quick_calibration")


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("mixer", ["convolution", "attention"])
@pytest.mark.parametrize("width", [64, 128])
def test_rival_blocks_have_as_many_parameters(mixer: Mixer, width: int) -> None:
    config = FusionConfig(width=width)
    fourier, rival = FourierFusion(32, 101, config), FourierFusion(32, 101, config)
    exchange(rival, mixer)
    assert not any(isinstance(module, FourierFormerBlock) for module in rival.modules())
    ours, theirs = (parameters(f.image_blocks) + parameters(f.fusion_blocks) for f in (fourier, rival))
    assert theirs == pytest.approx(ours, rel=0.02)


@pytest.mark.parametrize("mixer", ["mean", "convolution", "attention"])
def test_rival_blocks_fit_in_the_fusion(mixer: Mixer) -> None:
    fusion = FourierFusion(16, 101, FusionConfig(width=32, image_blocks=1, fusion_blocks=1))
    exchange(fusion, mixer)
    text = torch.nn.functional.normalize(torch.randn(101, 16), dim=1)
    fused = fusion(torch.randn(2, 16), torch.randn(2, 16, 5, 7), text)
    assert fused.grid.shape == (2, 16, 5, 7)
    assert torch.isfinite(fused.text).all()


def test_explicit_and_fused_attention_agree() -> None:
    torch.manual_seed(0)
    block = AttentionBlock(32, heads=4, mlp_ratio=0.5)
    tokens = torch.randn(2, 49, 32)
    fused = block.mix(tokens)
    block.explicit = True
    assert torch.allclose(fused, block.mix(tokens), atol=1e-5)
    used = torch.arange(49) < torch.tensor([[49], [30]])
    explicit = block.mix(tokens, used)
    block.explicit = False
    assert torch.allclose(explicit, block.mix(tokens, used), atol=1e-5)


def test_padding_changes_nothing_that_attention_says() -> None:
    torch.manual_seed(0)
    block = AttentionBlock(32, heads=4, mlp_ratio=0.5, layer_scale=1.0)
    sequence = torch.randn(2, 32, 40)
    padded = block(torch.nn.functional.pad(sequence, (0, 8)))
    assert torch.allclose(padded[..., :40], block(sequence), atol=1e-5)
    assert not padded[..., 40:].any()


@pytest.mark.parametrize("shape", [(30,), (5, 6)])
def test_attention_knows_the_positions(shape: tuple[int, ...]) -> None:
    """Without them, tokens in another order would come out the same, in that order."""
    torch.manual_seed(0)
    block = AttentionBlock(32, heads=4, mlp_ratio=0.5, layer_scale=1.0)
    tokens, order = torch.randn(1, 32, 30), torch.randperm(30)
    there, elsewhere = (block(seen.unflatten(2, shape)).flatten(2) for seen in (tokens, tokens[..., order]))
    assert not torch.allclose(there[..., order], elsewhere, atol=1e-2)


def test_a_convolution_block_without_gain_is_the_identity() -> None:
    block = ConvolutionBlock(8, dims=2, kernel_size=7, mlp_ratio=2.0, layer_scale=0.0)
    x = torch.randn(1, 8, 6, 6)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("family", [*FAMILIES, ENSEMBLE])
def test_prompt_families_use_words_of_the_captions(family: str) -> None:
    """Words that no training caption held would compare nothing."""
    known = " ".join(vocabulary()).lower().replace(",", " ").replace(".", " ").split()
    for age in range(101):
        words = " ".join(texts(family, age)).lower().replace(",", " ").replace(".", " ").split()
        assert set(words) <= set(known), age


def test_paired_gain_knows_a_gain_from_chance() -> None:
    chance = np.random.default_rng(0)
    hard = chance.exponential(5, 500)
    noise = lambda: np.abs(hard + chance.normal(0, 0.3, (5, 500)))  # noqa: E731
    same = paired_gain(noise(), noise())
    assert same["low"] < 0 < same["high"]
    better = paired_gain(noise(), noise() - 0.5)
    assert 0 < better["low"] < 0.5 < better["high"]
    alone = noise()
    assert paired_gain(alone, alone) == {"mean": 0, "low": 0, "high": 0}  # seed by seed the same runs


@pytest.mark.training
def test_every_row_is_fitted_once_and_compared(tmp_path: Path) -> None:
    """What is fitted on the towers must not have moved them: every row stands on the same ones."""
    recipe = replace(RECIPE, fit=replace(RECIPE.fit, sizes=((0.0, 64),)))
    data = {"train": [subset(32)], "held": [subset(16)], "tune": [subset(16)], "test": [subset(24)]}
    trained, features = frozen_towers(recipe, data, tmp_path, epochs=1)
    assert features["test"].image.shape[:2] == (2, 24)
    before = {key: value.clone() for key, value in trained.state_dict().items()}
    found = ablate(recipe, trained, features, tmp_path, seeds=1, steps=3)
    assert all(torch.equal(value, before[key]) for key, value in trained.state_dict().items())
    names = [row["name"] for row in found["rows"]]
    assert set(ROWS) | {"prompt-only", "+ correction"} == set(names)
    for row in found["rows"]:
        assert np.isfinite(row["test"]["mae"])
        assert row["name"] == "prompt-only" or row["test"]["gain"]["low"] <= row["test"]["gain"]["high"]
    stored = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.pt")}
    assert ablate(recipe, trained, features, tmp_path, seeds=1, steps=3) == found
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.pt")} == stored
    prompts = compare_prompts(recipe, trained, features, tmp_path, seeds=2, steps=2)
    assert (
        len(prompt_table(prompts).splitlines())
        == len(table(found).splitlines()) - len(names) + len(FAMILIES) + 1
    )


@pytest.mark.training
def test_a_row_of_another_recipe_length_or_tower_is_fitted_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = []

    def fit(recipe: Recipe, *rest: Any) -> dict[str, Any]:
        fitted.append(recipe)
        return {"parameters": 0, "errors": {"tune": torch.zeros(1)}}

    monkeypatch.setattr("train.studies.ablation._fit", fit)
    other = replace(RECIPE, fit=replace(RECIPE.fit, learning_rate=1.0))
    towers, others = tiny.model(), tiny.model()
    with torch.no_grad():
        others.towers.clip.logit_scale.add_(1)
    for trained, recipe, steps in (
        (towers, RECIPE, 3),
        (towers, RECIPE, 3),
        (towers, RECIPE, 4),
        (towers, other, 3),
        (others, RECIPE, 3),
    ):
        fit_row(recipe, trained, "a row", Row(), {}, tmp_path, 0, steps)
    assert fitted == [RECIPE, RECIPE, other, RECIPE]


def test_features_of_other_photos_are_refused(tmp_path: Path) -> None:
    stored, data, model = tmp_path / "features-tune.pt", subset(4), tiny.model()
    of = (data.fingerprint(), weights_sha256(model.towers.state_dict()))
    torch.save((*of, torch.zeros(2, 4, 3), torch.zeros(2, 4, 1, 1, 1)), stored)
    assert extract(model, [data], stored, {}).samples == data.cache.samples
    with pytest.raises(DatasetError, match=r"features-tune\.pt are of other photos"):
        extract(model, [subset(5)], stored, {})
    with torch.no_grad():
        model.towers.clip.logit_scale.add_(1)
    with pytest.raises(DatasetError, match="another image tower"):
        extract(model, [data], stored, {})
