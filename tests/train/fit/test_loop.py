"""The training loop: it learns, and stopping and resuming changes nothing."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cilf.errors import UsageError
from tests import tiny
from tests.train.made_up import FIT, RECIPE, subset
from train.data.augmentation.augment import AugmentConfig
from train.data.batches import draw_rows
from train.data.datasets import DatasetError
from train.fit import provenance
from train.fit.logger import read_log
from train.fit.loop import Interrupted, averaged_model, fit
from train.fit.objective import predict_ages
from train.fit.optimizer import depthwise_in_float32, pad_small_maps

pytestmark = pytest.mark.training

ROOT = Path(__file__).parents[3]


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """The weights of a run that nothing stops."""
    return weights(fit(RECIPE, [subset()], subset(), tmp_path_factory.mktemp("whole")))


@pytest.mark.parametrize("stop", [1, 3, 4, 6])
def test_stopping_and_resuming_gives_the_same_weights(
    whole: dict[str, torch.Tensor], tmp_path: Path, stop: int
) -> None:
    """In mid-epoch, at its end, and across a change of picture size."""
    data = subset()
    with pytest.raises(Interrupted):
        fit(RECIPE, [data], data, tmp_path, stop_at=stop)
    resumed = weights(fit(RECIPE, [data], data, tmp_path, resume=True))
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_an_unfinished_run_is_no_model_yet(tmp_path: Path) -> None:
    """A state from before the number of all steps was put down is taken as it is, and goes on all the same."""
    data = subset()
    with pytest.raises(Interrupted):
        fit(RECIPE, [data], data, tmp_path, stop_at=3)
    with pytest.raises(UsageError, match=r"stopped at step 3 of 8; finish it with `fit --resume`\.$"):
        averaged_model(RECIPE, tmp_path)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    del state["steps"]
    torch.save(state, tmp_path / "state.pt")
    assert averaged_model(RECIPE, tmp_path)[1] == 3
    fit(RECIPE, [data], data, tmp_path, resume=True)
    assert averaged_model(RECIPE, tmp_path)[1] == 8
    assert torch.load(tmp_path / "state.pt", weights_only=True)["steps"] == 8


def test_stochastic_depth_is_drawn_anew_the_same_after_resuming(tmp_path: Path) -> None:
    """What the network draws while training is no part of the stored state; it must come from seed and step."""
    vision = tiny.CLIP.architecture["vision_cfg"] | {"timm_drop_path": 0.5}
    clip = replace(tiny.CLIP, architecture=tiny.CLIP.architecture | {"vision_cfg": vision})
    recipe = replace(
        RECIPE, model=replace(tiny.MODEL, clip=clip), fit=replace(FIT, epochs=1, sizes=((0.0, 48),))
    )
    data = subset(24)
    whole = weights(fit(recipe, [data], data, tmp_path / "whole"))
    with pytest.raises(Interrupted):
        fit(recipe, [data], data, tmp_path / "parts", stop_at=2)
    torch.rand(100)  # somebody else's draws in between
    resumed = weights(fit(recipe, [data], data, tmp_path / "parts", resume=True))
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_accumulated_parts_make_one_step(tmp_path: Path) -> None:
    """With no term that compares photos, and statistics frozen, two half batches give the whole batch's gradient."""
    config = replace(FIT, epochs=1, sizes=((0.0, 48),), frozen_statistics=True)
    recipe = replace(RECIPE, fit=config, loss=replace(RECIPE.loss, contrastive=0.0))
    data = subset()
    whole = fit(recipe, [data], data, tmp_path / "whole")
    cut = fit(recipe, [data], data, tmp_path / "cut", parts=2)
    rows = [read_log(tmp_path / name)[0] for name in ("whole", "cut")]
    assert rows[0]["loss"] == pytest.approx(rows[1]["loss"], rel=1e-4)
    difference = predict_ages(whole, data, 48) - predict_ages(cut, data, 48)
    assert np.abs(difference).max() < 0.5  # bfloat16


def test_a_run_is_not_resumed_with_other_data_or_another_recipe(tmp_path: Path) -> None:
    data = subset()
    with pytest.raises(Interrupted):
        fit(RECIPE, [data], data, tmp_path, stop_at=1)
    other = replace(data, cache=replace(data.cache, crops=data.cache.crops + 1))
    with pytest.raises(DatasetError, match="other data"):
        fit(RECIPE, [other], data, tmp_path, resume=True)
    with pytest.raises(DatasetError, match="other recipe"):
        fit(replace(RECIPE, fit=replace(FIT, seed=1)), [data], data, tmp_path, resume=True)
    wider = replace(RECIPE, model=replace(tiny.MODEL, prompts=replace(tiny.MODEL.prompts, gamma=0.5)))
    with pytest.raises(DatasetError, match="other network"):
        fit(wider, [data], data, tmp_path, resume=True)


def test_a_run_from_before_the_network_was_put_down_is_resumed(tmp_path: Path) -> None:
    made_of = provenance.describe(RECIPE, [subset()], None, (), processes=1)
    before = {name: value for name, value in made_of.items() if name != "model_sha256"}
    provenance.write(before, tmp_path, resumed=False)
    provenance.write(made_of, tmp_path, resumed=True)
    assert provenance.read(tmp_path) == before


def test_a_loss_that_is_no_number_ends_the_run_and_spoils_no_state(tmp_path: Path) -> None:
    data = subset()
    with pytest.raises(Interrupted):
        fit(RECIPE, [data], data, tmp_path, stop_at=3)
    before = (tmp_path / "state.pt").read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.fit.objective.total_loss", lambda *_, **__: {"loss": torch.tensor(math.nan)})
        patch.setattr(torch.Tensor, "backward", lambda _: None)
        with pytest.raises(
            UsageError, match="no number any more at step 4; lower the recipe's learning_rate"
        ):
            fit(RECIPE, [data], data, tmp_path, resume=True, save_every=0)
    assert (tmp_path / "state.pt").read_bytes() == before


def test_an_epoch_stands_in_the_log_once(tmp_path: Path) -> None:
    """Also where the run ended without saving what came after its last save."""
    data = subset()
    with pytest.raises(Interrupted):
        fit(RECIPE, [data], data, tmp_path, stop_at=3)
    row = {"epoch": 1, "step": 4, "tune_mae": 1.0}
    (tmp_path / "log.jsonl").write_text(json.dumps(row) + "\n")
    fit(RECIPE, [data], data, tmp_path, resume=True)
    assert [row["epoch"] for row in read_log(tmp_path)] == [1, 2]


def test_a_fresh_run_does_not_take_the_state_of_another_and_keeps_it(tmp_path: Path) -> None:
    """Stopped before its first save, it would go on from there."""
    data = subset()
    (tmp_path / "state.pt").write_bytes(b"of another run")
    with pytest.raises(DatasetError, match="do not fill one batch"):
        fit(replace(RECIPE, fit=replace(FIT, batch_size=1000)), [data], data, tmp_path)
    assert not (tmp_path / "state.pt").exists()
    assert (tmp_path / "state-before.pt").read_bytes() == b"of another run"


def test_a_run_leaves_curves_and_a_picture_of_its_first_batch(tmp_path: Path) -> None:
    data = subset()
    fit(replace(RECIPE, fit=replace(FIT, epochs=1)), [data], data, tmp_path)
    curves = EventAccumulator(str(tmp_path / "tensorboard"))
    curves.Reload()
    assert {"loss/loss", "learning rate", "images per second", "tune MAE"} <= set(curves.Tags()["scalars"])
    assert [point.step for point in curves.Scalars("loss/loss")] == [1, 2, 3, 4]
    with Image.open(tmp_path / "samples.png") as picture:
        assert picture.width >= 8 * 48
    made_of = json.loads((tmp_path / "run.json").read_text())
    assert made_of["recipe"]["fit"]["batch_size"] == 8
    assert made_of["data_sha256"] == [data.fingerprint()]


def test_a_signal_stops_after_the_step_and_the_run_goes_on(tmp_path: Path) -> None:
    """A real SIGTERM to a real process, which ends with its state on disk and a sentence."""
    program = textwrap.dedent(
        """
        import os, signal, sys
        from dataclasses import replace
        from pathlib import Path
        from tests.train.fit.two_processes import after_each_step
        from tests.train.made_up import FIT, RECIPE, subset
        from train.fit.loop import Interrupted, fit

        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer)  # takes a byte for each signal

        def wait(step, _):
            if step == 5:
                os.read(reader, 1)

        try:
            with after_each_step(wait):
                fit(replace(RECIPE, fit=replace(FIT, epochs=4)), [subset()], subset(), Path(sys.argv[1]))
        except Interrupted as stop:
            sys.exit(f"{stop}")
        """
    )
    command = [sys.executable, "-c", program, str(tmp_path / "stopped")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stderr=subprocess.PIPE)
    try:
        while process.poll() is None and not (tmp_path / "stopped" / "log.jsonl").exists():
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
    assert re.search(r"Stopped at step \d+ of 16; run it again to go on from there", said)
    recipe, data = replace(RECIPE, fit=replace(FIT, epochs=4)), subset()
    resumed = weights(fit(recipe, [data], data, tmp_path / "stopped", resume=True))
    whole = weights(fit(recipe, [data], data, tmp_path / "whole"))
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_it_learns(tmp_path: Path) -> None:
    """Brightness tells the age; 20 epochs are enough to do far better than the best constant (22.5 years)."""
    data = subset()
    still = AugmentConfig(brightness=0, contrast=0, erase=0, noise=0)
    config = replace(FIT, epochs=20, mixup_share=0.0, sizes=((0.0, 64),), ema_decay=0.95)
    model = fit(replace(RECIPE, fit=config, augment=still), [data], subset(2), tmp_path)
    truth = np.array([sample.age for sample in data.cache.samples])
    assert np.abs(predict_ages(model, data, 64) - truth).mean() < 8


def test_frozen_parts_stay_as_they_were(tmp_path: Path) -> None:
    data = subset()
    config = replace(FIT, epochs=1, rates={"towers.clip": 0.0, "towers.clip.logit_scale": 1.0})
    before = weights(tiny.model())
    after = weights(fit(replace(RECIPE, fit=config), [data], data, tmp_path))
    text = [name for name in before if name.startswith("towers.clip.transformer")]
    assert text
    assert all(torch.equal(before[name], after[name]) for name in text)
    assert not torch.equal(before["fusion.tags"], after["fusion.tags"])


def test_one_epoch_takes_every_photo_once_when_ages_are_not_balanced() -> None:
    data = subset(40)
    rows = draw_rows(data, 0.0, np.random.default_rng(0))
    assert sorted(rows) == list(range(40))
    assert len(draw_rows(replace(data, share=0.6), 0.0, np.random.default_rng(0))) == 24


def test_balanced_epochs_prefer_rare_ages() -> None:
    """30 children and 10 old people; with balance 1 either age makes half of an epoch, none is left to chance."""
    data = subset(40)
    samples = [
        replace(sample, age=10.0 if row < 30 else 80.0) for row, sample in enumerate(data.cache.samples)
    ]
    data = replace(data, cache=replace(data.cache, samples=samples))
    for seed in range(5):
        rows = draw_rows(data, 1.0, np.random.default_rng(seed))
        assert len(rows) == 40
        assert abs((rows >= 30).sum() - 20) <= 1
        assert np.bincount(rows, minlength=40)[30:].min() == 2


def test_depthwise_convolutions_escape_autocast() -> None:
    torch.manual_seed(0)
    convolution = torch.nn.Conv2d(8, 8, 3, groups=8)
    x = torch.randn(2, 8, 9, 9)
    wanted = convolution(x)
    depthwise_in_float32(torch.nn.Sequential(convolution))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(convolution(x), wanted)


@pytest.mark.parametrize("side", [2, 3, 4, 5, 9])
def test_padding_small_maps_changes_nothing(side: int) -> None:
    torch.manual_seed(0)
    convolution = torch.nn.Conv2d(8, 8, 5, padding=2, groups=8)
    x = torch.randn(2, 8, side, side)
    results = []
    for prepare in (lambda tower: None, pad_small_maps):
        prepare(torch.nn.Sequential(convolution))
        convolution.zero_grad()
        convolution(x).square().sum().backward()
        results.append((convolution(x).detach(), convolution.weight.grad, convolution.bias.grad))
    for plain, padded in zip(*results, strict=True):
        torch.testing.assert_close(plain, padded)


@pytest.mark.parametrize("prepare", [pad_small_maps, depthwise_in_float32])
def test_a_copy_of_a_prepared_convolution_has_weights_of_its_own(
    prepare: Callable[[torch.nn.Module], None],
) -> None:
    """As those into which a normalisation is folded."""
    convolution = torch.nn.Conv2d(8, 8, 5, padding=2, groups=8)
    prepare(torch.nn.Sequential(convolution))
    copied = deepcopy(convolution)
    torch.nn.init.zeros_(copied.weight)
    torch.nn.init.zeros_(copied.bias)
    for side in (3, 9):
        x = torch.randn(2, 8, side, side)
        assert not copied(x).any()
        assert convolution(x).any()
