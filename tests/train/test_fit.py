"""The training loop: it learns, and stopping and resuming changes nothing."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests import tiny
from train.augment import AugmentConfig
from train.cache import CropCache, Subset
from train.datasets import Sample
from train.fit import Interrupted, fit
from train.loading import draw_rows
from train.losses import LossConfig
from train.optimise import depthwise_in_float32
from train.recipe import FitConfig, Recipe
from train.system import predict_ages

ROOT = Path(__file__).parents[2]
FIT = FitConfig(
    batch_size=8,
    epochs=2,
    learning_rate=3e-3,
    weight_decay=0.01,
    warmup=0.1,
    ema_decay=0.9,
    mixup=0.4,
    mixup_share=0.5,
    sizes=((0.0, 48), (0.5, 64)),
    precision="fp32",
    seed=0,
)
RECIPE = Recipe({"utkface": 1.0}, tiny.MODEL, LossConfig(), AugmentConfig(), FIT)


def subset(count: int = 32) -> Subset:
    """Grey pictures that are the brighter the older."""
    ages = np.linspace(0, 90, count).round()
    crops = np.broadcast_to((ages * 2 + 30).astype(np.uint8)[:, None, None, None], (count, 80, 80, 3)).copy()
    samples = [
        Sample(Path(f"{i}.jpg"), f"{i}.jpg", float(age), ("male", "female")[i % 2], "white", "utkface")
        for i, age in enumerate(ages)
    ]
    return Subset(CropCache(samples, crops, 8, np.ones(count, dtype=bool)), np.arange(count))


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("stop", [1, 3, 4, 6])
def test_stopping_and_resuming_gives_the_same_weights(tmp_path: Path, stop: int) -> None:
    """In mid-epoch, at its end, and across a change of picture size."""
    data = subset()
    whole = weights(fit(RECIPE, [data], data, tmp_path / "whole"))
    with pytest.raises(Interrupted):
        fit(RECIPE, [data], data, tmp_path / "parts", stop_at=stop)
    resumed = weights(fit(RECIPE, [data], data, tmp_path / "parts", resume=True))
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_a_signal_stops_after_the_step_and_the_run_goes_on(tmp_path: Path) -> None:
    """A real SIGTERM to a real process, which ends with its state on disk and a sentence."""
    program = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from dataclasses import replace
        from tests.train.test_fit import RECIPE, FIT, subset, weights
        from train.fit import Interrupted, fit
        import torch
        recipe = replace(RECIPE, fit=replace(FIT, epochs=int(sys.argv[2])))
        data = subset()
        try:
            model = fit(recipe, [data], data, Path(sys.argv[1]), resume=True)
        except Interrupted as stop:
            sys.exit(f"{stop}")
        torch.save(weights(model), Path(sys.argv[1]) / "weights.pt")
        """
    )
    epochs = 12
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    def start(folder: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", program, str(folder), str(epochs)]
        return subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stderr=subprocess.PIPE)

    stopped = start(tmp_path / "stopped")
    try:
        while stopped.poll() is None and not (tmp_path / "stopped" / "log.jsonl").exists():
            time.sleep(0.02)
        stopped.send_signal(signal.SIGTERM)
        _, said = stopped.communicate(timeout=120)
    finally:
        stopped.kill()
    assert "continue with --resume" in said
    for name in ("stopped", "whole"):
        process = start(tmp_path / name)
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
    resumed, whole = (
        torch.load(tmp_path / name / "weights.pt", weights_only=True) for name in ("stopped", "whole")
    )
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_it_learns(tmp_path: Path) -> None:
    """Brightness tells the age; 40 epochs are enough to do far better than the best constant (22.5 years)."""
    data = subset()
    still = AugmentConfig(brightness=0, contrast=0, erase=0, noise=0)
    config = replace(FIT, epochs=40, mixup_share=0.0, sizes=((0.0, 64),), ema_decay=0.95)
    model = fit(replace(RECIPE, fit=config, augment=still), [data], data, tmp_path)
    truth = np.array([sample.age for sample in data.cache.samples])
    assert np.abs(predict_ages(model, data, 64) - truth).mean() < 11


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
