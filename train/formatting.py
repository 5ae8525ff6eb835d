"""How figures are written in tables, cards and JSON files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cilf.checkpoint import readable_json


def span(ends: Sequence[float], form: str) -> str:
    """A range of values that are never negative: "4.46–4.85"."""
    low, high = ends
    return f"{low:{form}}–{high:{form}}"


def signed(value: float, digits: int) -> str:
    """With a sign, except for what rounds to zero."""
    written = f"{value:+z.{digits}f}"
    return written.replace("-", "−") if float(written) else written.removeprefix("+")


def signed_span(ends: Sequence[float], digits: int) -> str:
    """A range of values of either sign: "−0.24 to +0.31"."""
    low, high = ends
    return f"{signed(low, digits)} to {signed(high, digits)}"


def score(row: dict[str, Any], digits: int = 1) -> str:
    """A group's CS@5 in %, with its 95 % range where the report holds one: older reports do not."""
    form = f".{digits}%"
    return f"{row['cs5']:{form}}" + (f" ({span(row['cs5_range'], form)})" if "cs5_range" in row else "")


def with_section(document: str, name: str, content: str) -> str:
    """A Markdown document with `content` between the comments `<!-- name -->` and `<!-- /name -->`.

    Raises ValueError where the document does not have exactly one such pair.
    """
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    if document.count(start) != 1 or document.count(end) != 1:
        raise ValueError(f"the document has no single section between {start} and {end}")
    before, _, rest = document.partition(start)
    return f"{before}{start}\n{content}\n{end}{rest.partition(end)[2]}"


def write_json(values: dict[str, Any], path: Path) -> None:
    """Write JSON values as `readable_json`."""
    path.write_text(readable_json(values), encoding="utf-8")
