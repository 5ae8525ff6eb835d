"""One command a row: a protocol from photos to its figure, split by split.

Each split is written, its photos cut out, the recipe trained, calibrated and measured through the public API. What is
done is kept: a second call goes on where the first stopped.
"""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from cilf.checkpoint import Checkpoint, load
from cilf.errors import UsageError
from cilf.estimator import AgeEstimator
from cilf.face.finder import FaceFinder
from train.calibrate.checkpoint import save_run
from train.data.datasets import DatasetError, Sample
from train.data.prepare_crops import prepare
from train.data.protocols import Protocol, Split, divide, protocol
from train.data.protocols import write as write_split
from train.data.run_data import RunData
from train.evaluate.point_report import by_label, point_report
from train.evaluate.report import predict
from train.files import written_whole
from train.fit import provenance
from train.fit.loop import fit
from train.fit.recipe import AnyRecipe
from train.formatting import write_json
from train.metrics import cumulative_score, mean_absolute_error

MARGIN = 0.125  # of the crop's side: as much context as the bundled checkpoint's crops have
ROW = "row.json"  # what the splits of a folder were made with
SAME_PHOTOS = {"appa-real", "appa-real-apparent", "clap2016"}  # one collection under three names


def reproduce(
    rules: Protocol,
    samples: list[Sample],
    recipe: AnyRecipe,
    folder: Path,
    *,
    start: str | None = None,
    seed: int = 0,
    processes: int = 1,
    finder: FaceFinder | None = None,
) -> dict[str, Any]:
    """Train and measure every split of a protocol; the report goes to `folder/report.json`.

    Args:
        rules: the protocol.
        samples: of one data set.
        recipe: what to train and how; its own data sets are replaced by this one.
        folder: of the row: crops, splits and one run a split.
        start: a checkpoint to start each split from, that has not learned from this set; a person of its photos must
            not be in it either.
        seed: of the division.
        processes: that cut out faces.
        finder: of faces, when a photo is measured.

    Returns:
        The point report over all tested photos, with `splits`: the errors of each.

    Raises:
        UsageError: the recipe learns from teachers.
        DatasetError: the set does not fit the protocol, `start` has learned from it, or the folder's splits were made
            with another protocol, seed, start or recipe.
        Interrupted: training was stopped; call again to go on.
    """
    if recipe.distils:
        raise UsageError(
            "the recipe learns from teachers, which may have seen the test photos; give one without"
        )
    dataset = samples[0].dataset
    started = load(start) if start else None
    if started:
        _check_unseen(dataset, started)
    splits = divide(rules, samples, seed)
    recipe = replace(recipe, shares={dataset: 1.0})
    row = {"protocol": rules.name, "seed": seed, "start": started.config.sha256 if started else None}
    _begin(folder, row | {"recipe": asdict(recipe)})
    size = recipe.model.image_size
    finder = finder or FaceFinder()
    prepare(samples, folder / "crops" / dataset, size, max(1, round(MARGIN * size)), processes)
    tables = {}
    for split in tqdm(splits, desc=rules.name, unit="split"):
        write_split(split, folder / "splits")
        tables[split.name] = _run(split, samples, recipe, folder, started, finder)
    whole = pd.concat(tables.values(), ignore_index=True)
    report = point_report(
        whole,
        dataset=dataset,
        part="test",
        protocol=rules.name,
        division=rules.title,
        seed=seed,
        splits={name: _errors(table, dataset) for name, table in tables.items()},
    )
    write_json(report, folder / "report.json")
    return report


def _check_unseen(dataset: str, start: Checkpoint) -> None:
    """Raises DatasetError where the checkpoint has learned from the photos that are to test it."""
    photos = SAME_PHOTOS if dataset in SAME_PHOTOS else {dataset}
    for name in sorted(photos.intersection(provenance.learned_from(start.config.training))):
        raise DatasetError(
            f"{start.source} has learned from {name}, whose photos {dataset} tests with; start from a checkpoint that "
            "has not, or leave --start out."
        )


def _begin(folder: Path, row: dict[str, Any]) -> None:
    """Put down what the row is made with; raises DatasetError where the folder's was made with something else."""
    path, row = folder / ROW, json.loads(json.dumps(row))
    if path.is_file():
        begun = json.loads(path.read_text(encoding="utf-8"))
        other = " and ".join(name for name in row if begun.get(name) != row[name])
        if other:
            raise DatasetError(
                f"The row in {folder} was begun with another {other}; go on with the same, or give another --output."
            )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(row, path)


def _run(
    split: Split,
    samples: list[Sample],
    recipe: AnyRecipe,
    folder: Path,
    start: Checkpoint | None,
    finder: FaceFinder,
) -> pd.DataFrame:
    """Predictions for one split's test photos, from the disk where an earlier call made them."""
    run = folder / split.name
    stored = run / "predictions.json"
    if not stored.is_file():
        data = RunData(folder / "crops", split.parts, recipe.shares, groups=split.units)
        fit(recipe, data.train, data.tune, run, resume=True, start=start)
        save_run(recipe, data, run, run / "checkpoint", run / "views")
        estimator = AgeEstimator(load(run / "checkpoint"), finder)
        tested = [sample for sample in samples if split.parts.get(sample.name) == "test"]
        rows = predict(estimator, tested).to_dict(orient="records")
        with written_whole(stored) as partial:
            partial.write_text(json.dumps(rows, default=float), encoding="utf-8")
    return pd.DataFrame(json.loads(stored.read_text(encoding="utf-8")))


def _errors(table: pd.DataFrame, dataset: str) -> dict[str, float]:
    """Every measure that the labels allow, of one split."""
    truth, age = (table[column].to_numpy(dtype=np.float64) for column in ("truth", "age"))
    measures = by_label(table, dataset)
    groups = measures.get("age_groups", {})
    return {
        "count": len(table),
        "mae": mean_absolute_error(truth, age),
        "cs5": cumulative_score(truth, age),
        **{name: groups[name] for name in ("accuracy", "one_off", "group_mae") if name in groups},
        **({"epsilon_error": measures["epsilon_error"]} if "epsilon_error" in measures else {}),
    }


def summary(report: dict[str, Any]) -> str:
    """The protocol's own measures: their mean over splits and how far the splits lie apart, in one line."""
    rows = list(report["splits"].values())
    measures = []
    for name in protocol(report["protocol"]).measures:
        if name in rows[0]:
            values = [row[name] for row in rows]
            measures.append(f"{name} {np.mean(values):.3f} ± {np.std(values):.3f}")
    return f"{report['protocol']}, mean of {len(rows)} split(s): {', '.join(measures)}."
