"""Trainings that differ in their seeds alone, side by side."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.train import made_up
from train.__main__ import main
from train.studies.report import studies
from train.studies.seeds import MEAN, START, compare, table


def test_mean_and_deviation_are_of_the_seeds_alone() -> None:
    parts = [made_up.subset(16), made_up.subset(8)]
    truth = np.array([sample.age for part in parts for sample in part.samples])
    ages = {START: truth + 9, "seed 0": truth + 1, "seed 1": truth - 3, MEAN: truth - 1}
    report = compare(ages, parts, {})
    assert report["photos"] == 24
    assert [report["networks"][name]["mae"] for name in ages] == pytest.approx([9, 1, 3, 1])
    assert report["mean"]["mae"] == pytest.approx(2)
    assert report["deviation"]["mae"] == pytest.approx(np.sqrt(2))
    assert report["mean"]["bias"] == pytest.approx(-1)
    assert report["differ"] == pytest.approx(np.sqrt(8))  # of two ages four years apart
    assert report["gain"] == pytest.approx(1)
    assert report["gain_range"] == pytest.approx((1, 1))
    text = table(report)
    assert "| start | 9.000 | 9.000 | 0.0% | +9.00 |" in text
    assert "| their standard deviation | 1.414 | 1.414 | 0.0 points | 2.83 |" in text
    assert "have a standard deviation of 2.83 years" in text
    assert "gains +1.000 years over one seed on average (+1.000 to +1.000, 24 photos)" in text


@pytest.mark.training
@pytest.mark.usefixtures("quick_calibration")
def test_the_command_measures_runs_and_their_mean(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache, split = ["--cache", str(work / "crops")], ["--split", str(work / "split.csv")]
    recipe, first = ["--recipe", str(work / "tiny.toml")], work / "first"
    assert main(["fit", *recipe, *cache, *split, "--output", str(work / "run")]) == 0
    views = ["--views", str(work / "views"), "--processes", "1"]
    calibrate = ["calibrate", *recipe, *cache, *split, *views]
    assert main([*calibrate, "--run", str(work / "run"), "--output", str(first)]) == 0
    start, runs = ["--start", str(first)], [str(work / f"seed-{seed}") for seed in (3, 4)]
    for seed, run in zip(("3", "4"), runs, strict=True):
        assert main(["fit", *recipe, *cache, *split, *start, "--seed", seed, "--output", run]) == 0
    measure = ["studies", "seeds", "--recipe", str(work / "tiny.toml"), *start, *cache, *split]
    assert main([*measure, runs[0], "--output", str(first / "seeds.json")]) == 2
    assert "two seeds at least" in capsys.readouterr().err
    assert main([*measure, *runs, "--output", str(first / "seeds.json")]) == 0
    report = json.loads((first / "seeds.json").read_text(encoding="utf-8"))
    assert report["seeds"] == [3, 4]
    assert list(report["networks"]) == [START, "seed 3", "seed 4", MEAN]
    assert report["networks"]["seed 3"] != report["networks"]["seed 4"]
    assert table(report) in studies(first)
