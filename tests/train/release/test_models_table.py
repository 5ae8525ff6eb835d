"""The models table of README takes the time of one crop from where the benchmarks store it."""

from pathlib import Path

import pytest

from cilf.checkpoint import BUNDLED, WEIGHTS, bundled, load
from tests.benchmarks.results import record
from train.release.models_table import _milliseconds, parameters


def test_times_come_as_the_benchmarks_store_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "README.md").write_text("<!-- results -->\n<!-- /results -->\n", encoding="utf-8")
    assert _milliseconds(tmp_path / "results.json") == {}
    rows = {name: {"ms": 10.0 + place, "ms, fastest tenth": 9.0} for place, name in enumerate(BUNDLED)}
    record("one crop", rows, command="command", method="Method.", folder=tmp_path)
    assert _milliseconds(tmp_path / "results.json") == {
        name: 10.0 + place for place, name in enumerate(BUNDLED)
    }


def test_parameters_are_those_of_the_network() -> None:
    for name in ("mtmsa", "lra-gnn"):
        network = sum(value.numel() for value in load(bundled(name)).model.parameters())
        assert parameters(bundled(name) / WEIGHTS) - network in (
            0,
            1,
        )  # the head's temperature is no parameter
