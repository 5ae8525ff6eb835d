"""How ages hold on a data set that training never saw: learn from one set alone, measure on all of another.

Learning and measuring both use the aligned crops of the cache, so that two ways of training are compared by nothing but
their training. Photos of a `test` part are never measured.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from train.data.crop_cache import CropCache, Subset, load
from train.data.datasets import DatasetError
from train.fit import provenance
from train.fit.loop import fit
from train.fit.objective import predict_ages
from train.fit.recipe import AnyRecipe
from train.formatting import signed, signed_span, span
from train.metrics import accuracy, bootstrap_range, score_range
from train.studies.reproduce import SAME_PHOTOS

REPORT, PREDICTIONS = "report.json", "predictions.csv"  # what the command leaves in a run's folder
AS_EQUAL = ("trained_on", "measured_on", "data_sha256", "epochs", "batch_size", "size", "seed")


def cross_dataset(
    recipe: AnyRecipe, train: Subset, tune: Subset, measured: Subset, folder: Path, **how: Any
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Fit the recipe in `folder` to the photos of one set alone and measure it on another.

    `tune` is shown while it trains, and chooses nothing. `how` goes to `fit`. Gives the report as JSON values, and for
    each measured photo a row: filename, age_true, age_pred.
    """
    names = {subset.cache.samples[subset.rows[0]].dataset: subset for subset in (train, measured)}
    check_photos_differ(*names)
    model = fit(replace(recipe, shares={next(iter(names)): 1.0}), [train], tune, folder, **how)
    samples = [measured.cache.samples[row] for row in measured.rows]
    truth = np.array([sample.age for sample in samples])
    size = recipe.fit.sizes[-1][1]  # another would tell more of the change of size than of the weights
    age = predict_ages(model, measured, size)
    rows = pd.DataFrame({"filename": [sample.name for sample in samples], "age_true": truth, "age_pred": age})
    first, second = names
    report = {
        "trained_on": first,
        "training_photos": len(train.rows),
        "epochs": recipe.fit.epochs,
        "batch_size": recipe.fit.batch_size,
        "size": size,
        "seed": recipe.fit.seed,
        "measured_on": second,
        "photos": len(samples),
        **accuracy(truth, age),
        "mae_range": bootstrap_range(np.abs(age - truth)),
        "bias_range": bootstrap_range(age - truth),
        "cs5_range": score_range(truth, age),
        "adults": accuracy(truth[truth >= 18], age[truth >= 18]),
    }
    return report, rows


def check_photos_differ(*names: str) -> None:
    """Raise DatasetError unless these are two data sets, of other photos each."""
    if len(set(names)) < 2 or SAME_PHOTOS.issuperset(names):
        raise DatasetError(
            f"{' and '.join(names)} are no two sets of other photos; learn from one and measure on another one."
        )


def measured_photos(folder: Path, splits: Mapping[str, str], parts: Sequence[str]) -> Subset:
    """Photos of a crop cache to measure on: those of some parts of the split, or without any all but `test`'s. Raises
    DatasetError where there are none, as without the split file of this set."""
    cache: CropCache = load(folder)
    rows = [
        row
        for row, sample in enumerate(cache.samples)
        if (part := splits.get(sample.name, "test")) != "test" and (not parts or part in parts)
    ]
    if not rows:
        raise DatasetError(
            f"The crop cache {folder} holds no photo of the parts {', '.join(parts) or 'other than test'}; give the "
            "--split file of this data set too."
        )
    return Subset(cache, np.array(rows, dtype=int))


def together(folders: Sequence[Path]) -> dict[str, Any]:
    """Several runs' reports, and what each gains over those after it that learned from the same photos as often and
    were measured on the same ones: mean fall of the absolute error in years, its range, and its share of the other
    one's error; as JSON values.

    Raises:
        DatasetError: a folder holds no finished run.
    """
    runs, errors = [], []
    for folder in folders:
        if not (folder / REPORT).is_file():
            raise DatasetError(f"{folder} holds no finished run of `cross-dataset`; run it with --resume.")
        made_of = provenance.read(folder)
        origin = {name: made_of.get(name) for name in ("commit", "uncommitted_changes", "data_sha256")}
        runs.append({**json.loads((folder / REPORT).read_text(encoding="utf-8")), **origin})
        rows = pd.read_csv(folder / PREDICTIONS, index_col="filename")
        errors.append((rows["age_pred"] - rows["age_true"]).abs())
    gains = []
    for (run, own), (other, others) in combinations(zip(runs, errors, strict=True), 2):
        if all(run[name] == other[name] for name in AS_EQUAL) and set(own.index) == set(others.index):
            fall = (others - own).to_numpy()
            gains.append(
                {name: run[name] for name in ("trained_on", "measured_on", "recipe")}
                | {"against": other["recipe"], "gain": float(fall.mean())}
                | {"range": bootstrap_range(fall), "share": float(fall.mean() / others.mean())}
            )
    return {"runs": runs, "gains": gains}


def table(measured: Mapping[str, Any]) -> str:
    """Markdown: a row for each run, then a line for each gain."""
    head = ["learned from", "measured on", "recipe", "MAE", "bias", "CS@5", "MAE from 18 on"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for run in measured["runs"]:
        cells = [
            run["trained_on"],
            f"{run['measured_on']} ({run['photos']:,} photos)",
            f"`{run['recipe']}`",
            f"{run['mae']:.2f} ({span(run['mae_range'], '.2f')})",
            signed(run["bias"], 2),
            f"{run['cs5']:.1%}",
            f"{run['adults']['mae']:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    gains = [
        f"- {gain['trained_on']} → {gain['measured_on']}: gain of `{gain['recipe']}` over `{gain['against']}` "
        f"{signed(gain['gain'], 2)} years ({signed_span(gain['range'], 2)}), "
        f"{signed(100 * gain['share'], 1)} % of the latter's error."
        for gain in measured["gains"]
    ]
    return "\n".join([*lines, "", *gains])
