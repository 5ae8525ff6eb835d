"""One command a row, on a small generated FG-NET: from photos to the figure, and on from where it was stopped."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cilf.checkpoint import load, save
from tests import tiny
from tests.train import made_up
from tests.train.recipes import RECIPES
from train.__main__ import main
from train.data.datasets import DatasetError, Sample
from train.data.protocols import protocol
from train.evaluate.comparison import read_predictions
from train.fit.loop import Interrupted
from train.studies.reproduce import reproduce

pytestmark = [pytest.mark.usefixtures("quick_calibration"), pytest.mark.training]


@pytest.fixture
def work(tmp_path: Path, grace_hopper: np.ndarray, eileen_collins: np.ndarray) -> Path:
    """Twelve people of three photos each, and a recipe."""
    chips = [
        Image.fromarray(grace_hopper).crop((150, 60, 390, 300)),
        Image.fromarray(eileen_collins).crop((135, 20, 315, 200)),
    ]
    folder = tmp_path / "FGNET" / "images"
    folder.mkdir(parents=True)
    for person in range(12):
        for photo in range(3):
            chip = chips[person % 2].resize((160, 160)).rotate(person + photo - 6)
            chip.save(folder / f"{person:03}A{4 * person + photo:02}.JPG", "JPEG")
    (tmp_path / "tiny.toml").write_text(RECIPES["cilf"].replace("epochs = 2", "epochs = 1"))
    return tmp_path


def test_a_protocol_from_photos_to_its_figure(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = work / "row"
    arguments = ["reproduce", "--protocol", "exclusive-80-20", "--data", f"fgnet={work / 'FGNET'}"]
    arguments += ["--recipe", str(work / "tiny.toml"), "--output", str(output), "--processes", "1"]
    assert main(arguments) == 0
    found = json.loads((output / "report.json").read_text())
    assert found["protocol"] == "exclusive-80-20"
    assert found["all"]["count"] == found["splits"]["exclusive-80-20"]["count"] >= 6
    assert found["all"]["mae"] == pytest.approx(found["splits"]["exclusive-80-20"]["mae"])
    said = capsys.readouterr().out
    assert "exclusive-80-20, mean of 1 split(s): mae" in said
    assert (output / "exclusive-80-20" / "checkpoint" / "model.safetensors").is_file()
    assert {"seed", "commit", "data_sha256"} <= load(
        output / "exclusive-80-20" / "checkpoint"
    ).config.training.keys()
    split = ["--split", str(output / "splits" / "exclusive-80-20.csv")]

    # A second call measures nothing anew; the same figures come out.
    written = (output / "exclusive-80-20" / "predictions.json").stat().st_mtime_ns
    assert main(arguments) == 0
    assert (output / "exclusive-80-20" / "predictions.json").stat().st_mtime_ns == written
    assert json.loads((output / "report.json").read_text()) == found

    # Its checkpoint, split and figures serve the other commands.
    ours = work / "ours.csv"
    evaluate = ["evaluate", "--data", f"fgnet={work / 'FGNET'}", *split]
    evaluate += ["--weights", str(output / "exclusive-80-20" / "checkpoint"), "--predictions", str(ours)]
    assert main(evaluate) == 0
    assert set(read_predictions(ours)["subject"].str.len()) == {3}
    capsys.readouterr()
    assert main(["compare", str(ours), str(ours)]) == 0
    assert "| +0.00 (+0.00 to +0.00) | 1.000 |" in capsys.readouterr().out
    assert main(["show", "published", "--report", f"CILF tiny={output / 'report.json'}"]) == 0
    assert "| CILF tiny | MAE, years |" in capsys.readouterr().out


def test_compare_refuses_what_it_cannot_pair(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_text("filename,age_true,age_pred\na.jpg,5,9\n")
    second.write_text("filename,age_true,age_pred\nb.jpg,5,9\n")
    assert main(["compare", str(first), str(second)]) == 2
    assert "no photo in common" in capsys.readouterr().err
    second.write_text("nothing\n1\n")
    assert main(["compare", str(first), str(second)]) == 2
    assert "b.csv is no CSV file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("learned", "tested"),
    [("fgnet", "fgnet"), ("clap2016", "appa-real"), ("appa-real", "appa-real-apparent")],
)
@pytest.mark.parametrize(
    "training",
    [
        lambda learned: {"data": ["utkface", learned]},
        lambda learned: {"data": ["utkface"], "start": {"data": ["agedb"], "start": {"data": [learned]}}},
    ],
    ids=["itself", "the start of its start"],
)
def test_a_start_that_knows_the_tested_photos_is_refused(
    tmp_path: Path, training: Callable[[str], dict[str, Any]], learned: str, tested: str
) -> None:
    config = replace(tiny.CHECKPOINT, training=training(learned))
    save(tmp_path / "start", tiny.model(), tiny.ensemble(), config)
    samples = [Sample(Path("a.jpg"), "a.jpg", 5.0, None, None, tested, subject="a")]
    with pytest.raises(DatasetError, match=f"has learned from {learned}"):
        reproduce(
            protocol("exclusive-80-20"),
            samples,
            made_up.RECIPE,
            tmp_path / "row",
            start=str(tmp_path / "start"),
        )


def test_a_row_begun_otherwise_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Splits that are done would be taken for what is asked for now."""

    def stop(*_: object) -> None:
        raise Interrupted("stopped")

    monkeypatch.setattr("train.studies.reproduce.prepare", stop)
    monkeypatch.setattr("train.studies.reproduce.FaceFinder", object)
    samples = [
        Sample(Path(f"{n}.jpg"), f"{n}.jpg", 5.0, None, None, "fgnet", subject=f"{n}") for n in range(20)
    ]
    first, other = protocol("exclusive-80-20"), protocol("random-80-20")
    recipe = replace(made_up.RECIPE, fit=replace(made_up.FIT, epochs=9))
    for _ in range(2):
        with pytest.raises(Interrupted):
            reproduce(first, samples, made_up.RECIPE, tmp_path)
    with pytest.raises(DatasetError, match="begun with another seed; go on with the same"):
        reproduce(first, samples, made_up.RECIPE, tmp_path, seed=1)
    with pytest.raises(DatasetError, match="begun with another protocol and recipe;"):
        reproduce(other, samples, recipe, tmp_path)
