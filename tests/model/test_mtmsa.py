"""MTMSA: its network, its Gaussian, and the one door for users with its weights behind it."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from cilf import AgeEstimator, UsageError, WeightsError
from cilf.checkpoint import CONFIG, WEIGHTS, load, read_config
from cilf.inference.error_models import GaussianError
from cilf.inference.evidence import Evidence, evidence
from cilf.inference.outputs import CropOutputs
from cilf.inference.predictive import PredictiveConfig
from cilf.model.config import MTMSAConfig
from cilf.model.head import AgeEstimate
from cilf.model.mtmsa import MTMSA, GaussianHead
from tests import tiny

YEARS = st.floats(0, 100)
SPREAD = st.floats(0.5, 40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.mtmsa_checkpoint(tmp_path_factory.mktemp("mtmsa"))


@pytest.fixture(scope="module")
def estimator(folder: Path) -> AgeEstimator:
    return AgeEstimator(load(folder))


def head() -> GaussianHead:
    return GaussianHead(4, 101)


@pytest.mark.parametrize("wrong", [{"width": 510}, {"width": 8, "reduction": 16}])
def test_channels_that_cannot_be_shared_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="channels cannot be shared by 4 branches"):
        MTMSA(MTMSAConfig(**wrong))


def test_the_network_is_a_resnet34_whose_blocks_alternate_and_whose_cells_are_a_sixteenth() -> None:
    model = MTMSA(MTMSAConfig())
    blocks = [len(model.trunk[f"layer{stage}"]) for stage in (1, 2, 3)]
    assert blocks == [3, 4, 6]
    assert [block.conv2.dilation[0] for block in model.trunk["layer3"]] == [1, 2, 1, 2, 1, 2]
    assert [branch[0].dilation[0] for branch in model.attention.branches] == [1, 2, 3, 5]
    weights = sum(value.numel() for value in model.state_dict().values())
    assert 2 * weights < 50e6  # bytes in half precision
    with torch.no_grad():
        found = model.eval()(torch.rand(1, 3, 112, 112))
    assert found.attention.shape == (1, 7, 7)
    assert found.embedding.shape == (1, 512)
    assert found.gender.shape == (1, 2)
    assert found.race.shape == (1, 5)


def test_attention_sees_far_and_weighs_every_cell() -> None:
    """One changed cell is felt by the gates of all others; every gate lies in (0, 1)."""
    torch.manual_seed(0)
    attention = MTMSA(MTMSAConfig()).attention.eval()
    x = torch.randn(1, 256, 7, 7)
    other = x.clone()
    other[:, :, 0, 0] += 5
    with torch.no_grad():
        features, gate = attention(x)
        _, moved = attention(other)
    assert features.shape == (1, 512, 7, 7)
    assert ((gate > 0) & (gate < 1)).all()
    assert (gate != moved).all()


@torch.no_grad()
def test_an_untrained_head_says_the_middle_of_life_with_a_wide_doubt() -> None:
    found = tiny.mtmsa().describe(torch.rand(2, 3, 64, 64), torch.empty(0, 16), mirror=False)
    torch.testing.assert_close(found.estimate.age, torch.full((2,), 35.0), atol=0.5, rtol=0)
    torch.testing.assert_close(found.estimate.spread, torch.full((2,), 10.0), atol=0.1, rtol=0)


@torch.no_grad()
def test_a_crop_and_its_mirror_image_get_the_same_age_and_mirrored_maps() -> None:
    model, pixels = tiny.mtmsa(), torch.rand(2, 3, 64, 64)
    nn.init.normal_(model.head.mean.weight)
    nn.init.normal_(model.head.log_variance.weight)
    one = model.describe(pixels, model.encode_ages(), mirror=True)
    other = model.describe(pixels.flip(-1), model.encode_ages(), mirror=True)
    torch.testing.assert_close(one.estimate.age, other.estimate.age)
    torch.testing.assert_close(one.estimate.spread, other.estimate.spread)
    torch.testing.assert_close(one.relevance, other.relevance.flip(-1))
    torch.testing.assert_close(one.embedding.norm(dim=1), torch.ones(2))
    alone = model.describe(pixels, model.encode_ages(), mirror=False).estimate
    mirrored = model.describe(pixels.flip(-1), model.encode_ages(), mirror=False).estimate
    torch.testing.assert_close(one.estimate.age, (alone.age + mirrored.age) / 2)
    assert (one.estimate.spread**2 >= torch.minimum(alone.spread, mirrored.spread) ** 2 - 1e-3).all()


@given(YEARS, SPREAD)
def test_the_distribution_is_the_gaussian(mean: float, spread: float) -> None:
    found = head().summarise(torch.tensor([mean]), torch.tensor([spread]))
    assert found.probabilities.sum().item() == pytest.approx(1, abs=1e-4)
    assert abs(int(found.probabilities.argmax()) - mean) <= 0.51
    assert found.age.item() == pytest.approx(mean, abs=1e-4)


@pytest.mark.parametrize(("mean", "age"), [(-3.0, 0.0), (140.0, 100.0)])
def test_an_age_beyond_the_range_is_its_end(mean: float, age: float) -> None:
    assert head().summarise(torch.tensor([mean]), torch.tensor([5.0])).age.item() == age


@given(YEARS, SPREAD, st.floats(0.2, 2))
def test_temperature_moves_the_width_alone(mean: float, spread: float, temperature: float) -> None:
    cold = head().summarise(torch.tensor([mean]), torch.tensor([spread]))
    warm = head().tempered(cold, temperature)
    assert warm.age.item() == cold.age.item()
    assert warm.spread.item() ** 2 == pytest.approx(temperature * spread**2, rel=1e-3)


@given(YEARS, SPREAD, YEARS)
def test_the_expected_error_is_that_of_draws(mean: float, spread: float, age: float) -> None:
    """Against the quantiles of the normal distribution, a thousand of them evenly spaced."""
    estimate = head().summarise(torch.tensor([mean]), torch.tensor([spread]))
    found = GaussianError()(first(estimate), np.array([[age]])).item()
    levels = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    draws = mean + spread * math.sqrt(2) * torch.erfinv(2 * levels - 1)
    assert found == pytest.approx((draws - age).abs().mean().item(), rel=0.01, abs=0.01)


def first(estimate: AgeEstimate) -> Evidence:
    """The evidence of a first crop, with the age and the spread that the head says."""
    count, logits = len(estimate.age), estimate.logits.numpy()
    embedding, nothing = np.full((count, 4), 0.5, np.float32), np.zeros((count, 1, 1), np.float32)
    moments = estimate.age.numpy(), estimate.spread.numpy()
    return evidence(CropOutputs(embedding, logits, *moments, logits[:, None], nothing), PredictiveConfig())


def test_nothing_is_smaller_than_the_error_at_the_mean() -> None:
    estimate = head().summarise(torch.tensor([31.0, 70.0]), torch.tensor([4.0, 9.0]))
    ages = np.tile(np.arange(101.0), (2, 1))
    assert GaussianError()(first(estimate), ages)[0].argmin(axis=1).tolist() == [31, 70]


@torch.no_grad()
def test_a_checkpoint_says_itself_which_system_it_holds(folder: Path) -> None:
    assert json.loads((folder / CONFIG).read_text())["model"]["kind"] == "mtmsa"
    found = load(folder)
    assert isinstance(found.model, MTMSA)
    assert found.config.model == tiny.MTMSA_MODEL
    assert found.config.ensemble is None
    pixels = torch.rand(2, 3, 64, 64)
    wanted = tiny.mtmsa().describe(pixels, torch.empty(0, 16), mirror=True).estimate.age
    got = found.model.describe(pixels, found.model.encode_ages(), mirror=True).estimate.age
    torch.testing.assert_close(got, wanted, atol=0.1, rtol=0)  # weights are kept in half precision


def test_a_checkpoint_from_before_there_were_two_systems_is_of_the_first(tmp_path: Path) -> None:
    stored = json.loads((Path(__file__).parents[2] / "checkpoints" / "compact" / CONFIG).read_text())
    stored["model"].pop("kind", None)
    (tmp_path / CONFIG).write_text(json.dumps(stored))
    assert read_config(tmp_path).model.kind == "cilf"


def test_a_bundled_checkpoint_is_loaded_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.mtmsa_checkpoint(tmp_path / "checkpoints" / "mtmsa")
    monkeypatch.setattr("cilf.checkpoint.__file__", str(tmp_path / "cilf" / "checkpoint.py"))
    assert load("mtmsa").source == "mtmsa (bundled)"
    with pytest.raises(WeightsError, match="'compact' is missing"):
        load("compact")


@pytest.mark.parametrize("kind", ["resnet", 3, None])
def test_an_unknown_system_is_told(folder: Path, tmp_path: Path, kind: object) -> None:
    stored = json.loads((folder / CONFIG).read_text())
    stored["model"]["kind"] = kind
    (tmp_path / CONFIG).write_text(json.dumps(stored))
    (tmp_path / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes())
    with pytest.raises(WeightsError, match="not a CILF configuration"):
        load(tmp_path)


def test_an_estimator_with_its_weights(estimator: AgeEstimator, grace_hopper: np.ndarray) -> None:
    [face] = estimator.predict(grace_hopper)
    low, high = face.interval
    assert estimator.kind == "mtmsa"
    assert low <= face.age <= high
    assert len(face.trace) == 1
    assert face.age == face.initial_age
    assert face.status in ("accepted", "low_confidence")
    assert face.trace[0].estimated_error == pytest.approx(10 * math.sqrt(2 / math.pi), rel=0.05)
    assert face.distribution.shape == (101,)
    assert face.distribution.sum() == pytest.approx(1, abs=1e-4)
    assert face.heatmap.shape == (4, 4)
    assert face.crop.shape == (64, 64, 3)
    assert np.linalg.norm(face.embedding) == pytest.approx(1, abs=1e-4)
    assert face.over(18) == "unsure"  # nothing is calibrated
    assert not hasattr(face, "gender")


def test_it_compares_no_texts_and_says_so(
    estimator: AgeEstimator, grace_hopper: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    [face] = estimator.predict(grace_hopper, ["a child"])
    assert face.similarities == {}
    assert "compare no texts" in caplog.text
    assert not estimator.compares_texts
    for ask in (
        lambda: estimator.similarity(face, ["a child"]),
        lambda: estimator.unknown_words(["a child"]),
    ):
        with pytest.raises(UsageError, match="compare no texts"):
            ask()
