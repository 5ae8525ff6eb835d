"""The systems that `python -m train compare-systems` measured side by side, in the figures of its SYSTEMS.json."""

from collections.abc import Mapping
from html import escape
from typing import Any

from pydantic_core import from_json

from cilf.demo import texts
from cilf.demo.charts import card, wide_table
from cilf.errors import WeightsError

SYSTEMS = "SYSTEMS.json"  # beside the folders of the bundled checkpoints
HEADINGS = ("System", "Mean absolute error, years", "Better than the control by", "Parameters", "ms a crop")


def comparison(report: Mapping[str, Any] | None) -> str:
    """A table with a row for each system and each reading of it, in HTML; empty without a report that is one."""
    try:
        rows = "".join(map(_row, report["end_to_end"])) if report else ""
    except (KeyError, TypeError, ValueError):
        return ""
    if not rows:
        return ""
    body = wide_table("comparison", "Measured errors of all systems", HEADINGS, rows)
    return card("comparison", "Side by side", body, texts.COMPARISON_LEAD)


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
        f"<td>{_signed(gain['gain'])} "
        f'<span class="cilf-range-text">({_signed(worst)} to {_signed(best)})</span></td>'
        f"<td>{row['parameters'] / 1e6:.1f} M</td>"
        f"<td>{row['milliseconds']:.0f}{'' if row['graph'] else ' (no graph)'}</td></tr>"
    )


def _signed(years: float) -> str:
    """With a sign and two decimals, but no sign of what is rounded to 0."""
    text = f"{years:+.2f}".replace("-", "−")
    return "0.00" if text[1:] == "0.00" else text
