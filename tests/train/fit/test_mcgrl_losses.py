"""MCGRL's contrasts are what their formulas say, and it learns."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cilf.model.mcgrl import MCGRL
from tests import tiny
from tests.train.made_up import FIT, subset
from train.data.augmentation.augment import AugmentConfig
from train.data.batches import plain_batches
from train.fit.loop import fit
from train.fit.losses.ages import MixedAges
from train.fit.losses.mcgrl import (
    MCGRLLossConfig,
    contrasts,
    distance,
    hidden_nodes,
    mcgrl_loss,
    negative_rows,
)
from train.fit.recipe import GridRecipe

CONFIG = MCGRLLossConfig()
RECIPE = GridRecipe({"utkface": 1.0}, tiny.MCGRL_MODEL, CONFIG, AugmentConfig(), FIT)
AGES = MixedAges(torch.tensor([20.0, 40.0, 60.0]), torch.tensor([20.0, 40.0, 60.0]))


@given(st.floats(0, 2))
def test_of_equal_distances_the_margin_is_left(away: float) -> None:
    terms = contrasts(torch.full((5,), away), torch.full((5,), away), torch.full((4, 5), away), CONFIG)
    assert terms["structural"].item() == pytest.approx(4 * 0.8, abs=1e-4)
    assert terms["near"].item() == pytest.approx(4 * 0.8, abs=1e-4)
    assert terms["bound"] == 0


@given(st.floats(0, 0.9), st.floats(0.81, 0.99))
def test_between_margin_and_bound_nothing_pulls(near: float, more: float) -> None:
    terms = contrasts(torch.full((5,), near), torch.full((5,), near), torch.full((4, 5), near + more), CONFIG)
    assert all(value == 0 for value in terms.values())


def test_the_bound_moves_the_negatives_alone() -> None:
    positive, negative = torch.zeros(5, requires_grad=True), torch.full((4, 5), 1.9, requires_grad=True)
    contrasts(positive, positive, negative, CONFIG)["bound"].backward()
    assert positive.grad is None or not positive.grad.any()
    assert negative.grad is not None
    assert (negative.grad > 0).all()


@given(st.integers(2, 6), st.integers(1, 9))
def test_no_row_is_contrasted_with_its_own_image(images: int, nodes: int) -> None:
    rows = negative_rows(images, nodes, 4)
    assert rows.shape == (4, images * nodes)
    assert ((rows // nodes) != torch.arange(images * nodes) // nodes).all()
    assert ((rows >= 0) & (rows < images * nodes)).all()


@given(st.sampled_from([0.15, 0.3, 0.5, 0.75]))
def test_as_many_nodes_are_hidden_in_each_image(share: float) -> None:
    assert (hidden_nodes(5, 64, share).sum(dim=1) == round(64 * share)).all()


def test_a_distance_of_zero_has_a_gradient() -> None:
    vector = torch.ones(3, requires_grad=True)
    distance(vector, torch.ones(3)).backward()
    assert vector.grad is not None
    assert torch.isfinite(vector.grad).all()


def test_without_contrasts_it_is_the_regressor() -> None:
    """The loss is |age − truth| of the clean pass, exactly."""
    without = replace(CONFIG, structural=0.0, near=0.0, bound=0.0)
    torch.manual_seed(0)
    model = MCGRL(replace(tiny.MCGRL_MODEL, stochastic_depth=0.0, drop_path=0.0)).eval()
    cells = model.cells(torch.rand(3, 3, 64, 64))
    losses = mcgrl_loss(model, cells, AGES, without)
    assert set(losses) == {"age", "loss"}
    assert torch.equal(losses["loss"], (model.read(cells).estimate.age - AGES.first).abs().mean())


def test_all_terms_are_there_and_reach_both_branches() -> None:
    model = MCGRL(tiny.MCGRL_MODEL)
    losses = mcgrl_loss(model, model.cells(torch.rand(3, 3, 64, 64)), AGES, CONFIG)
    assert set(losses) == {"age", "structural", "near", "bound", "loss"}
    losses["loss"].backward()
    for value in (
        model.semantic[0].weight,
        model.structural.mask_token,
        model.head.get_parameter("decades.weight"),
    ):
        assert value.grad is not None
        assert value.grad.abs().sum() > 0


@pytest.mark.training
def test_it_can_learn_16_pictures_by_heart(tmp_path: Path) -> None:
    data = subset(16)
    still = AugmentConfig(0, 0, 0, brightness=0, contrast=0, erase=0, noise=0)
    config = replace(
        FIT, epochs=120, mixup_share=0.0, sizes=((0.0, 64),), ema_decay=0.9, batch_size=16, learning_rate=1e-2
    )
    model = replace(tiny.MCGRL_MODEL, stochastic_depth=0.0, drop_path=0.0)
    fitted = fit(replace(RECIPE, model=model, fit=config, augment=still), [data], subset(2), tmp_path)
    [pixels] = plain_batches(data, 64)
    truth = torch.tensor([sample.age for sample in data.samples])
    with torch.no_grad():
        ages = fitted.describe(pixels, fitted.encode_ages(), mirror=False).estimate.age
    assert (ages - truth).abs().mean() < 1
