"""Measures of point estimates, with no intervals: for prompts alone, and for what a label's own kind asks for."""

from typing import Any

import numpy as np
import pandas as pd

from train.data.datasets import DATASETS, Sample
from train.evaluate.age_groups import as_markdown, group_report
from train.formatting import score, signed, span
from train.metrics import (
    BANDS,
    accuracy,
    bootstrap_range,
    cumulative_curve,
    epsilon_error,
    score_range,
    within,
)


def labels(sample: Sample) -> dict[str, Any]:
    """What is known of a photo, as the first columns of a table of predictions."""
    return {
        "name": sample.name,
        "truth": float(sample.age),
        "gender": sample.gender,
        "race": sample.race,
        "subject": sample.subject,
        "group": sample.group,
        "deviation": sample.deviation,
    }


def units(table: pd.DataFrame) -> list[str] | None:
    """What the rows' ranges are drawn from: people where the set tells them apart, else photos, of which some protocols
    test one more than once; None where each row is a unit of its own."""
    if table["subject"].notna().all():
        return list(table["subject"])
    return None if table["name"].is_unique else list(table["name"])


def by_label(table: pd.DataFrame, dataset: str) -> dict[str, Any]:
    """What the kind of a set's labels asks for: the CS(θ) curve for ages, accuracy and 1-off for age groups (whose
    middle is all that an error in years could be measured against), the ε-error for means of votes."""
    truth, age = (table[column].to_numpy(dtype=np.float64) for column in ("truth", "age"))
    measures: dict[str, Any] = {"cs_curve": cumulative_curve(truth, age)}
    if table["group"].notna().all():
        groups = DATASETS[dataset].facts.groups
        measures["age_groups"] = group_report(table["group"].to_numpy(dtype=np.int64), age, groups)
    if table["deviation"].notna().all():
        measures["epsilon_error"] = epsilon_error(truth, age, table["deviation"].to_numpy(dtype=np.float64))
    return measures


def point_report(table: pd.DataFrame, *, dataset: str, part: str, **about: Any) -> dict[str, Any]:
    """Errors of all photos and by true age, gender and race, as JSON values; `about` is put in front."""
    groups = {f"age {name}": table[within(table["truth"].to_numpy(), *ages)] for name, ages in BANDS.items()}
    for column in ("gender", "race"):
        groups |= {f"{column} {value}": rows for value, rows in table.groupby(column)}
    return {
        **about,
        "dataset": dataset,
        "part": part,
        "all": _measure(table),
        "detected": int(table["detected"].sum()),
        "groups": {name: _measure(rows) for name, rows in groups.items() if len(rows)},
        **by_label(table, dataset),
    }


def _measure(rows: pd.DataFrame) -> dict[str, Any]:
    truth, age = (rows[column].to_numpy(dtype=np.float64) for column in ("truth", "age"))
    return {
        "count": len(rows),
        **accuracy(truth, age),
        "mae_range": bootstrap_range(np.abs(age - truth), units(rows)),
        "cs5_range": score_range(truth, age, units(rows)),
    }


def table(report: dict[str, Any]) -> str:
    """A point report in Markdown."""
    lines = ["| photos | count | MAE, years (95 % range) | bias | CS@5 (range) |", "|---|---|---|---|---|"]
    for name, row in {"all": report["all"], **report["groups"]}.items():
        lines.append(
            f"| {name} | {row['count']} | {row['mae']:.2f} ({span(row['mae_range'], '.2f')}) "
            f"| {signed(row['bias'], 2)} | {score(row)} |"
        )
    return "\n".join(lines) + label_table(report)


def label_table(report: dict[str, Any]) -> str:
    """Measures of `by_label` for below a table; empty where there is only the CS(θ) curve."""
    text = ""
    if "age_groups" in report:
        text += "\n\nThe labels are age groups; errors in years are against their middles.\n\n" + as_markdown(
            report["age_groups"]
        )
    if "epsilon_error" in report:
        text += f"\n\nε-error {report['epsilon_error']:.3f}"
    return text
