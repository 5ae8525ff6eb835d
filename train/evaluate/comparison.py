"""Other systems' predictions for the same photos, to compare with ours: CSV files with `filename,age_true,age_pred`."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from train.data.datasets import DatasetError
from train.evaluate.point_report import units
from train.metrics import (
    OLDEST,
    WIDE_BANDS,
    bootstrap_range,
    cumulative_score,
    mean_absolute_error,
    paired_bootstrap,
    within,
)

GROUPS = {"all": (0, OLDEST), **WIDE_BANDS}


def read_rival(path: Path) -> pd.Series:
    """File name → estimated age in years, without photos for which the system gave none. Raises DatasetError."""
    try:
        rows = pd.read_csv(path).set_index("filename", verify_integrity=True)
        return rows["age_pred"].astype(float).dropna()
    except (OSError, KeyError, ValueError) as error:
        raise DatasetError(
            f"{path} is no CSV file with the columns filename and age_pred ({error})."
        ) from error


def read_predictions(path: Path) -> pd.DataFrame:
    """What `write` wrote: age_true, age_pred and, where known, subject by file name; without photos that have no
    estimate. Raises DatasetError."""
    try:
        rows = pd.read_csv(path, dtype={"subject": str}).set_index("filename")
        kept = [column for column in ("age_true", "age_pred", "subject") if column in rows]
        return (
            rows[kept].astype({"age_true": float, "age_pred": float}).dropna(subset=["age_true", "age_pred"])
        )
    except (OSError, KeyError, ValueError) as error:
        raise DatasetError(
            f"{path} is no CSV file with the columns filename, age_true and age_pred ({error})."
        ) from error


def paired_table(rows: pd.DataFrame, first: str, second: str) -> str:
    """Two models on common photos, in Markdown: errors and the second's gain over the first, by true age.

    `rows` has age_true and age_pred of both, as age_true_first and so on, and, where persons are known, subject_first.

    Raises:
        DatasetError: the two do not agree on a photo's true age.
    """
    differing = rows[(rows["age_true_first"] - rows["age_true_second"]).abs() > 0.05]  # a file may round
    if len(differing):
        raise DatasetError(
            f"{first} and {second} give {len(differing)} photos other true ages, such as {differing.index[0]}; make "
            "both files from the same labels."
        )
    lines = [
        f"| true age | photos | MAE of {first} | MAE of {second} | gain of {second} (95 % range) | p |",
        "|---|---|---|---|---|---|",
    ]
    for name, ages in GROUPS.items():
        part = rows[within(rows["age_true_first"].to_numpy(), *ages)]
        if part.empty:
            continue
        truth = part["age_true_first"].to_numpy()
        before, after = (
            np.abs(part[f"age_pred_{system}"].to_numpy() - truth) for system in ("first", "second")
        )
        people = part.get("subject_first", part.get("subject"))
        known = people is not None and people.notna().all()
        difference = paired_bootstrap(before, after, list(people) if known else None)
        low, high = difference["gain_range"]
        lines.append(
            f"| {name} | {len(part)} | {before.mean():.2f} | {after.mean():.2f} "
            f"| {difference['gain']:+.2f} ({low:+.2f} to {high:+.2f}) | {difference['p']:.3f} |"
        )
    return "\n".join(lines)


def write(predictions: pd.DataFrame, path: Path) -> None:
    """Our own predictions in the form that `read_rival` reads, so that checkpoints can be compared with each other."""
    names = {"name": "filename", "truth": "age_true", "age": "age_pred"}
    predictions.rename(columns=names).to_csv(path, index=False)


def check_common(names: Iterable[str], rivals: dict[str, pd.Series]) -> None:
    """Raises DatasetError when a rival has none of the photos that are measured, by file name."""
    measured = set(names)
    for rival, ages in rivals.items():
        if measured.isdisjoint(ages.index):
            raise DatasetError(
                f"The predictions of {rival} and the photos to measure have no photo in common; its column filename "
                f"has names like {', '.join(map(str, ages.index[:1])) or 'none'}, the photos have names like "
                f"{min(measured, default='none')}."
            )


def compare(predictions: pd.DataFrame, rivals: dict[str, pd.Series]) -> dict[str, Any]:
    """For each rival and age group, on the photos that both know: count, both errors in years, both CS@5, and the
    paired gain of ours over the rival's with its 95 % range over photos or people. Raises as `check_common`."""
    check_common(predictions["name"], rivals)
    compared: dict[str, Any] = {}
    for name, ages in rivals.items():
        common = predictions.set_index("name").join(ages.rename("rival"), how="inner")
        compared[name] = {
            group: _both(common[within(common["truth"].to_numpy(), *limits)])
            for group, limits in GROUPS.items()
        }
    return compared


def _both(rows: pd.DataFrame) -> dict[str, Any]:
    truth, ours, rival = (rows[column].to_numpy(dtype=np.float64) for column in ("truth", "age", "rival"))
    if not len(rows):
        return {"count": 0}
    fall = np.abs(rival - truth) - np.abs(ours - truth)
    return {
        "count": len(rows),
        "mae": mean_absolute_error(truth, ours),
        "rival_mae": mean_absolute_error(truth, rival),
        "cs5": cumulative_score(truth, ours),
        "rival_cs5": cumulative_score(truth, rival),
        "gain": float(fall.mean()),
        "gain_range": bootstrap_range(fall, units(rows.reset_index())),
    }


def table(compared: dict[str, Any]) -> str:
    """One line per rival and group, in Markdown."""
    lines = [
        "| system | true age | photos | its MAE | ours | gain (95 % range) | its CS@5 | ours |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, groups in compared.items():
        for group, row in groups.items():
            if row["count"]:
                low, high = row["gain_range"]
                lines.append(
                    f"| {name} | {group} | {row['count']} | {row['rival_mae']:.2f} | {row['mae']:.2f} "
                    f"| {row['gain']:+.2f} ({low:+.2f} to {high:+.2f}) | {row['rival_cs5']:.1%} | {row['cs5']:.1%} |"
                )
    return "\n".join(lines)
