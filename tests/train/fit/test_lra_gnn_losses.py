"""LRA-GNN's losses, and that it and the control learn by the loop that trains the other systems."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cilf.model.lra_gnn import Ensemble
from tests import tiny
from tests.train.fit.test_loop import weights
from tests.train.made_up import FIT, subset
from train.data.augmentation.augment import AugmentConfig
from train.fit.loop import Interrupted, fit
from train.fit.losses.ages import MixedAges
from train.fit.losses.lra_gnn import LRAGNNLossConfig, ensemble_terms, focal_loss
from train.fit.objective import GridSystem, build_system, predict_ages
from train.fit.recipe import GridRecipe, read_recipe

RECIPE = GridRecipe(
    {"utkface": 1.0},
    tiny.LRA_GNN_MODEL,
    LRAGNNLossConfig(walk_updates=5),
    AugmentConfig(),
    replace(FIT, rates={"head.walk": 0.0}),
)


def test_without_a_power_the_focal_loss_is_the_cross_entropy() -> None:
    logits, target = torch.randn(6, 12), torch.eye(12)[torch.arange(6)]
    expected = torch.nn.functional.cross_entropy(logits, torch.arange(6))
    torch.testing.assert_close(focal_loss(target, logits, 0.0), expected)
    sure = 20 * target
    assert focal_loss(target, sure, 1.3) <= focal_loss(target, sure, 0.0)


def test_a_mixed_picture_has_both_ages() -> None:
    ages = MixedAges(torch.tensor([10.0, 30.0]), torch.tensor([10.0, 30.0])).mixed(0.75)
    assert ages.mean().tolist() == [15.0, 25.0]
    groups = ages.mean(lambda age: torch.nn.functional.one_hot(age.long() // 10, 12).float())
    assert groups[0, 1] == 0.75
    assert groups[0, 3] == 0.25


def test_the_terms_are_weighted_and_small_for_a_right_answer() -> None:
    groups = torch.full((1, 12), -30.0)
    groups[0, 4] = 30
    right = MixedAges(torch.tensor([46.0]), torch.tensor([46.0]))
    wrong = MixedAges(torch.tensor([26.0]), torch.tensor([26.0]))
    ensemble, config = Ensemble(groups, torch.full((1, 12), 6.0)), LRAGNNLossConfig()
    assert sum(value.item() for value in ensemble_terms(ensemble, right, config).values()) < 1e-3
    assert ensemble_terms(ensemble, wrong, config)["age"].item() == pytest.approx(0.6 * 20 / 5, abs=1e-3)


@pytest.mark.training
def test_stopping_and_resuming_gives_the_same_weights(tmp_path: Path) -> None:
    data = subset()
    whole = weights(fit(RECIPE, [data], data, tmp_path / "whole"))
    with pytest.raises(Interrupted):
        fit(RECIPE, [data], data, tmp_path / "parts", stop_at=3)
    resumed = weights(fit(RECIPE, [data], data, tmp_path / "parts", resume=True))
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


@pytest.mark.training
@pytest.mark.parametrize(
    "changed", [{}, {"layers": 0, "nodes": "all", "head": "distribution"}], ids=["own head", "control"]
)
def test_it_learns(changed: dict[str, object], tmp_path: Path) -> None:
    """Brightness tells the age; the best constant is off by 22.5 years."""
    data = subset()
    still = AugmentConfig(brightness=0, contrast=0, erase=0, noise=0)
    config = replace(RECIPE.fit, epochs=40, mixup_share=0.0, sizes=((0.0, 64),), ema_decay=0.95)
    recipe = replace(RECIPE, model=replace(RECIPE.model, **changed), fit=config, augment=still)
    ages = predict_ages(fit(recipe, [data], subset(2), tmp_path), data, 64)
    truth = np.array([sample.age for sample in data.samples])
    assert np.abs(ages - truth).mean() < 14


@pytest.mark.slow
@pytest.mark.training
@pytest.mark.parametrize("name", ["lra-gnn-224", "mcgrl-resnet50-vig-s"])
def test_the_full_form_takes_a_step(name: str) -> None:
    """Random weights, two random pictures."""
    recipe = read_recipe(name)
    torch.manual_seed(0)
    system = build_system(recipe).train()
    assert isinstance(system, GridSystem)
    pixels, ages = torch.rand(2, 3, 224, 224), torch.tensor([20.0, 60.0])
    optimizer = torch.optim.AdamW(system.parameters(), lr=1e-3)
    losses = recipe.loss.terms(system.model, system.model.cells(pixels), MixedAges(ages, ages))
    losses["loss"].backward()
    optimizer.step()
    assert torch.isfinite(losses["loss"])
    assert sum(value.numel() for value in system.parameters()) > 10_000_000
