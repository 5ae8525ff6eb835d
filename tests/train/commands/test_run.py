"""`python -m train run`: from photos to a checkpoint with report and card, and on from where it stopped."""

import json
from pathlib import Path

import pytest

from cilf.checkpoint import load, read_config
from tests.train.recipes import RECIPES
from train.__main__ import main

pytestmark = [pytest.mark.usefixtures("quick_calibration"), pytest.mark.training]

RECIPE = RECIPES["cilf"]
DISTILLED = RECIPE.replace("[loss]\n", "[loss]\ndistillation = 0.5\n").replace("epochs = 2", "epochs = 1")


@pytest.fixture
def arguments(work: Path) -> list[str]:
    """The command for a pipeline of two stages: the second starts from the first, learns from it, and is averaged."""
    (work / "first.toml").write_text(RECIPE)
    (work / "second.toml").write_text(DISTILLED)
    (work / "tiny.toml").write_text(
        f"""
crop_size = 48
[[stages]]
recipe = "{work / "first.toml"}"
[[stages]]
recipe = "{work / "second.toml"}"
start = "first"
teachers = ["first"]
averaging = true
"""
    )
    photos = ["--data", f"utkface={work / 'UTKFace'}", "--split", str(work / "split.csv")]
    folders = ["--cache", str(work / "crops"), "--folder", str(work / "runs"), "--processes", "1"]
    return ["run", str(work / "tiny.toml"), *photos, *folders]


def test_a_pipeline_makes_a_checkpoint_and_goes_on_where_it_stopped(
    arguments: list[str],
    work: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    checkpoint = work / "runs" / "checkpoint"
    assert main(arguments) == 0
    report = json.loads((checkpoint / "report.json").read_text())
    assert (report["part"], report["all"]["count"], report["test_looks"]) == ("tune", 6, [])
    training = read_config(checkpoint).training
    assert training["start"]["recipe"]["fit"]["epochs"] == 2
    assert len(training["teachers"]) == 1
    assert 0 <= training["share_of_start"] < 1
    assert "model-index" in load(checkpoint).card

    files = [checkpoint / "model.safetensors", work / "runs" / "first" / "state.pt"]
    before = [file.stat().st_mtime_ns for file in files]
    assert main([*arguments, "--test"]) == 0
    assert [file.stat().st_mtime_ns for file in files] == before
    report = json.loads((checkpoint / "report.json").read_text())
    assert (report["part"], len(report["test_looks"])) == ("test", 1)

    (work / "first.toml").write_text(RECIPE.replace("seed = 0", "seed = 1"))
    assert main(arguments) == 2
    assert "was begun with other recipe" in capsys.readouterr().err


def test_every_data_set_of_the_recipes_is_asked_for(
    arguments: list[str],
    work: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (work / "first.toml").write_text(RECIPE + "[data.all-age-faces]\nshare = 1.0\n")
    assert main(arguments) == 2
    assert "learns from all-age-faces too" in capsys.readouterr().err
