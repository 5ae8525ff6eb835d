"""Checkpoints of format cilf-3 keep their ages, intervals and answers."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from cilf import AgeEstimator, WeightsError
from cilf.checkpoint import CONFIG, WEIGHTS, load, read_config, save
from cilf.conformal import Forecast
from cilf.inference.earlier import FEATURES_BEFORE, SUMMARY_BEFORE, EarlierConformal
from cilf.inference.error_models import ErrorEnsemble
from tests import tiny

INTERVAL = {
    "edges": [13.0, 60.0],
    "quantiles": [1.0, 2.0, 3.0],
    "floor": 0.0,
    "coverage": 0.9,
    "max_age": 100.0,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint as it was written before: fewer inputs of the ensemble, and a rule without views."""
    save(tmp_path, tiny.model(), tiny.ensemble(), tiny.CHECKPOINT)
    tensors = load_file(tmp_path / WEIGHTS)
    for name, inputs in (("face_in", 16 + SUMMARY_BEFORE), ("age_in", FEATURES_BEFORE)):
        key = f"ensemble.{name}.weight"
        tensors[key] = tensors[key][:, :inputs].contiguous()
    save_file(tensors, tmp_path / WEIGHTS)
    stored: dict[str, Any] = json.loads((tmp_path / CONFIG).read_text())
    for name in ("predictive", "conformal", "views", "familiarity"):
        del stored[name]
    del stored["ensemble"]["explicit"]
    stored |= {
        "format": "cilf-3",
        "correction": {"epsilon": 5.0, "tether": 0.0, "mismatch": 0.0, "max_iterations": 0},
        "interval": INTERVAL,
        "decision": {"truth": [10.0, 40.0], "age": [12.0, 39.0]},
        "sha256": hashlib.sha256((tmp_path / WEIGHTS).read_bytes()).hexdigest(),
    }
    (tmp_path / CONFIG).write_text(json.dumps(stored))
    return tmp_path


def earlier_ensemble(ensemble: ErrorEnsemble, embedding: torch.Tensor, estimate: Any) -> torch.Tensor:
    """The errors of the estimates themselves, by the formula of that time."""
    summary = torch.stack([estimate.age / 100, estimate.spread / 10, estimate.entropy / 5], dim=1)
    weights = {name: torch.from_numpy(value) for name, value in ensemble.weights.items()}
    inputs = torch.cat([embedding * 4, summary], dim=1)
    face = inputs @ weights["face_in.weight"][:, : 16 + SUMMARY_BEFORE] + weights["face_in.bias"]
    unit, nothing = estimate.age / 100, torch.zeros(len(estimate.age))
    waves = [wave(torch.pi * f * unit) for f in (1, 2, 4, 8) for wave in (torch.sin, torch.cos)]
    features = torch.stack([unit, nothing, nothing, *waves], dim=1)
    x = torch.relu(face + features @ weights["age_in.weight"][:, :FEATURES_BEFORE] + weights["age_in.bias"])
    x = torch.relu(x @ weights["hidden.weight"] + weights["hidden.bias"])
    x = x @ weights["out.weight"] + weights["out.bias"]
    return 10 * torch.nn.functional.softplus(x).mean(dim=0)[:, 0]


@torch.no_grad()
def test_age_distribution_error_and_interval_are_those_of_before(
    folder: Path, grace_hopper: np.ndarray
) -> None:
    checkpoint = load(folder)
    [face] = AgeEstimator(load(folder)).predict(grace_hopper)
    pixels = torch.from_numpy(face.crop).permute(2, 0, 1).unsqueeze(0).float() / 255
    model = checkpoint.model
    description = model.describe(pixels, model.encode_ages(), mirror=checkpoint.config.mirror)
    estimate = description.estimate
    assert face.age == pytest.approx(estimate.age.item(), abs=1e-4)
    np.testing.assert_allclose(face.distribution, estimate.probabilities[0], atol=1e-6)
    assert isinstance(checkpoint.ensemble, ErrorEnsemble)
    error = earlier_ensemble(checkpoint.ensemble, description.embedding, estimate).item()
    assert face.trace[0].estimated_error == pytest.approx(error, rel=1e-4)
    conformal = checkpoint.config.conformal
    interval = conformal.interval(Forecast(face.distribution, face.age, error))
    assert face.interval == pytest.approx(interval, abs=1e-3)
    assert len(face.trace) == 1
    assert face.familiar


@pytest.mark.parametrize("name", ["compact", "mtmsa"])
def test_the_configurations_of_version_0_1_are_read(name: str) -> None:
    folder = Path(__file__).parent / "cilf-3" / name
    stored = json.loads((folder / CONFIG).read_text())
    config = read_config(folder)
    assert isinstance(config.conformal, EarlierConformal)
    assert config.conformal.edges == tuple(stored["interval"]["edges"])
    assert config.conformal.quantiles == tuple(stored["interval"]["quantiles"])
    assert config.correction.epsilon == stored["correction"]["epsilon"]
    assert config.correction.max_views == 1
    assert not config.views


@pytest.mark.parametrize(
    ("age", "interval"),
    [
        (40.0, (32, 48)),  # 8 years by the quantile of its own band
        (12.0, (8, 20)),  # 4 years down, but from 13 on an age may lie 8 years away
        (50.0, (42, 62)),  # from 60 on 12 years
        (47.0, (39, 55)),  # whose band begins too far away here
        (66.0, (58, 78)),
        (70.0, (60, 82)),  # 60 is within reach, 59 not: that is more than 8 years away
        (3.0, (0, 7)),
        (95.0, (83, 100)),
    ],
)
def test_each_band_of_true_ages_has_its_quantile(age: float, interval: tuple[float, float]) -> None:
    config = EarlierConformal((13.0, 60.0), (1.0, 2.0, 3.0), floor=0.0)
    assert config.interval(Forecast(np.full(101, 1 / 101), age, 4.0)) == pytest.approx(interval)


def test_an_interval_holds_at_least_its_age() -> None:
    config = EarlierConformal((13.0,), (-1.0, -1.0), floor=0.0)
    assert config.interval(Forecast(np.full(101, 1 / 101), 40.0, 4.0)) == (40, 40)


def test_answers_are_those_of_the_ages_alone() -> None:
    truth = tuple(float(age) for age in range(100))
    config = EarlierConformal((), (1.0,), 1.0, truth, truth)
    said = [config.answer(Forecast(np.full(101, 1 / 101), age, 4.0), 18, 0.8) for age in (2.0, 17.6, 60.0)]
    assert said == ["no", "unsure", "yes"]


@pytest.mark.parametrize("missing", ["interval", "correction", "model"])
def test_what_lacks_a_part_is_no_checkpoint(folder: Path, missing: str) -> None:
    stored = json.loads((folder / CONFIG).read_text())
    del stored[missing]
    (folder / CONFIG).write_text(json.dumps(stored))
    with pytest.raises(WeightsError, match="not a CILF configuration"):
        load(folder)
