"""Measure a checkpoint on labelled photos, through the same door that users take.

Every photo goes through `AgeEstimator.predict` as a file, with the whole picture as the face where none is found; the
largest box counts where there are several. Each evaluation on a `test` part is written into the report.
"""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from cilf.distribution import distribution_at, standard_deviation
from cilf.errors import PhotoError
from cilf.estimator import AgeEstimator
from cilf.prediction import FacePrediction
from train.data.datasets import DatasetError, Sample
from train.evaluate.point_report import BANDS, by_label, labels, units
from train.evaluate.test_evaluations import with_evaluation
from train.forecast_metrics import calibration_report, crps, evidence_report
from train.formatting import score, signed, signed_span, span
from train.metrics import decision_quality, summary, within

log = logging.getLogger(__name__)

ADULT = 18  # years
LIMITS = (13, 16, 18, 21, 25)  # years that ages are most asked to be over
LEVELS = (0.5, 0.8, 0.9, 0.95)  # coverages that intervals are measured at


def predict(
    estimator: AgeEstimator,
    samples: list[Sample],
    also: Callable[[FacePrediction], dict[str, Any]] = lambda face: {},
) -> pd.DataFrame:
    """One row per sample: its name and labels, what the estimator says of its largest face, and what `also` adds.

    A photo that cannot be read is left out with a warning, as `prepare` does. Raises DatasetError when none can.
    """
    rows = []
    for sample in tqdm(samples, desc="evaluate", unit="photo"):
        try:
            face = max(estimator.predict(sample.path, no_face="whole"), key=_area)
        except PhotoError as error:
            log.warning("left out: %s", error)
            continue
        low, high = face.interval
        rows.append(
            {
                **labels(sample),
                "age": face.age,
                "initial_age": face.initial_age,
                "age_low": low,
                "age_high": high,
                **{f"over_{limit}": face.over(limit) for limit in LIMITS},
                **_calibration(face, float(sample.age)),
                "status": face.status,
                "iterations": face.iterations,
                "detected": face.detection_score is not None,
                **also(face),
            }
        )
    if not rows:
        raise DatasetError(f"None of the {len(samples)} photos can be read.")
    return pd.DataFrame(rows)


def _calibration(face: FacePrediction, truth: float) -> dict[str, float]:
    """The distribution's CRPS in years, its F at the true age, its standard
    deviation, and the ends of its intervals."""
    row = {"crps": crps(face.distribution, truth), "level": distribution_at(face.distribution, truth)}
    row["spread"] = standard_deviation(face.distribution)
    for level in LEVELS:
        row[f"low_{level:g}"], row[f"high_{level:g}"] = face.interval_at(level)
    return row


def _area(face: FacePrediction) -> float:
    x0, y0, x1, y1 = face.box
    return (x1 - x0) * (y1 - y0)


def report(table: pd.DataFrame, *, dataset: str, part: str, estimator: AgeEstimator) -> dict[str, Any]:
    """Everything that is measured, as JSON values.

    `all` has every photo with its true age as it is; `up_to_100` leaves out true ages over 100, which the model cannot
    say.
    """
    bands = {name: table[within(table["truth"].to_numpy(), *ages)] for name, ages in BANDS.items()}
    groups = {f"age {name}": rows for name, rows in bands.items()}
    for column in ("gender", "race"):
        groups |= {f"{column} {value}": rows for value, rows in table.groupby(column)}
    for (gender, race), rows in table.groupby(["gender", "race"]):
        groups |= {
            f"age {name} {gender} {race}": rows[within(rows["truth"].to_numpy(), *ages)]
            for name, ages in BANDS.items()
        }
    return {
        "dataset": dataset,
        "part": part,
        "weights": estimator.source,
        "weights_sha256": estimator.sha256,
        "graph_sha256": estimator.graph_sha256,
        "all": _measure(table),
        "up_to_100": _measure(table[table["truth"] <= 100]),
        "status": {name: int(count) for name, count in table["status"].value_counts().items()},
        "detected": int(table["detected"].sum()),
        # The middle of a group such as "15 to 20" does not say who is of age.
        "over_18": {} if table["group"].notna().all() else _decisions(table, ADULT),
        "over": {}
        if table["group"].notna().all()
        else {str(limit): _decisions(table, limit) for limit in LIMITS if f"over_{limit}" in table},
        "calibration": calibration_report(table, LEVELS, units(table)) if "crps" in table else {},
        "evidence": evidence_report(table, units(table)),
        "groups": {name: _measure(rows) for name, rows in groups.items() if len(rows)},
        **by_label(table, dataset),
    }


def _decisions(table: pd.DataFrame, limit: int) -> dict[str, Any]:
    """How the question "`limit` or over?" was answered: by those under it, those over it, and those near it on either
    side. Near are less than seven years over it, so that 18 to 24 is one group."""
    before = max(limit - 5, 0)
    groups = {
        f"under {limit}": (0, limit - 1),
        f"{before}–{limit - 1}": (before, limit - 1),
        f"{limit} and over": (limit, 200),
        f"{limit}–{limit + 6}": (limit, limit + 6),
    }
    answers = {}
    for name, ages in groups.items():
        rows = table[within(table["truth"].to_numpy(), *ages)]
        if len(rows):
            wrong = "yes" if ages[1] < limit else "no"
            answers[name] = decision_quality(list(rows[f"over_{limit}"]), wrong)
    return answers


def _measure(rows: pd.DataFrame) -> dict[str, Any]:
    columns = ("truth", "age", "initial_age", "age_low", "age_high")
    return summary({column: rows[column].to_numpy(dtype=np.float64) for column in columns}, units(rows))


def write(report: dict[str, Any], path: Path) -> None:
    """Write a report of a checkpoint or of prompts. Evaluations on a `test` part are added to those the file already
    holds."""
    evaluation: dict[str, Any] | None = None
    if report["part"] == "test":
        who = {name: report[name] for name in ("weights_sha256", "clip") if name in report}
        evaluation = {"dataset": report["dataset"], "mae": report["all"]["mae"]} | who
    text = json.dumps(with_evaluation(report, path, evaluation), indent=1, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def table(report: dict[str, Any]) -> str:
    """The report's main figures as a Markdown table."""
    lines = [
        "| photos | count | MAE, years (95 % range) | bias (range) | before correction | CS@5 (range) "
        "| 90 % interval holds (range) | mean width |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows = {"all": report["all"], "up to age 100": report["up_to_100"]}
    rows |= {name: row for name, row in report["groups"].items() if not people(name)}
    for name, row in rows.items():
        interval = row["interval"]
        lines.append(
            f"| {name} | {row['count']} | {row['mae']:.2f} ({span(row['mae_range'], '.2f')}) "
            f"| {signed(row['bias'], 2)} ({signed_span(row['bias_range'], 2)}) "
            f"| {row['before_correction']['mae']:.2f} | {score(row)} "
            f"| {interval['coverage']:.1%} ({span(interval['coverage_range'], '.1%')}) "
            f"| {interval['mean_width']:.1f} |"
        )
    return "\n".join(lines)


def people(group: str) -> str:
    """Gender and race in a group's name: "female east asian" of "age 60+ female east asian", "" of "age 60+" or of
    "race east asian", which tell one thing alone."""
    column, _, *rest = group.split(maxsplit=2)
    return rest[0] if column == "age" and rest else ""


def decisions(report: dict[str, Any]) -> str:
    """The answers to "18 or over?" as a Markdown table; empty where age groups are all that is known."""
    if not report["over_18"]:
        return ""
    lines = [
        "| true age | photos | yes | no | unsure | wrong (exact 95 % range) |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in report["over_18"].items():
        counts = " | ".join(str(row[key]) for key in ("count", "yes", "no", "unsure"))
        lines.append(f"| {name} | {counts} | {row['wrong']:.1%} ({span(row['wrong_range'], '.1%')}) |")
    return "\n".join(lines)
