"""One command a row, on a small generated FG-NET: from photos to the figure, and on from where it was stopped."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.train.test_pipeline import RECIPE
from train.__main__ import main
from train.rivals import read_predictions


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
    (tmp_path / "tiny.toml").write_text(RECIPE.replace("epochs = 2", "epochs = 1"))
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
