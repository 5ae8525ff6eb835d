"""The two systems that come with the program, side by side, in the figures of their reports."""

from collections.abc import Mapping
from html import escape
from typing import Any

from cilf.demo import texts
from cilf.errors import WeightsError


def side_by_side(reports: Mapping[str, Mapping[str, Any] | None]) -> str:
    """A table with a row for each bundled checkpoint, in HTML; empty where only one is there.

    Args:
        reports: name → evaluation report, None where there is none.
    """
    if len(reports) < 2:
        return ""
    rows = "".join(_row(name, report) for name, report in reports.items())
    return f"""
<section class="cilf-card" aria-labelledby="cilf-systems"><h2 id="cilf-systems">Two systems</h2>
  <p class="cilf-lead">{texts.SYSTEMS_LEAD}</p>
  <div class="cilf-wide" tabindex="0" role="region" aria-labelledby="cilf-systems"><table class="cilf-table">
    <caption class="cilf-hidden">Measured errors of the bundled systems</caption>
    <thead><tr><th scope="col">Weights</th><th scope="col">Typical error, years</th>
    <th scope="col">Within 5 years</th><th scope="col">Interval holds</th></tr></thead>
    <tbody>{rows}</tbody>
  </table></div>
</section>"""


def bundled_reports() -> dict[str, dict[str, Any] | None]:
    """Name → report of every checkpoint that this installation has."""
    from cilf import checkpoint as weights  # brings PyTorch, for which the page does not wait

    found: dict[str, dict[str, Any] | None] = {}
    for name in weights.BUNDLED:
        try:
            found[name] = weights.read_report(weights.bundled(name))
        except WeightsError:
            continue
    return found


def _row(name: str, report: Mapping[str, Any] | None) -> str:
    try:
        measured = _figures(report["all"]) if report else None
    except (KeyError, TypeError, ValueError):
        measured = None
    cells = measured or '<td colspan="3">not measured</td>'
    return f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>'


def _figures(row: Mapping[str, Any]) -> str:
    low, high = row["mae_range"]
    return (
        f'<td><b>{row["mae"]:.2f}</b> <span class="cilf-range-text">({low:.2f}–{high:.2f})</span></td>'
        f"<td>{100 * row['cs5']:.0f} %</td><td>{100 * row['interval']['coverage']:.0f} %</td>"
    )
