"""The tables and the figure of a sweep, and that each sweep is counted as an evaluation; on the stored sweep."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cilf.checkpoint import bundled
from train.__main__ import main
from train.studies import report
from train.studies.correction_report import calibration, controls, figure, rules


@pytest.fixture
def found() -> dict[str, Any]:
    """The sweep of the bundled checkpoint, without its evaluations on `test`."""
    stored = json.loads((bundled() / "correction.json").read_text(encoding="utf-8"))
    return {name: value for name, value in stored.items() if name != "test_looks"}


def test_a_row_tells_gain_and_harm_on_both_parts() -> None:
    effect = {"mae": 4.6, "share_changed": 0.25, "share_better": 0.15, "share_worse": 0.1}
    tune = effect | {"mean_gain": 0.0131, "gain_range": [-0.0154, 0.0431]}
    test = effect | {"mean_gain": -0.0001, "gain_range": [-0.01, 0.01]}
    said = rules([{"epsilon": 0.5555, "iterations": 5, "tune": tune, "test": test}]).splitlines()
    assert said[2] == (
        "| 0.56 | 5 | 4.600 | 25.0% | 15.0% | 10.0% | +0.013 (−0.015 to +0.043) "
        "| 4.600 | 25.0% | 15.0% | 10.0% | 0.000 (−0.010 to +0.010) |"
    )
    assert said[0].count("|") == said[1].count("|") == said[2].count("|")


def test_tables_have_as_many_columns_as_their_heads(found: dict[str, Any]) -> None:
    for table in (controls(found["controls"]), calibration(found["calibration"])):
        assert len({line.count("|") for line in table.splitlines()}) == 1
        assert len(table.splitlines()) > 3


def test_the_figure_is_drawn(found: dict[str, Any], tmp_path: Path) -> None:
    figure(found, tmp_path / "sweep.png")
    assert (tmp_path / "sweep.png").stat().st_size > 10_000


def test_a_checkpoint_without_further_views_has_nothing_to_sweep(
    found: dict[str, Any], tmp_path: Path
) -> None:
    never = found | {"sweep": [], "shipped_rule": {"epsilon": 4.0, "max_views": 1}}
    assert "what ships never corrects" in report.correction(never)
    figure(never, tmp_path / "sweep.png")
    assert (tmp_path / "sweep.png").is_file()


def test_every_sweep_is_a_look(
    found: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also above a file from before they were counted."""
    checkpoint = SimpleNamespace(config=SimpleNamespace(training={"data": ["utkface"]}))
    monkeypatch.setattr("cilf.checkpoint.load", lambda weights: checkpoint)
    monkeypatch.setattr("train.data.run_data.subset", lambda *arguments, **how: SimpleNamespace(samples=[]))
    outputs = SimpleNamespace(names=())
    monkeypatch.setattr(
        "train.calibrate.predictions.outputs_of_checkpoint", lambda *arguments, **how: outputs
    )
    monkeypatch.setattr("train.studies.correction_sweep.sweep", lambda *arguments: found)
    split, output = tmp_path / "split.csv", tmp_path / "correction.json"
    split.write_text("filename,split,group\n1.jpg,test,g1\n")
    output.write_text(json.dumps(found))
    for _ in range(2):
        assert main(["correction", "--split", str(split), "--output", str(output)]) == 0
    looks = json.loads(output.read_text())["test_looks"]
    assert [look["weights_sha256"] for look in looks] == [found["weights_sha256"]] * 2
    assert looks[0].keys() == {"date", "dataset", "weights_sha256", "mae"}
    assert looks[0]["mae"] == found["controls"]["test"]["base"]["mae"]
