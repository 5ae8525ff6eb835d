"""Evaluations on a `test` part, counted in the file that their figures go to.

Each choice that is made by `test` makes its figures too good; the count says how often there was occasion for one.
"""

import datetime
import json
from pathlib import Path
from typing import Any

TEST_EVALUATIONS = "test_looks"


def test_evaluations(path: Path) -> list[dict[str, Any]]:
    """The evaluations that the file at `path` has counted; none where there is no file."""
    return json.loads(path.read_text(encoding="utf-8")).get(TEST_EVALUATIONS, []) if path.is_file() else []


def with_evaluation(report: dict[str, Any], path: Path, evaluation: dict[str, Any] | None) -> dict[str, Any]:
    """Add to `report` the evaluations that the file at `path` has counted, and a new one with the date of today.

    An evaluation holds `dataset`, what was measured (`weights_sha256` or `clip`) and, where ages were, its `mae` in
    years.
    """
    counted = test_evaluations(path)
    if evaluation is not None:
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        counted = [*counted, {"date": today, **evaluation}]
    return report | {TEST_EVALUATIONS: counted}
