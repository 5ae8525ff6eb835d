"""Evaluations on a `test` part, counted in the file that their figures go to.

Each choice that is made by `test` makes its figures too good; the count says how often there was occasion for one.
"""

import datetime
import json
from pathlib import Path
from typing import Any

LOOKS = "test_looks"


def with_looks(report: dict[str, Any], path: Path, look: dict[str, Any] | None) -> dict[str, Any]:
    """Add to `report` the evaluations that the file at `path` has counted, and `look`, dated today, where there is one.

    An evaluation holds `dataset`, what was measured (`weights_sha256` or `clip`) and, where ages were, its `mae` in
    years.
    """
    looks = json.loads(path.read_text(encoding="utf-8")).get(LOOKS, []) if path.is_file() else []
    if look is not None:
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        looks = [*looks, {"date": today, **look}]
    return report | {LOOKS: looks}
