"""What a report tells of groups; on made-up predictions."""

from types import SimpleNamespace
from typing import Any

import pandas as pd

from train import points
from train.evaluate import report

AGES = [5.0, 12.9, 17.5, 18.0, 29.9, 61.0]
RACES = ["east asian", "white", "latino hispanic", "east asian", "black", "white"]


def predictions() -> pd.DataFrame:
    """Six photos, estimated right, each label of race guessed as one of the prompts' words."""
    return pd.DataFrame(
        {
            "name": [f"{age}.jpg" for age in AGES],
            "truth": AGES,
            "age": AGES,
            "initial_age": AGES,
            "age_low": AGES,
            "age_high": AGES,
            "over_18": ["no" if age < 18 else "yes" for age in AGES],
            "status": "accepted",
            "detected": True,
            "gender": "female",
            "race": RACES,
            "gender_guess": "female",
            "race_guess": ["asian", "white", "white", "asian", "black", "black"],
            "subject": None,
            "group": None,
            "deviation": None,
        }
    )


def measured(dataset: str = "utkface") -> dict[str, Any]:
    estimator: Any = SimpleNamespace(source="made up", sha256="")
    return report(predictions(), dataset=dataset, part="test", estimator=estimator) | {"test_looks": []}


def test_every_age_is_in_one_band() -> None:
    """Labels between whole years, such as means of votes, too."""
    counts = {"age 0–12": 2, "age 13–17": 1, "age 18–29": 2, "age 60+": 1}
    for found in (measured(), points.point_report(predictions(), dataset="utkface", part="test")):
        assert {name: row["count"] for name, row in found["groups"].items() if name in counts} == counts
    decided = {name: row["count"] for name, row in measured()["over_18"].items()}
    assert decided == {"under 18": 3, "13–17": 1, "18 and over": 3, "18–24": 1}
