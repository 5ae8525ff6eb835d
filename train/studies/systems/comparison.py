"""The whole comparison: systems end to end, and what follows the trunk on the frozen one that all started from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cilf.checkpoint import load
from cilf.model.nodes import GridModel
from train.data.datasets import Sample, read_groups
from train.data.run_data import RunData
from train.evaluate.test_evaluations import looks, with_looks
from train.fit.recipe import read_recipe
from train.studies.ablation import BATCH_SIZE
from train.studies.systems import report as reports
from train.studies.systems.end_to_end import TRUNK, measure_all, trained
from train.studies.systems.frozen import fit_cilf, fit_rows

CONTROL_RECIPE = "systems/control"  # names the data sets


@dataclass(frozen=True)
class Budget:
    """Of the fits on the frozen trunk: how often (0: there are none), how long, and for how many epochs CILF's towers
    learn before."""

    seeds: int = 5
    steps: int = 600
    epochs: int = 4


@dataclass(frozen=True)
class Photos:
    """Crop caches and split files, and the photos on which the systems are measured end to end: those of `part`."""

    cache: Path
    splits: tuple[Path, ...]
    measured: list[Sample]
    part: str


def compare_systems(
    given: Mapping[str, str], photos: Photos, budget: Budget, folder: Path, output: Path, processes: int = 1
) -> str:
    """Train or load, measure, and write SYSTEMS.json and SYSTEMS.md into `output`; gives the document.

    Args:
        given: system → its checkpoint, where none is to be trained.
        photos: see `Photos`.
        budget: see `Budget`.
        folder: where runs, checkpoints and fits are kept for a second call.
        output: folder of the two files.
        processes: that cut out faces, or fit what follows the trunk, one fit each.
    """
    whole = measure_all(given, photos.measured, photos.part, photos.cache, photos.splits, folder, processes)
    groups = read_groups(photos.splits)
    report: dict[str, Any] = {"part": photos.part, "end_to_end": reports.end_to_end_rows(whole, groups)}
    if budget.seeds:
        trunk = trained(TRUNK, given, photos.cache, photos.splits, folder, processes)
        report |= _frozen(trunk, photos, budget, folder / "frozen", groups, processes)
    path = output / reports.JSON
    reports.write(with_looks(report, path, _evaluation(report, photos, looks(path))), output)
    return reports.markdown(report)


def _frozen(
    trunk: str | Path,
    photos: Photos,
    budget: Budget,
    folder: Path,
    groups: Mapping[str, str],
    processes: int,
) -> dict[str, Any]:
    """What is reported of the fits on the trunk from which all started."""
    model = load(trunk).model
    assert isinstance(model, GridModel)
    data = RunData.open(photos.cache, photos.splits, read_recipe(CONTROL_RECIPE).shares, model.image_size)
    parts = {"train": data.train, "held": data.held, "tune": [data.tune]}
    folder.mkdir(parents=True, exist_ok=True)
    runs, versus, tune = fit_rows(
        model.grid, model.image_size, parts, folder, budget.seeds, budget.steps, processes
    )
    more, more_versus = fit_cilf(
        model.grid, parts, folder / "cilf", budget.seeds, budget.steps, budget.epochs
    )
    return {
        "tune_photos": len(tune),
        "budget": {"seeds": budget.seeds, "steps": budget.steps, "batch": BATCH_SIZE},
        "frozen": reports.frozen_rows(runs | more, versus | more_versus, reports.groups_of(tune, groups)),
    }


def _evaluation(
    report: dict[str, Any], photos: Photos, earlier: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """What is counted of this evaluation: on `test` every checkpoint, elsewhere or of the same weights as before
    nothing, whose predictions were stored."""
    if photos.part != "test":
        return None
    rows = [row for row in report["end_to_end"] if not row["reading"]]
    look = {"dataset": photos.measured[0].dataset} | {
        key: {row["name"]: row[key] for row in rows} for key in ("weights_sha256", "mae")
    }
    known = any(other["weights_sha256"] == look["weights_sha256"] for other in earlier)
    return None if known else look
