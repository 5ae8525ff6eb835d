"""The benchmarks' figures: kept in `results.json`, and shown as tables in this folder's README.

Every benchmark records its own figures; those of the others stay as they are. `python -m tests.benchmarks.results`
writes README again from `results.json`.
"""

import json
import math
import os
import subprocess
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from train.formatting import with_section

FOLDER = Path(__file__).parent
README, RESULTS = "README.md", "results.json"

Rows = Mapping[str, Mapping[str, float]]
"""What was measured → column (with its unit) → value."""


def record(benchmark: str, rows: Rows, *, command: str, method: str, folder: Path = FOLDER) -> None:
    """Print and store the figures of one benchmark, and write README.

    Args:
        benchmark: its title.
        rows: the figures; rows that an earlier call stored and this one does not name are kept.
        command: what measures them.
        method: how, in one sentence.
        folder: where `results.json` and README lie.
    """
    results = read(folder)
    earlier = results.get(benchmark, {}).get("rows", {})
    results[benchmark] = {
        "command": command,
        "method": method,
        "date": date.today().isoformat(),
        "commit": _commit(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "rows": earlier | {name: dict(row) for name, row in rows.items()},
    }
    (folder / RESULTS).write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    write(folder)
    print(f"\n{_section(benchmark, results[benchmark])}")


def read(folder: Path = FOLDER) -> dict[str, Any]:
    """All stored figures by benchmark; none where nothing was recorded."""
    path = folder / RESULTS
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def write(folder: Path = FOLDER) -> None:
    """Write the tables into README between the comments `<!-- results -->` and `<!-- /results -->`."""
    path = folder / README
    path.write_text(
        with_section(path.read_text(encoding="utf-8"), "results", tables(read(folder))), encoding="utf-8"
    )


def tables(results: Mapping[str, Any]) -> str:
    """Markdown: a heading, a sentence and a table for each benchmark."""
    return "\n\n".join(_section(name, entry) for name, entry in results.items()) or "Nothing recorded yet."


def _section(name: str, entry: Mapping[str, Any]) -> str:
    rows: Rows = entry["rows"]
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    lines = [f"| | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    lines += [
        f"| {what} | {' | '.join(number(row[column]) if column in row else '–' for column in columns)} |"
        for what, row in rows.items()
    ]
    machine = f"{entry['cores']} cores of {entry['processor']}"
    measured = f"`{entry['command']}`, {entry['date']}, commit {entry['commit']}, {machine}."
    return "\n".join([f"## {name}", "", entry["method"], "", measured, "", *lines])


def number(value: float) -> str:
    """Three significant digits, but whole numbers from 100 up, and at most three decimals."""
    digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:,.{min(3, max(0, digits))}f}"


def _commit() -> str:
    """The checkout's commit, short."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=True).stdout.strip()


def _processor() -> str:
    """The processor's name, from Linux's account of it."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )


if __name__ == "__main__":
    write()
