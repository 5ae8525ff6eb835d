"""Looks at a `test` part, counted in the very file that their figures go to.

Whoever chooses by `test`, even by and by, makes its figures too good; the count tells how often there was occasion to.
"""

import datetime
import json
from pathlib import Path
from typing import Any

LOOKS = "test_looks"


def with_looks(found: dict[str, Any], path: Path, look: dict[str, Any] | None) -> dict[str, Any]:
    """`found` with the looks that the file at `path` holds already, and with `look`, dated today, where there is one.

    A look says `dataset`, what was measured (`weights_sha256` or `clip`) and its `mae` in years.
    """
    looks = json.loads(path.read_text(encoding="utf-8")).get(LOOKS, []) if path.is_file() else []
    if look is not None:
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        looks = [*looks, {"date": today, **look}]
    return found | {LOOKS: looks}
