"""Published results and ours, as data (`published.toml`) and as a table. Ours only where somebody measured them."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from cilf.model.registry import FAMILIES
from train.data.datasets import DATASETS
from train.data.protocols import protocols

RESULTS = Path(__file__).parent / "published.toml"
BUNDLED_REPORTS = {
    family.title: Path("checkpoints") / family.bundled / "report.json" for family in FAMILIES.values()
}
NOT_MEASURED = "not measured"
# Ours are shares; published ones are in per cent.
NAMES = {
    "mae": "MAE, years",
    "cs5": "CS@5, %",
    "accuracy": "accuracy, %",
    "one_off": "1-off, %",
    "group_mae": "MAE, groups",
    "epsilon_error": "ε-error",
}
IN_PER_CENT = ("cs5", "accuracy", "one_off")


@dataclass(frozen=True)
class Result:
    """One figure somebody published; the head of `published.toml` explains the fields."""

    system: str
    paper: str
    dataset: str
    division: str
    measure: str
    value: float
    status: Literal["confirmed", "second-hand", "recalled", "measured here"]
    source: str
    protocol: str | None = None


@cache
def published() -> tuple[Result, ...]:
    """All published results, in the file's order."""
    return tuple(Result(**entry) for entry in tomllib.loads(RESULTS.read_text(encoding="utf-8"))["result"])


def measured(path: Path, system: str) -> list[Result]:
    """Results in a report of `python -m train evaluate` or `reproduce`, under the name of our own system."""
    report = json.loads(path.read_text(encoding="utf-8"))
    values = _values(report)
    return [
        Result(
            system=system,
            paper="this repository",
            dataset=report["dataset"],
            division=report.get("division", f"part {report['part']!r} of our own split file"),
            measure=measure,
            value=100 * value if measure in IN_PER_CENT else value,
            status="measured here",
            source=path.name,
            protocol=report.get("protocol"),
        )
        for measure, value in values.items()
    ]


def our_results(entries: Sequence[str]) -> list[Result]:
    """Results of `NAME=FILE.json` entries; without any, of the bundled checkpoints as far as they have reports."""
    files = {name: Path(file) for name, _, file in (entry.partition("=") for entry in entries)}
    files = files or {name: path for name, path in BUNDLED_REPORTS.items() if path.is_file()}
    return [result for name, path in files.items() for result in measured(path, name)]


def _values(report: Mapping[str, Any]) -> dict[str, float]:
    """Of a report: the measures that its labels allow."""
    if "age_groups" in report:
        return {name: report["age_groups"][name] for name in ("accuracy", "one_off", "group_mae")}
    values = {name: report["all"][name] for name in ("mae", "cs5")}
    return values | ({"epsilon_error": report["epsilon_error"]} if "epsilon_error" in report else {})


def table(ours: list[Result], dataset: str | None = None) -> str:
    """Markdown, set by set and protocol by protocol; a protocol that nobody ran here gets a line that says so."""
    lines = [
        "| data set | protocol | division | system | measure | value | known from |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in DATASETS if dataset is None else (dataset,):
        rows = [result for result in (*published(), *ours) if result.dataset == name]
        for own in (*protocols(), None):
            group = [result for result in rows if result.protocol == own]
            lines += [_line(result) for result in group]
            ours_too = any(result.status == "measured here" for result in group)
            if own and protocols()[own].dataset == name and not ours_too:
                lines.append(f"| {name} | `{own}` | {protocols()[own].title} | CILF | | {NOT_MEASURED} | |")
    return "\n".join(lines)


def _line(result: Result) -> str:
    name = f"`{result.protocol}`" if result.protocol else "–"
    return (
        f"| {result.dataset} | {name} | {result.division} | {result.system} | {NAMES[result.measure]} "
        f"| {result.value:.2f} | {result.status}: {result.source} |"
    )
