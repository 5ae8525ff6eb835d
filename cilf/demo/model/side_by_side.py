"""The systems that come with the program, side by side, in the figures of their reports."""

from collections.abc import Mapping
from html import escape
from typing import Any

from cilf.demo import texts
from cilf.demo.charts import card, wide_table
from cilf.errors import WeightsError


def side_by_side(reports: Mapping[str, Mapping[str, Any] | None]) -> str:
    """A table with a row for each bundled checkpoint, in HTML; empty where only one is there.

    Args:
        reports: name → evaluation report, None where there is none.
    """
    if len(reports) < 2:
        return ""
    rows = "".join(_row(name, report) for name, report in reports.items())
    headings = ("Weights", "Mean absolute error, years", "Within 5 years", "Interval holds")
    body = wide_table("systems", "Measured errors of the bundled systems", headings, rows)
    return card("systems", "Systems", body, texts.SYSTEMS_LEAD)


def bundled_reports() -> dict[str, dict[str, Any] | None]:
    """Name → report of every checkpoint that this installation has."""
    from cilf import checkpoint as weights  # brings ONNX Runtime, for which the page does not wait

    reports: dict[str, dict[str, Any] | None] = {}
    for name in weights.BUNDLED:
        try:
            reports[name] = weights.read_report(weights.bundled(name))
        except WeightsError:
            continue
    return reports


def _row(name: str, report: Mapping[str, Any] | None) -> str:
    try:
        cells = _figures(report["all"]) if report else None
    except (KeyError, TypeError, ValueError):
        cells = None
    cells = cells or '<td colspan="3">not measured</td>'
    return f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>'


def _figures(row: Mapping[str, Any]) -> str:
    low, high = row["mae_range"]
    return (
        f'<td><b>{row["mae"]:.2f}</b> <span class="cilf-range-text">({low:.2f}–{high:.2f})</span></td>'
        f"<td>{100 * row['cs5']:.0f} %</td><td>{100 * row['interval']['coverage']:.0f} %</td>"
    )
