"""One checkpoint measured on labelled photos: predictions, full report and its tables."""

from pathlib import Path
from typing import Any

import pandas as pd

from cilf.checkpoint import load
from cilf.estimator import AgeEstimator
from cilf.untrusted.trial import require_success
from train.data.datasets import Sample
from train.evaluate import attributes, comparison
from train.evaluate.point_report import label_table
from train.evaluate.report import decisions, predict, report, table


def measure(
    weights: str | Path | None, samples: list[Sample], part: str, device: str = "cpu"
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Predictions, one row per photo, and the report of `train.evaluate.report` with the accuracy of gender and race.

    Args:
        weights: folder or Hub repository; None for the bundled checkpoint.
        samples: labelled photos of one data set, at least one.
        part: what part of their set they are, for the report.
        device: as PyTorch names it.

    Raises:
        WeightsError: the checkpoint cannot be loaded.
        DatasetError: none of the photos can be read.
    """
    checkpoint = load(weights)
    if checkpoint.untried:  # a stranger's, whose graph may compute anything
        require_success(checkpoint.untried)
    estimator = AgeEstimator(checkpoint, device=device)
    predictions = predict(estimator, samples, attributes.guesser(checkpoint, estimator))
    measured = report(predictions, dataset=samples[0].dataset, part=part, estimator=estimator)
    return predictions, measured | {"attributes": attributes.accuracy(predictions)}


def full_table(measured: dict[str, Any]) -> str:
    """Every table of a report in Markdown, also those of attributes and rivals where there are some."""
    tables = [table(measured), decisions(measured) + label_table(measured)]
    if measured["attributes"]:
        tables.append(attributes.table(measured["attributes"]))
    if "rivals" in measured:
        tables.append(comparison.table(measured["rivals"]))
    return "\n\n".join(tables)
