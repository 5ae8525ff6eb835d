"""The systems that `python -m train compare-systems` measured on equal terms, in the figures of its SYSTEMS.json."""

from collections.abc import Mapping
from html import escape
from typing import Any

from pydantic_core import from_json

from cilf.demo import texts
from cilf.demo.charts import card, wide_table
from cilf.errors import WeightsError

SYSTEMS = "SYSTEMS.json"  # beside the folders of the bundled checkpoints
HEADINGS = ("System", "Typical error, years", "Better than the control by", "Parameters", "ms a face")


def comparison(report: Mapping[str, Any] | None) -> str:
    """A table with a row for each system and each reading of it, in HTML; empty without a report that is one."""
    try:
        rows = "".join(map(_row, report["end_to_end"])) if report else ""
    except (KeyError, TypeError, ValueError):
        return ""
    if not rows:
        return ""
    body = wide_table("comparison", "Measured errors of all systems", HEADINGS, rows)
    return card("comparison", "On equal terms", body, texts.COMPARISON_LEAD)


def bundled_comparison() -> dict[str, Any] | None:
    """The report that comes with the program; None where there is none."""
    from cilf import checkpoint as weights  # brings ONNX Runtime, for which the page does not wait

    try:
        path = weights.bundled().parent / SYSTEMS
        return dict(from_json(path.read_bytes(), allow_inf_nan=False)) if path.is_file() else None
    except (WeightsError, ValueError, TypeError):
        return None


def _row(row: Mapping[str, Any]) -> str:
    name = f"{row['name']}, {row['reading']}" if row["reading"] else str(row["name"])
    (low, high), gain = row["mae_range"], row["gain_over_control"]
    worst, best = gain["gain_range"]
    return (
        f'<tr><th scope="row">{escape(name)}</th>'
        f'<td><b>{row["mae"]:.2f}</b> <span class="cilf-range-text">({low:.2f}–{high:.2f})</span></td>'
        f'<td>{gain["gain"]:+.2f} <span class="cilf-range-text">({worst:+.2f} to {best:+.2f})</span></td>'
        f"<td>{row['parameters'] / 1e6:.1f} M</td><td>{row['milliseconds']:.0f}</td></tr>"
    )
