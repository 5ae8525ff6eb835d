"""Runs on one data set, measured on another, put together."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from train.__main__ import main
from train.data.datasets import DatasetError
from train.studies.cross_dataset import table, together
from train.studies.report import studies

TRUTH = [20.0, 30.0, 40.0, 50.0]


def finished_run(folder: Path, recipe: str, off: float, **changed: Any) -> Path:
    """A run all of whose ages are `off` years too high."""
    folder.mkdir()
    report = {
        "recipe": recipe,
        "trained_on": "here",
        "training_photos": 100,
        "size": 96,
        "epochs": 4.0,
        "batch_size": 128,
        "seed": 0,
        "measured_on": "there",
        "photos": 4,
        "mae": off,
        "mae_range": [off, off],
        "bias": off,
        "cs5": float(off <= 5),
        "adults": {"mae": off},
        **changed,
    }
    (folder / "report.json").write_text(json.dumps(report))
    made_of = {"commit": "0123456789", "uncommitted_changes": recipe == "new", "data_sha256": ["f00"]}
    (folder / "run.json").write_text(json.dumps(made_of))
    names = [f"{age:.0f}.jpg" for age in TRUTH]
    rows = pd.DataFrame({"filename": names, "age_true": TRUTH, "age_pred": [age + off for age in TRUTH]})
    rows.to_csv(folder / "predictions.csv", index=False)
    return folder


def test_a_run_is_compared_with_those_after_it(tmp_path: Path) -> None:
    first, second = finished_run(tmp_path / "a", "new", 4.0), finished_run(tmp_path / "b", "old", 5.0)
    measured = together([first, second])
    [gain] = measured["gains"]
    assert (gain["recipe"], gain["against"]) == ("new", "old")
    assert gain["gain"] == pytest.approx(1.0)
    assert gain["range"] == pytest.approx((1.0, 1.0))
    assert gain["share"] == pytest.approx(0.2)
    text = table(measured)
    assert "| here | there (4 photos) | `new` | 4.00 (4.00–4.00) | +4.00 | 100.0% | 4.00 |" in text
    assert (
        "here → there: gain of `new` over `old` +1.00 years (+1.00 to +1.00), +20.0 % of the latter's error"
        in text
    )


def test_runs_that_learned_or_were_measured_otherwise_are_not_compared(tmp_path: Path) -> None:
    runs = [
        finished_run(tmp_path / "a", "new", 4.0),
        finished_run(tmp_path / "b", "old", 5.0, epochs=8.0),
        finished_run(tmp_path / "d", "old", 5.0, size=128),
        finished_run(tmp_path / "c", "new", 4.0, trained_on="there", measured_on="here"),
    ]
    measured = together(runs)
    assert len(measured["runs"]) == 4
    assert measured["gains"] == []


def test_an_unfinished_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no finished run"):
        together([tmp_path])


def test_the_command_writes_what_the_studies_show(tmp_path: Path) -> None:
    runs = [str(finished_run(tmp_path / name, name, off)) for name, off in (("new", 4.0), ("old", 5.0))]
    output = tmp_path / "cross-dataset.json"
    assert main(["studies", "cross-dataset", *runs, "--output", str(output)]) == 0
    text = studies(tmp_path)
    assert "Do ages hold on photos from elsewhere?" in text
    assert "4 epochs with 1\nseed(s)" in text
    assert "at 96 px" in text
    assert "commit 0123456 with changes and 0123456, put together" in text
