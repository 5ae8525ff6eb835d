"""prepare → fit → calibrate → evaluate → card for MTMSA, by command, on a small generated set."""

import json
from pathlib import Path

import pytest

from cilf import AgeEstimator
from tests.train.test_pipeline import work  # noqa: F401 - a fixture
from train.__main__ import main

pytestmark = pytest.mark.training

RECIPE = """
[data.utkface]
share = 1.0
[model]
kind = "mtmsa"
image_size = 48
trunk = "test_resnet"
dilations = [1, 2]
width = 16
reduction = 4
[loss]
[augment]
[fit]
batch_size = 4
epochs = 2
learning_rate = 1e-3
weight_decay = 0.01
warmup = 0.1
ema_decay = 0.9
mixup = 0.4
mixup_share = 0.5
sizes = [[0.0, 48]]
precision = "bf16"
seed = 0
"""


def test_from_photos_to_a_model_card(work: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    (work / "mtmsa.toml").write_text(RECIPE)
    cache, split = ["--cache", str(work / "crops")], ["--split", str(work / "split.csv")]
    data = ["--data", f"utkface={work / 'UTKFace'}"]
    recipe, run, checkpoint = ["--recipe", str(work / "mtmsa.toml")], str(work / "run"), work / "checkpoint"
    report = checkpoint / "report.json"
    assert main(["prepare", *data, *cache, "--size", "48", "--margin", "6", "--processes", "1"]) == 0
    assert main(["fit", *recipe, *cache, *split, "--output", run]) == 0
    assert main(["calibrate", *recipe, "--run", run, *cache, *split, "--output", str(checkpoint)]) == 0
    assert main(["evaluate", *data, *split, "--weights", str(checkpoint), "--report", str(report)]) == 0
    assert main(["card", str(checkpoint)]) == 0
    found = json.loads(report.read_text())
    assert found["attributes"]["gender"]["count"] == 6
    assert 0 <= found["attributes"]["race"]["accuracy"] <= 1
    assert "| gender | 6 |" in capsys.readouterr().out
    estimator = AgeEstimator.from_pretrained(checkpoint)
    assert estimator.kind == "mtmsa"
    assert "# MTMSA" in estimator.card
    assert "| gender | 6 |" in estimator.card
    assert "EfficientNet" not in estimator.card
    [face] = estimator.predict(next((work / "UTKFace").iterdir()), no_face="whole")
    assert len(face.trace) == 1
