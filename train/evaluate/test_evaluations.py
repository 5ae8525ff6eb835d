"""Evaluations on a `test` part, counted in the file that their figures go to.

Each choice that is made by `test` makes its figures too good; the count says how often there was occasion for one.
"""

import datetime
import json
from pathlib import Path
from typing import Any

LOOKS = "test_looks"


def looks(path: Path) -> list[dict[str, Any]]:
    """The evaluations that the file at `path` has counted; none where there is no file."""
    return json.loads(path.read_text(encoding="utf-8")).get(LOOKS, []) if path.is_file() else []


def with_looks(report: dict[str, Any], path: Path, look: dict[str, Any] | None) -> dict[str, Any]:
    """Add to `report` the evaluations that the file at `path` has counted, and `look`, dated today, where there is one.

    An evaluation holds `dataset`, what was measured (`weights_sha256` or `clip`) and, where ages were, its `mae` in
    years.
    """
    counted = looks(path)
    if look is not None:
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        counted = [*counted, {"date": today, **look}]
    return report | {LOOKS: counted}
