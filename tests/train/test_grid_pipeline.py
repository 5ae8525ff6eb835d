"""prepare → fit → calibrate → evaluate → card for LRA-GNN and MCGRL, by command, on a small generated set; and with
`export` before `evaluate`."""

from pathlib import Path

import pytest

from cilf import AgeEstimator
from cilf.checkpoint import load
from tests.train.recipes import RECIPES
from train.__main__ import main

pytestmark = [pytest.mark.usefixtures("quick_calibration"), pytest.mark.training, pytest.mark.slow]


@pytest.mark.parametrize("exports", [False, pytest.param(True, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", ["lra-gnn", "mcgrl"])
def test_from_photos_to_a_model_card(kind: str, exports: bool, work: Path) -> None:
    (work / f"{kind}.toml").write_text(RECIPES[kind])
    cache, split = ["--cache", str(work / "crops")], ["--split", str(work / "split.csv")]
    data = ["--data", f"utkface={work / 'UTKFace'}"]
    recipe, run, checkpoint = ["--recipe", str(work / f"{kind}.toml")], str(work / "run"), work / "checkpoint"
    report = checkpoint / "report.json"
    assert main(["prepare", *data, *cache, "--size", "48", "--margin", "6", "--processes", "1"]) == 0
    assert main(["fit", *recipe, *cache, *split, "--output", run]) == 0
    calibrate = ["calibrate", *recipe, "--run", run, *cache, *split, "--processes", "1"]
    assert main([*calibrate, "--output", str(checkpoint)]) == 0
    assert not exports or main(["export", str(checkpoint)]) == 0
    assert main(["evaluate", *data, *split, "--weights", str(checkpoint), "--report", str(report)]) == 0
    assert main(["card", str(checkpoint)]) == 0
    loaded = load(checkpoint)
    assert (loaded.graph is not None) == exports
    estimator = AgeEstimator(loaded)
    assert estimator.kind == kind
    assert not estimator.compares_texts
    assert "compact rebuild" in estimator.card
    assert "compares no prompts" in estimator.card
    [face] = estimator.predict(next((work / "UTKFace").iterdir()), no_face="whole")
    assert len(face.trace) == 1
    low, high = face.interval
    assert low <= face.age <= high
