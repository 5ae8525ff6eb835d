"""The table of all systems on the Model tab."""

from typing import Any

import pytest

from cilf.demo.model.comparison import comparison

ROW: dict[str, Any] = {
    "name": "LRA-GNN",
    "reading": "without the walk",
    "mae": 5.123,
    "mae_range": [4.9, 5.35],
    "gain_over_control": {"gain": -0.2, "gain_range": [-0.41, -0.002]},
    "parameters": 4_321_000,
    "milliseconds": 12.4,
    "graph": False,
}


def test_a_system_is_shown_with_its_ranges() -> None:
    shown = comparison({"end_to_end": [ROW, ROW | {"name": "<b>", "reading": ""}]})
    for text in (
        "LRA-GNN, without the walk",
        "<b>5.12</b>",
        "(4.90–5.35)",
        "−0.20",
        "(−0.41 to 0.00)",
        "4.3 M",
        "12 (no graph)",
    ):
        assert text in shown
    assert "&lt;b&gt;" in shown
    assert "compact rebuilds" in shown


@pytest.mark.parametrize(
    "report", [None, {}, {"end_to_end": []}, {"end_to_end": [{"name": "x"}]}, {"end_to_end": 3}]
)
def test_without_a_report_nothing_is_shown(report: Any) -> None:
    assert comparison(report) == ""
