"""Calibration by cross-fitting, on made-up faces whose true errors are known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cilf.inference.correction import CorrectionConfig
from cilf.inference.error_models import EnsembleConfig
from cilf.inference.familiarity import normalized
from cilf.inference.outputs import CropOutputs
from cilf.inference.predictive import PredictiveConfig
from cilf.model.head import AgeHead
from cilf.model.runtime import crop_outputs
from tests import tiny
from tests.train.made_up import RECIPE, photos
from train.calibrate.calibrate import calibrate, recalibrate
from train.calibrate.error_ensemble import (
    MOST_ASKING,
    Fold,
    choose_correction,
    choose_views,
    corrected,
    cross_fit,
    effect,
    first_errors,
    fit_predictive,
    fold_of,
    levels,
    with_levels,
)
from train.calibrate.intervals import (
    calibrate_conformal,
    choose_edges,
    covered,
    cross_forecast,
    fit_familiarity,
    forecast,
)
from train.calibrate.predictions import PROPOSED, ViewOutputs, view_outputs
from train.studies.correction_report import figure, table
from train.studies.correction_sweep import sweep

pytestmark = pytest.mark.training

CONFIG = EnsembleConfig(embed_dim=8, members=3, width=16, dropout=0.0)
MEDIAN = PredictiveConfig(location="median")


def faces(count: int, seed: int, *, own: float = 1.0, views: int = 4, narrow: float = 1.0) -> ViewOutputs:
    """Easy and hard faces. Every view is off by an error of its own, `own` times the face's difficulty, beside one that
    all views share; the distributions are too narrow by `narrow`."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.rand(count, generator=generator) * 60 + 20
    hard = 2 + 8 * (torch.rand(count, generator=generator) < 0.5).float()
    shared = 0.5 * hard * torch.randn(count, generator=generator)
    ages = (truth + shared).unsqueeze(1) + own * hard.unsqueeze(1) * torch.randn(
        count, views, generator=generator
    )
    ages, grid = ages.clamp(0, 100), torch.arange(101.0)
    spread = (hard / narrow).unsqueeze(1).expand(-1, views)
    logits = -((grid - ages.unsqueeze(2)) ** 2) / (2 * spread.unsqueeze(2) ** 2)
    estimate = AgeHead(101).summarise(logits.flatten(0, 1))
    embedding = torch.randn(count, views, 8, generator=generator)
    return ViewOutputs(
        names=tuple(f"{index}.png" for index in range(count)),
        truth=truth.numpy(),
        detected=np.ones(count, dtype=bool),
        embedding=torch.nn.functional.normalize(embedding, dim=2).numpy(),
        logits=logits.numpy(),
        age=estimate.age.view(count, views).numpy(),
        spread=estimate.spread.view(count, views).numpy(),
        parts=logits.unsqueeze(2).numpy(),
        views=PROPOSED[: views - 1],
    )


def fitted(outputs: ViewOutputs, predictive: PredictiveConfig = MEDIAN) -> list[Fold]:
    folds = cross_fit(CONFIG, outputs, fold_of(outputs.names), predictive)
    factors = levels(folds, predictive)
    return [replace(fold, errors=with_levels(fold.errors, factors)) for fold in folds]


@pytest.fixture
def quick_calibration(quick_calibration: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As elsewhere, with as many steps as the error ensemble needs to learn something."""
    monkeypatch.setattr("train.calibrate.error_ensemble.STEPS", 60)


def test_near_duplicates_lie_in_one_fold() -> None:
    fold = fold_of([f"g{index // 2}" for index in range(200)])
    assert (fold[::2] == fold[1::2]).all()
    assert len(np.unique(fold)) == 5


def test_the_temperature_is_that_of_the_likeliest_distribution() -> None:
    """Errors of √1.25 times a spread that is said to be half of what it is: the variance is 5 times what was said."""
    assert fit_predictive(faces(2000, 1, narrow=2.0)).temperature == pytest.approx(5.0, abs=0.6)


@pytest.mark.usefixtures("quick_calibration")
def test_views_with_errors_of_their_own_are_worth_taking() -> None:
    outputs = faces(600, 2)
    folds = fitted(outputs)
    rule, result = choose_correction(folds, outputs, MEDIAN)
    assert rule.max_views > 1
    assert result["mean_gain"] > 0.3
    assert result["share_asking"] <= MOST_ASKING
    asked = corrected(folds, rule, MEDIAN).views > 1
    assert outputs.spread[asked, 0].mean() > outputs.spread[~asked, 0].mean()  # the hard faces ask
    everything = replace(rule, epsilon=0.0, cost=0.0)
    assert effect(folds, everything, outputs, MEDIAN)["share_asking"] == 1


@pytest.mark.usefixtures("quick_calibration")
def test_no_label_changes_an_estimate() -> None:
    """The true ages of measured photos exchanged, everything that is said of them stays."""
    outputs = faces(200, 5)
    errors, rule = fitted(outputs)[0].errors, CorrectionConfig(epsilon=3.0, max_views=3)
    measured = faces(50, 6)
    right = forecast(errors, measured, rule, MEDIAN)
    wrong = forecast(errors, replace(measured, truth=measured.truth[::-1].copy()), rule, MEDIAN)
    assert not np.array_equal(right.truth, wrong.truth)
    for one, other in zip(right.rows, wrong.rows, strict=True):
        assert (one.age, one.estimated_error) == (other.age, other.estimated_error)
        assert np.array_equal(one.probabilities, other.probabilities)


@pytest.mark.usefixtures("quick_calibration")
def test_views_that_say_the_same_again_are_left_alone() -> None:
    """No rule may win by more than chance; "never correct" still has a threshold."""
    outputs = faces(400, 3, own=0.0)
    rule, result = choose_correction(fitted(outputs), outputs, MEDIAN)
    assert rule.max_views == 1
    assert rule.epsilon > 0
    assert "best_refused" in result


@pytest.mark.usefixtures("quick_calibration")
def test_estimated_errors_are_right_on_average_and_fall_with_every_view() -> None:
    outputs = faces(600, 4)
    folds = fitted(outputs)
    factors = levels(folds, MEDIAN)
    assert factors == pytest.approx([1.0] * 4, abs=0.01)
    means = [
        np.concatenate([f.errors(state, state.age[:, None]).mean(axis=0)[:, 0] for f, state in pairs]).mean()
        for pairs in ([(fold, fold.outputs.states(MEDIAN)[number]) for fold in folds] for number in range(4))
    ]
    assert means == sorted(means, reverse=True)
    real = np.abs(outputs.evidence(0, MEDIAN).age - outputs.truth)
    estimated = first_errors(folds, MEDIAN)
    assert np.corrcoef(real, estimated)[0, 1] > 0.3


def test_the_first_view_chosen_is_the_one_that_tells_most() -> None:
    outputs = faces(500, 5)
    exact = outputs.logits.copy()
    exact[:, 2] = -((np.arange(101) - outputs.truth[:, None]) ** 2)
    assert choose_views(replace(outputs, logits=exact), MEDIAN)[0] == outputs.views[1]


@pytest.mark.usefixtures("quick_calibration")
def test_intervals_hold_what_they_promise_at_every_level() -> None:
    known, cal, other = faces(400, 6, narrow=1.5), faces(800, 7, narrow=1.5), faces(1000, 8, narrow=1.5)
    folds = fitted(known)
    rule = CorrectionConfig(epsilon=3.0, max_views=3)
    edges = choose_edges(cross_forecast(folds, rule, MEDIAN))
    errors = folds[0].errors
    conformal = calibrate_conformal(forecast(errors, cal, rule, MEDIAN), edges)
    tried = forecast(errors, other, rule, MEDIAN)
    for level, inside in covered(tried, conformal, (0.5, 0.8, 0.9, 0.95)).items():
        assert inside.mean() == pytest.approx(level, abs=0.05)
    for row in tried.rows[:50]:
        low, high = conformal.interval(row)
        assert low <= row.age <= high
        assert row.probabilities.sum() == pytest.approx(1, abs=1e-4)


def test_few_calibration_photos_are_unlike_themselves() -> None:
    outputs = faces(600, 9)
    near = normalized(outputs.embedding + 3 * np.eye(8, dtype=np.float32)[0])
    familiarity = fit_familiarity(replace(outputs, embedding=near), replace(outputs, embedding=near))
    assert familiarity(near[:, 0]).mean() > 0.98
    assert not familiarity(-near[:, 0]).any()


@pytest.mark.usefixtures("quick_calibration")
def test_a_checkpoint_is_calibrated_from_photos_and_again_from_what_was_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.calibrate.error_ensemble.STEPS", 5)
    made, model = photos(tmp_path), tiny.model()
    first = calibrate(model, RECIPE, made, tmp_path / "views", step=3)
    for sample in made.held:
        sample.path.unlink()
    checkpoint = tiny.checkpoint(model, first.errors, first.config)
    again = recalibrate(checkpoint, RECIPE, made, tmp_path / "views")
    assert again.config == first.config
    assert first.config.familiarity.photos == 64
    assert first.chosen_on.names[:32] == tuple(sample.name for sample in made.held)
    assert np.isfinite(first.cal.age).all()


def test_outputs_are_those_of_the_model_for_each_view(tmp_path: Path) -> None:
    made, model = photos(tmp_path, 8), tiny.model()

    age_text = model.encode_ages()

    def compute(crops: np.ndarray) -> CropOutputs:
        return crop_outputs(model, crops, age_text, mirror=False)

    outputs = view_outputs(model, compute, made.held, PROPOSED[:2], tmp_path / "views")
    assert outputs.logits.shape == (8, 3, 101)
    assert not outputs.detected.any()
    np.testing.assert_array_equal(outputs.with_views(PROPOSED[1:2]).logits, outputs.logits[:, [0, 2]])
    np.testing.assert_allclose(
        outputs.logits[:, 0], outputs.logits[:, 1], atol=1e-3, rtol=1e-3
    )  # an even picture is its own mirror image


def test_mirrored_outputs_are_not_taken_for_plain_ones(tmp_path: Path) -> None:
    made, model = photos(tmp_path, 2), tiny.model()
    age_text = model.encode_ages()

    def compute(crops: np.ndarray) -> CropOutputs:
        outputs = crop_outputs(model, crops, age_text, mirror=False)
        return replace(outputs, age=outputs.age + 1)

    def ages(**how: bool) -> np.ndarray:
        return view_outputs(model, compute, made.held, PROPOSED[:1], tmp_path / "views", **how).age

    first = ages()
    np.testing.assert_array_equal(ages(), first)
    assert len(list((tmp_path / "views").iterdir())) == 1
    ages(mirror=True)
    assert len(list((tmp_path / "views").iterdir())) == 2


def test_a_photo_that_no_face_can_be_cut_out_of_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made, model = photos(tmp_path, 2), tiny.model()
    Image.new("RGB", (1000, 200), "grey").save(made.held[0].path, "PNG")
    age_text = model.encode_ages()
    outputs = view_outputs(
        model,
        lambda crops: crop_outputs(model, crops, age_text, mirror=False),
        made.held,
        PROPOSED[:1],
        tmp_path / "views",
    )
    assert outputs.names == (made.held[1].name,)
    assert "left out" in caplog.text


@pytest.mark.usefixtures("quick_calibration")
def test_a_sweep_scales_estimated_errors_as_the_checkpoint_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.studies.correction_sweep.THRESHOLDS", 1)
    known, test = faces(120, 12), faces(40, 13)
    errors = fitted(known)[0].errors
    estimated = {}
    for factor in (1.0, 2.0):
        ensemble = replace(CONFIG, levels=(factor,) * 4)
        config = replace(tiny.CHECKPOINT, ensemble=ensemble, predictive=MEDIAN, views=known.views)
        scaled = with_levels(errors, ensemble.levels)
        checkpoint = tiny.checkpoint(tiny.model(), scaled, config)  # type: ignore[arg-type]
        found = sweep(checkpoint, known, known.names, test, test.names)
        estimated[factor] = {name: np.array(part["estimated"]) for name, part in found["calibration"].items()}
    for name, once in estimated[1.0].items():
        np.testing.assert_allclose(estimated[2.0][name], 2 * once, rtol=1e-5, err_msg=name)


@pytest.mark.usefixtures("quick_calibration")
def test_a_sweep_reads_every_control_from_the_same_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.studies.correction_sweep.THRESHOLDS", 4)
    known, test = faces(300, 10), faces(200, 11)
    config = replace(
        tiny.CHECKPOINT,
        ensemble=CONFIG,
        predictive=MEDIAN,
        correction=CorrectionConfig(epsilon=3.0, max_views=4),
        views=known.views,
    )
    checkpoint = tiny.checkpoint(tiny.model(), fitted(known)[0].errors, config)  # type: ignore[arg-type]
    found = sweep(checkpoint, known, known.names, test, test.names)
    last = found["sweep"][-1]["held and tune"]
    assert last["share_changed"] == last["mean_gain"] == 0  # at the largest ε
    figure(found, tmp_path / "sweep.png")
    assert (tmp_path / "sweep.png").stat().st_size > 10_000
    controls = found["controls"]["test"]
    assert table(found).count("\n") == len(found["sweep"]) + len(controls) + 9
    assert controls["base"]["gain"] == 0
    assert controls["all views for every face"]["gain"] > 0.3
    assert controls["all views for every face"]["mean_views"] == 4
    assert 1 < controls["correction"]["mean_views"] < 4
    assert controls["correction"]["gain"] > 0.5 * controls["all views for every face"]["gain"]
