"""The command `run`: a whole training, from photos to a checkpoint with its report and model card."""

import argparse
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cilf.errors import UsageError
from train.commands.arguments import add_cache, add_data
from train.data.datasets import DatasetError, Sample, read_data, read_splits, select

log = logging.getLogger(__name__)


def add(commands: Any) -> None:
    """Add the parser of this command."""
    run = commands.add_parser(
        "run",
        help="prepare, fit, calibrate, export, evaluate and write the card; a second call goes on",
        description="Walk a pipeline of train/recipes/pipelines. Stages that are finished are skipped.",
    )
    run.add_argument("pipeline", help="a name in train/recipes/pipelines, such as compact, or a path")
    add_data(run)
    add_cache(run)
    run.add_argument("--folder", type=Path, help="folder of the stages' runs; runs/PIPELINE where not given")
    run.add_argument(
        "--output", type=Path, help="folder of the checkpoint; FOLDER/checkpoint where not given"
    )
    run.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="that cut out faces")
    run.add_argument(
        "--test",
        action="store_true",
        help="evaluate on the test photos, which is counted in the report; without it on the validation photos (tune)",
    )
    run.set_defaults(run=_run)


@dataclass(frozen=True)
class _Photos:
    """Labelled photos by data set, the split of all of them, and where their crops lie."""

    samples: dict[str, list[Sample]]
    splits: dict[str, str]
    cache: Path


def _run(options: argparse.Namespace) -> int:
    from train.evaluate.measurement import full_table, measure
    from train.evaluate.report import write
    from train.fit.pipeline import read_pipeline
    from train.release import model_card, onnx_export

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("run works in one process; on several devices call fit and calibrate stage by stage")
    pipeline = read_pipeline(options.pipeline)
    folder = options.folder or Path("runs") / pipeline.name
    output = options.output or folder / "checkpoint"
    photos = _Photos(dict(read_data(options.data)), read_splits(options.split), options.cache)
    dataset = _train(pipeline, photos, folder, output, options.processes)
    if pipeline.export:
        onnx_export.export(output)
    part = "test" if options.test else "tune"
    chosen = select(photos.samples[dataset], photos.splits, part)
    if not chosen:
        raise DatasetError(f"No picture of {dataset} is in the part {part!r} of the split.")
    _, report = measure(output, chosen, part)
    write(report, output / "report.json")
    model_card.write(output)
    print(full_table(report))
    return 0


def _train(pipeline: Any, photos: _Photos, folder: Path, output: Path, processes: int) -> str:
    """Make the checkpoints of all stages, the last one in `output`; gives the data set that it is measured on."""
    from train.data.prepare_crops import prepare
    from train.fit.recipe import read_recipe

    recipes = {stage.name: read_recipe(stage.recipe) for stage in pipeline.stages}
    names = list(dict.fromkeys(name for recipe in recipes.values() for name in recipe.shares))
    if missing := [name for name in names if name not in photos.samples]:
        raise UsageError(
            f"the pipeline {pipeline.name} learns from {', '.join(missing)} too; give it as --data"
        )
    for name in names:
        prepare(photos.samples[name], photos.cache / name, pipeline.crop_size, pipeline.margin, processes)
    checkpoints: dict[str, str | Path] = {}
    for stage in pipeline.stages:
        target = output if stage is pipeline.stages[-1] else folder / stage.name / "checkpoint"
        _train_stage(stage, recipes[stage.name], photos, checkpoints, folder / stage.name, target)
        checkpoints[stage.name] = target
    return next(iter(recipes[pipeline.stages[-1].name].shares))


def _train_stage(
    stage: Any, recipe: Any, photos: _Photos, earlier: dict[str, str | Path], folder: Path, target: Path
) -> None:
    from cilf.checkpoint import load
    from train.calibrate.checkpoint import is_checkpoint_of, save_run
    from train.data.run_data import RunData
    from train.fit import provenance
    from train.fit.loop import fit

    data = RunData(photos.cache, photos.splits, recipe.shares, recipe.model.image_size)
    start = load(earlier.get(stage.start, stage.start)) if stage.start else None
    teachers = [load(earlier.get(name, name)) for name in stage.teachers]
    provenance.check_start(folder, start)
    fit(recipe, data.train, data.tune, folder, resume=True, start=start, teachers=teachers)
    if is_checkpoint_of(folder, target):
        log.info("stage %s: finished before", stage.name)
        return
    save_run(recipe, data, folder, target, start if stage.averaging else None)
