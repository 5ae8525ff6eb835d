"""prepare → fit → calibrate → evaluate → card for MTMSA, by command, on a small generated set."""

import json
from pathlib import Path

import pytest

from cilf import AgeEstimator
from cilf.checkpoint import load
from tests.train.recipes import RECIPES
from train.__main__ import main

pytestmark = [pytest.mark.usefixtures("quick_calibration"), pytest.mark.training]


def test_from_photos_to_a_model_card(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "mtmsa.toml").write_text(RECIPES["mtmsa"])
    cache, split = ["--cache", str(work / "crops")], ["--split", str(work / "split.csv")]
    data = ["--data", f"utkface={work / 'UTKFace'}"]
    recipe, run, checkpoint = ["--recipe", str(work / "mtmsa.toml")], str(work / "run"), work / "checkpoint"
    report = checkpoint / "report.json"
    assert main(["prepare", *data, *cache, "--size", "48", "--margin", "6", "--processes", "1"]) == 0
    assert main(["fit", *recipe, *cache, *split, "--output", run]) == 0
    calibrate = ["calibrate", *recipe, "--run", run, *cache, *split, "--processes", "1"]
    assert main([*calibrate, "--output", str(checkpoint)]) == 0
    assert main(["evaluate", *data, *split, "--weights", str(checkpoint), "--report", str(report)]) == 0
    assert main(["card", str(checkpoint)]) == 0
    found = json.loads(report.read_text())
    assert found["attributes"]["gender"]["count"] == 6
    assert 0 <= found["attributes"]["race"]["accuracy"] <= 1
    assert "| gender | 6 |" in capsys.readouterr().out
    estimator = AgeEstimator(load(checkpoint))
    assert estimator.kind == "mtmsa"
    assert "# MTMSA" in estimator.card
    assert "| gender | 6 |" in estimator.card
    assert "EfficientNet" not in estimator.card
    [face] = estimator.predict(next((work / "UTKFace").iterdir()), no_face="whole")
    assert len(face.trace) == 1
