"""The whole comparison: systems end to end, and what follows the trunk on the frozen one that all started from."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from cilf.checkpoint import Checkpoint, load
from cilf.errors import UsageError
from cilf.model.nodes import GridModel
from train.data.datasets import DATASETS, Sample, read_groups
from train.data.run_data import RunData
from train.evaluate.test_evaluations import test_evaluations, with_evaluation
from train.fit import provenance
from train.fit.recipe import read_recipe
from train.studies.ablation import BATCH_SIZE
from train.studies.systems import report as reports
from train.studies.systems.end_to_end import LOADED, RECIPES, TRUNK, measure_all, pictures, trained
from train.studies.systems.frozen import fit_cilf, fit_rows

CONTROL_RECIPE = "systems/control"  # names the data sets

Half = Literal["end-to-end", "frozen"]
"""What is measured in one call: systems end to end, or what follows the trunk on the frozen one."""
HALVES: tuple[Half, ...] = ("end-to-end", "frozen")


@dataclass(frozen=True)
class Budget:
    """Of the fits on the frozen trunk: how often, those of a variant among them, how long, and for how many epochs
    CILF's towers learn before."""

    seeds: int = 5
    variant_seeds: int = 2
    steps: int = 300
    epochs: int = 4


@dataclass(frozen=True)
class Photos:
    """Crop caches and split files, and the photos on which the systems are measured end to end: those of `part`."""

    cache: Path
    splits: tuple[Path, ...]
    measured: list[Sample]
    part: str


def compare_systems(
    given: Mapping[str, str],
    photos: Photos,
    budget: Budget,
    folder: Path,
    output: Path,
    processes: int = 1,
    halves: Sequence[Half] = HALVES,
) -> str:
    """Train or load, measure, and write SYSTEMS.json and SYSTEMS.md into `output`; gives the document.

    A half that is left out stays as these files have it.

    Args:
        given: system → its checkpoint, where none is to be trained.
        photos: see `Photos`.
        budget: see `Budget`.
        folder: where runs, checkpoints and fits are kept for a second call.
        output: folder of the two files.
        processes: that cut out faces, or fit what follows the trunk, one fit each.
        halves: what is measured.

    Raises:
        UsageError: `given` names what is no system, or a trunk that has no grid; or nothing was measured end to end
            yet, and is not to be now.
    """
    if unknown := sorted(set(given) - {*RECIPES, *LOADED}):
        raise UsageError(f"no system is called {unknown[0]}; give one of {', '.join((*RECIPES, *LOADED))}")
    path, groups = output / reports.JSON, read_groups(photos.splits)
    if "end-to-end" not in halves and not path.is_file():
        raise UsageError(f"nothing was measured end to end yet: there is no {path}; leave out --only")
    trunk = _trunk(given, photos, folder, processes) if "frozen" in halves else None
    if "end-to-end" in halves:
        whole = measure_all(
            given, photos.measured, photos.part, photos.cache, photos.splits, folder, processes
        )
        name = DATASETS[photos.measured[0].dataset].facts.title.partition(",")[0]
        report = {"dataset": name, "part": photos.part, "end_to_end": reports.end_to_end_rows(whole, groups)}
        report = with_evaluation(report, path, _evaluation(report, photos, test_evaluations(path)))
        reports.write(reports.with_frozen_of(path, report), output)
    if trunk is not None:
        measured = _frozen(trunk, photos, budget, folder / "frozen", groups, processes)
        reports.write(reports.read(path) | measured, output)
    return (output / reports.MARKDOWN).read_text(encoding="utf-8")


def _trunk(given: Mapping[str, str], photos: Photos, folder: Path, processes: int) -> Checkpoint:
    trunk = load(trained(TRUNK, given, photos.cache, photos.splits, folder, processes))
    if not isinstance(trunk.model, GridModel):
        raise UsageError(
            f"'{given[TRUNK]}' has no grid to fit the systems on; give a checkpoint of {RECIPES[TRUNK]}"
        )
    return trunk


def _frozen(
    trunk: Checkpoint,
    photos: Photos,
    budget: Budget,
    folder: Path,
    groups: Mapping[str, str],
    processes: int,
) -> dict[str, Any]:
    """What is reported of the fits on the trunk, which has a grid."""
    model = trunk.model
    assert isinstance(model, GridModel)
    data = RunData.open(photos.cache, photos.splits, read_recipe(CONTROL_RECIPE).shares, model.image_size)
    parts = {"train": data.train, "held": data.held, "tune": [data.tune]}
    folder.mkdir(parents=True, exist_ok=True)
    runs, versus, tune = fit_rows(
        model.grid,
        model.image_size,
        parts,
        folder,
        budget.seeds,
        budget.variant_seeds,
        budget.steps,
        processes,
    )
    more, more_versus = fit_cilf(
        model.grid, parts, folder / "cilf", budget.seeds, budget.steps, budget.epochs
    )
    return {
        "tune_photos": len(tune),
        "trunk_sha256": provenance.weights_sha256(model.state_dict()),
        "trunk_pictures": pictures(trunk.config.training),
        "budget": asdict(budget) | {"batch": BATCH_SIZE},
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
    evaluation = {"dataset": photos.measured[0].dataset} | {
        key: {row["name"]: row[key] for row in rows} for key in ("weights_sha256", "mae")
    }
    kept = ("dataset", "weights_sha256")
    known = any(all(other[key] == evaluation[key] for key in kept) for other in earlier)
    return None if known else evaluation
