"""Calibration, on made-up faces whose true errors are known."""

import numpy as np
import pytest
import torch

from cilf.conformal import conformal_quantile
from cilf.model.correction import CorrectionConfig, EnsembleConfig
from cilf.model.head import AgeHead
from train.calibrate.calibrate import Described, calibrate_interval, choose_correction, fit_ensemble

pytestmark = pytest.mark.training

CONFIG = EnsembleConfig(embed_dim=8, members=3, width=32, dropout=0.0)


def faces(count: int, bias: float, seed: int) -> Described:
    """Embeddings that show a group; the base estimate is off by `bias` in one of the two groups, and noisy in both."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.rand(count, generator=generator) * 60 + 20
    group = (torch.rand(count, generator=generator) < 0.5).float()
    age = truth + bias * group + torch.randn(count, generator=generator)
    embedding = torch.nn.functional.normalize(
        torch.cat([group.unsqueeze(1) * 2 - 1, torch.randn(count, 7, generator=generator) * 0.1], dim=1),
        dim=1,
    )
    grid = torch.arange(101.0)
    return Described(embedding, AgeHead(101).summarise(-((grid - age.unsqueeze(1)) ** 2) / 18), truth)


@pytest.mark.usefixtures("quick_calibration")
def test_a_biased_base_is_corrected() -> None:
    tune = faces(400, bias=10, seed=2)
    ensemble = fit_ensemble(CONFIG, [faces(800, bias=10, seed=1)], tune, steps=600)
    rule, found = choose_correction(ensemble, tune)
    assert rule.max_iterations > 0
    assert found["mean_gain"] > 2


def test_a_base_that_cannot_be_improved_is_left_alone() -> None:
    """Its errors are pure noise, so no rule may win by more than chance; "never correct" still has a threshold."""
    tune = faces(400, bias=0, seed=4)
    ensemble = fit_ensemble(CONFIG, [faces(800, bias=0, seed=3)], tune, steps=300)
    rule, _ = choose_correction(ensemble, tune)
    assert rule.max_iterations == 0
    assert rule.epsilon > 0


def test_the_interval_is_that_of_the_calibration_photos() -> None:
    tune, cal = faces(300, bias=0, seed=6), faces(500, bias=0, seed=7)
    ensemble = fit_ensemble(CONFIG, [faces(300, bias=0, seed=5)], tune, steps=100)
    rule = CorrectionConfig(epsilon=1.0, max_iterations=0)
    found = calibrate_interval(ensemble, rule, tune, cal)
    assert found.edges == (30.0, 45.0, 60.0)  # nobody is under 13 here
    assert np.isfinite(found.quantiles).all()
    with torch.no_grad():
        first = ensemble(cal.embedding, cal.estimate, cal.estimate.age.unsqueeze(1)).mean(dim=0)[:, 0]
    scores = ((cal.estimate.age - cal.truth).abs() / (first + found.floor)).numpy()
    band = np.digitize(cal.truth.numpy(), found.edges)
    wanted = [conformal_quantile(scores[band == index], 0.9) for index in range(len(found.edges) + 1)]
    assert found.quantiles == pytest.approx(wanted, rel=1e-3)
    inside = scores <= np.array(found.quantiles)[band] * 1.001
    assert inside.mean() == pytest.approx(0.9, abs=0.02)
