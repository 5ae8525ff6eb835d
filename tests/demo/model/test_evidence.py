"""What the Model tab says of weights: the figures of their report, and nothing of a report that is not ours."""

import json
from typing import Any

import pytest

from cilf.checkpoint import REPORT, bundled
from cilf.demo import texts
from cilf.demo.model import evidence
from tests.stand_in import Documented


@pytest.fixture
def report() -> dict[str, Any]:
    """The report of the bundled weights."""
    pieces: dict[str, Any] = json.loads((bundled() / REPORT).read_text(encoding="utf-8"))
    return pieces


def test_the_figures_are_those_of_the_report(report: dict[str, Any]) -> None:
    pieces = evidence.of(Documented("here", report))
    assert f"{report['all']['mae']:.1f} years" in pieces.facts
    for name, row in report["groups"].items():
        if len(name.split()) == 2:
            assert f'<th scope="row">{name.split()[1]}</th><td>{row["count"]:,}</td>' in pieces.measured
    assert "under 18" in pieces.adult
    assert "too young" in pieces.limits


@pytest.mark.parametrize(
    "report",
    [
        None,
        {},
        {"all": {}},
        {"all": 5},
        {"all": {"mae": "<b>", "count": 1}},
        {"groups": {"age x": {}}},
        {"over_18": []},
    ],
)
def test_a_report_that_is_not_ours_counts_as_none(report: Any) -> None:
    pieces = evidence.of(Documented("here", report))
    assert texts.NO_REPORT in pieces.measured
    assert "<b>" not in pieces.facts


def test_words_of_a_report_are_escaped(report: dict[str, Any]) -> None:
    groups = {"age <i>": report["groups"]["age 0–12"], "race <u>": report["groups"]["age 60+"]}
    pieces = evidence.of(Documented("<b>", report | {"groups": groups, "dataset": "<s>"}))
    for piece in (pieces.facts, pieces.measured, pieces.limits):
        assert not any(tag in piece for tag in ("<b>x", "<i>", "<u>", "<s>"))
    assert "&lt;b&gt;" in pieces.facts
