"""Measures for labels that are age groups (Adience, FairFace, FACES): accuracy, 1-off, and a table by group.

The model says an age, not a group. An age counts for the group whose range is nearest: between two ranges the border
lies half-way, so that each age has exactly one group.
"""

from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from train.data.datasets.base import Groups

Ages = Float[np.ndarray, " photo"]
Numbers = Int[np.ndarray, " photo"]


def borders(groups: Groups) -> Float[np.ndarray, " border"]:
    """Ages in years at which one group ends and the next begins; one fewer than groups."""
    return np.array([(before[1] + after[0]) / 2 for before, after in pairwise(groups)])


def group_of(age: Ages, groups: Groups) -> Numbers:
    """Number of the group that each age falls into."""
    return np.searchsorted(borders(groups), age, side="right")


def group_accuracy(truth: Numbers, predicted: Numbers) -> dict[str, float]:
    """Share of photos in the right group (`accuracy`), in the right one or next to it (`one_off`), and the mean
    distance in groups (`group_mae`)."""
    distance = np.abs(predicted - truth)
    return {
        "accuracy": float((distance == 0).mean()),
        "one_off": float((distance <= 1).mean()),
        "group_mae": float(distance.mean()),
    }


def group_table(truth: Numbers, predicted: Numbers, groups: Groups) -> dict[str, dict[str, Any]]:
    """Of each group that has photos: their count, the measures of `group_accuracy`, and how many each group got."""
    rows = {}
    for number, (first, last) in enumerate(groups):
        here = truth == number
        if here.any():
            counts = np.bincount(predicted[here], minlength=len(groups))
            rows[f"{first}–{last}"] = {
                "count": int(here.sum()),
                **group_accuracy(truth[here], predicted[here]),
                "found": counts.tolist(),
            }
    return rows


def group_report(truth: Numbers, age: Ages, groups: Groups) -> dict[str, Any]:
    """Everything that is measured of photos whose labels are groups."""
    predicted = group_of(age, groups)
    return {
        "count": len(truth),
        **group_accuracy(truth, predicted),
        "by_group": group_table(truth, predicted, groups),
    }


def as_markdown(report: dict[str, Any]) -> str:
    """A `group_report` as a table."""
    lines = ["| age group | photos | right | right or next to it |", "|---|---|---|---|"]
    for name, row in {"all": report, **report["by_group"]}.items():
        lines.append(f"| {name} | {row['count']} | {row['accuracy']:.1%} | {row['one_off']:.1%} |")
    return "\n".join(lines)
