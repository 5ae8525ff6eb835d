"""MTMSA's losses are what their formulas say, and it trains by the loop that trains CILF."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cilf.conformal import ConformalConfig
from cilf.errors import UsageError
from cilf.inference.error_models import GaussianError
from cilf.model.mtmsa import MTMSA, MTMSAPrediction
from tests import tiny
from tests.train.fit.test_loop import weights
from tests.train.made_up import FIT, photos, subset
from train.calibrate.calibrate import Described, calibrate, describe, fit_temperature, recalibrate
from train.data.augmentation.augment import AugmentConfig
from train.data.datasets import Sample
from train.fit.loop import Interrupted, averaged_model, fit
from train.fit.losses.mtmsa import (
    Labels,
    MTMSALossConfig,
    dirac_to_gaussian,
    known_cross_entropy,
    labels,
    multi_task_loss,
)
from train.fit.recipe import MTMSARecipe, read_cilf_recipe, read_recipe

RECIPE = MTMSARecipe({"utkface": 1.0}, tiny.MTMSA_MODEL, MTMSALossConfig(), AugmentConfig(), FIT)


@given(st.floats(-0.99, 0.99), st.floats(-2, 2))
def test_within_a_decade_it_is_the_divergence_of_dirac_and_gaussian(residual: float, alpha: float) -> None:
    """−ln N(y; μ, σ²) less its constant ½ ln 2π."""
    gaussian = torch.distributions.Normal(0.0, math.exp(alpha / 2))
    wanted = -gaussian.log_prob(torch.tensor(residual)).item() - 0.5 * math.log(2 * math.pi)
    found = dirac_to_gaussian(torch.tensor([residual]), torch.tensor([alpha])).item()
    assert found == pytest.approx(wanted, abs=1e-4)


@given(st.floats(0.05, 0.95))
def test_the_best_variance_is_the_squared_residual(residual: float) -> None:
    alpha = torch.tensor([2 * math.log(residual)], requires_grad=True)
    dirac_to_gaussian(torch.tensor([residual]), alpha).backward()
    assert alpha.grad is not None
    assert alpha.grad.item() == pytest.approx(0, abs=1e-4)


def test_a_far_label_pulls_no_harder_than_one_a_decade_away() -> None:
    for residual in (1.5, 4.0):
        mean = torch.zeros(1, requires_grad=True)
        dirac_to_gaussian(residual - mean, torch.zeros(1)).backward()
        assert mean.grad is not None
        assert mean.grad.item() == pytest.approx(-1)


def test_samples_without_a_label_count_for_nothing() -> None:
    samples = [
        Sample(Path("a.jpg"), "a.jpg", 20, "male", "white", "x"),
        Sample(Path("b.jpg"), "b.jpg", 30, None, None, "x"),
        Sample(Path("c.jpg"), "c.jpg", 40, "female", "martian", "x"),
    ]
    found = labels(samples, tiny.MTMSA_MODEL)
    assert found.gender.tolist() == [[1, 0], [0, 0], [0, 1]]
    assert found.race.sum(dim=1).tolist() == [1, 0, 0]
    logits = torch.randn(3, 2)
    wanted = torch.nn.functional.cross_entropy(logits[[0, 2]], torch.tensor([0, 1]))
    torch.testing.assert_close(known_cross_entropy(found.gender, logits), wanted)
    assert known_cross_entropy(torch.zeros(3, 5), torch.randn(3, 5)) == 0


def test_the_loss_is_the_sum_of_its_weighted_terms() -> None:
    torch.manual_seed(0)
    prediction = MTMSAPrediction(
        *(torch.randn(4, 8), torch.randn(4), torch.zeros(4)),
        *(torch.randn(4, 2), torch.randn(4, 5), torch.rand(4, 3, 3)),
    )
    wanted = Labels(torch.tensor([10.0, 20, 30, 40]), torch.eye(2)[[0, 1, 1, 0]], torch.eye(5)[:4])
    plain = multi_task_loss(prediction, wanted, MTMSALossConfig(1, 1, 1, 1))
    weighted = multi_task_loss(prediction, wanted, MTMSALossConfig(2, 0, 0.5, 0.2))
    assert plain["loss"].item() == pytest.approx(sum(plain[name].item() for name in plain if name != "loss"))
    assert weighted["age"].item() == pytest.approx(2 * plain["age"].item())
    assert weighted["l1"] == 0
    assert weighted["gender"].item() == pytest.approx(0.5 * plain["gender"].item())


@pytest.mark.training
def test_stopping_and_resuming_gives_the_same_weights(tmp_path: Path) -> None:
    data = subset()
    whole = weights(fit(RECIPE, [data], data, tmp_path / "whole"))
    with pytest.raises(Interrupted):
        fit(RECIPE, [data], data, tmp_path / "parts", stop_at=3)
    resumed = weights(fit(RECIPE, [data], data, tmp_path / "parts", resume=True))
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


@pytest.mark.training
def test_it_learns_and_is_calibrated_without_an_ensemble(tmp_path: Path) -> None:
    """Brightness tells the age; the best constant is off by 22.5 years."""
    data = subset()
    still = AugmentConfig(brightness=0, contrast=0, erase=0, noise=0)
    config = replace(FIT, epochs=40, mixup_share=0.0, sizes=((0.0, 64),), ema_decay=0.95)
    recipe = replace(RECIPE, fit=config, augment=still)
    model = fit(recipe, [data], subset(2), tmp_path)
    assert isinstance(model, MTMSA)
    described = describe(model, data, mirror=True)
    assert (described.estimate.age - described.truth).abs().mean() < 14
    kept, step = averaged_model(recipe, tmp_path)
    result = calibrate(kept, recipe, photos(tmp_path), tmp_path / "views", step)
    checkpoint = result.config
    assert isinstance(result.errors, GaussianError)
    assert checkpoint.ensemble is None
    assert checkpoint.views == ()
    assert checkpoint.correction.max_views == 1
    assert checkpoint.correction.epsilon > 0
    assert checkpoint.model == recipe.model
    assert isinstance(checkpoint.conformal, ConformalConfig)
    assert len(checkpoint.conformal.truth) == len(data.rows)
    errors = (described.estimate.age - described.truth).abs().numpy()
    assert np.isfinite(errors).all()


def test_the_temperature_is_that_of_the_likeliest_gaussian() -> None:
    """Errors of 8 years under a σ of 10 years: the variance is about 0.64 of what was said."""
    generator = torch.Generator().manual_seed(0)
    model = tiny.mtmsa()
    truth = torch.rand(2000, generator=generator) * 40 + 30
    mean = truth + 8 * torch.randn(2000, generator=generator)
    estimate = model.head.summarise(mean, torch.full((2000,), 10.0))
    temperature, error = fit_temperature(model, Described(torch.zeros(2000, 4), estimate, truth))
    assert temperature == pytest.approx(0.64, abs=0.1)
    assert error == pytest.approx((estimate.age - truth).abs().mean().item(), abs=1e-4)


def test_its_recipe_can_be_read() -> None:
    recipe = read_recipe("mtmsa")
    assert isinstance(recipe, MTMSARecipe)
    assert recipe.fit.sizes[-1][1] == recipe.model.image_size == 112
    assert recipe.shares == {"utkface": 1.0}


def test_a_study_of_cilfs_parts_refuses_it() -> None:
    with pytest.raises(UsageError, match="give one of CILF"):
        read_cilf_recipe("mtmsa")


@pytest.mark.training
def test_calibrating_again_gives_the_same(tmp_path: Path) -> None:
    """What was fitted before must not count twice."""
    made, model = photos(tmp_path), tiny.mtmsa()
    first = calibrate(model, RECIPE, made, tmp_path / "views", step=5)
    checkpoint = tiny.checkpoint(model, first.errors, first.config)
    again = recalibrate(checkpoint, RECIPE, made, tmp_path / "other views")
    assert float(checkpoint.model.head.temperature) == 1
    assert isinstance(again.errors, GaussianError)
    assert again.config == first.config
