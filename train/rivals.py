"""Other systems' predictions for the same photos, beside ours: CSV files with `filename,age_true,age_pred`."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from train.datasets import DatasetError
from train.metrics import bootstrap_range, cumulative_score, mean_absolute_error

GROUPS = {"all": (0, 200), "0–12": (0, 12), "13–17": (13, 17), "18–59": (18, 59), "60+": (60, 200)}


def read_rival(path: Path) -> pd.Series:
    """File name → estimated age in years. Raises DatasetError."""
    try:
        rows = pd.read_csv(path)
        return rows.set_index("filename")["age_pred"].astype(float)
    except (OSError, KeyError, ValueError) as error:
        raise DatasetError(
            f"{path} is no CSV file with the columns filename and age_pred ({error})."
        ) from error


def write(predictions: pd.DataFrame, path: Path) -> None:
    """Our own predictions in the form that `read_rival` reads, so that checkpoints can be compared with each other."""
    names = {"name": "filename", "truth": "age_true", "age": "age_pred"}
    predictions.rename(columns=names).to_csv(path, index=False)


def compare(predictions: pd.DataFrame, rivals: dict[str, pd.Series]) -> dict[str, Any]:
    """For each rival and age group, on the photos that both know: count, both errors in years, both CS@5, and the
    paired gain of ours over the rival's with its 95 % range over photos."""
    found: dict[str, Any] = {}
    for name, ages in rivals.items():
        common = predictions.set_index("name").join(ages.rename("rival"), how="inner")
        found[name] = {
            group: _both(common[common["truth"].between(*limits)]) for group, limits in GROUPS.items()
        }
    return found


def _both(rows: pd.DataFrame) -> dict[str, Any]:
    truth, ours, theirs = (rows[column].to_numpy(dtype=np.float64) for column in ("truth", "age", "rival"))
    if not len(rows):
        return {"count": 0}
    fall = np.abs(theirs - truth) - np.abs(ours - truth)
    return {
        "count": len(rows),
        "mae": mean_absolute_error(truth, ours),
        "rival_mae": mean_absolute_error(truth, theirs),
        "cs5": cumulative_score(truth, ours),
        "rival_cs5": cumulative_score(truth, theirs),
        "gain": float(fall.mean()),
        "gain_range": bootstrap_range(fall),
    }


def table(found: dict[str, Any]) -> str:
    """One line per rival and group, in Markdown."""
    lines = [
        "| system | true age | photos | its MAE | ours | gain (95 % range) | its CS@5 | ours |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, groups in found.items():
        for group, row in groups.items():
            if row["count"]:
                low, high = row["gain_range"]
                lines.append(
                    f"| {name} | {group} | {row['count']} | {row['rival_mae']:.2f} | {row['mae']:.2f} "
                    f"| {row['gain']:+.2f} ({low:+.2f} to {high:+.2f}) | {row['rival_cs5']:.1%} | {row['cs5']:.1%} |"
                )
    return "\n".join(lines)
