"""The command `run`: a whole training, from photos to a checkpoint with its report and model card."""

import argparse
import logging
import os
from pathlib import Path
from typing import Any

from cilf.errors import UsageError
from train.commands.arguments import add_cache, add_data
from train.data.datasets import read_data, read_splits, select
from train.data.run_data import RunData


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


def _run(options: argparse.Namespace) -> int:
    from cilf.checkpoint import read_config
    from train.data.prepare_crops import prepare
    from train.evaluate.measurement import full_table, measure
    from train.evaluate.report import write
    from train.fit.pipeline import read_pipeline
    from train.fit.recipe import read_recipe
    from train.release import model_card, onnx_export

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("run works in one process; on several devices call fit and calibrate stage by stage")
    pipeline = read_pipeline(options.pipeline)
    folder = options.folder or Path("runs") / pipeline.name
    output = options.output or folder / "checkpoint"
    photos, splits = dict(read_data(options.data)), read_splits(options.split)
    recipes = {stage.name: read_recipe(stage.recipe) for stage in pipeline.stages}
    names = dict.fromkeys(name for recipe in recipes.values() for name in recipe.shares)
    for name in names:
        if name not in photos:
            raise UsageError(f"the pipeline {pipeline.name} learns from {name} too; give it as --data")
    for name in names:
        cache = options.cache / name
        prepare(photos[name], cache, pipeline.crop_size, pipeline.margin, options.processes)
    checkpoints: dict[str, Path] = {}
    for stage in pipeline.stages:
        recipe, run = recipes[stage.name], folder / stage.name
        data = RunData.open(options.cache, options.split, recipe.shares, recipe.crop_size)
        checkpoints[stage.name] = output if stage is pipeline.stages[-1] else run / "checkpoint"
        _train(stage, recipe, data, run, checkpoints, options.processes)
    if pipeline.export and read_config(output).graph is None:
        onnx_export.export(output)
    dataset, part = next(iter(recipe.shares)), "test" if options.test else "tune"
    _, report = measure(output, select(photos[dataset], splits, part), part)
    write(report, output / "report.json")
    model_card.write(output)
    print(full_table(report))
    return 0


def _train(
    stage: Any, recipe: Any, data: RunData, run: Path, checkpoints: dict[str, Path], processes: int
) -> None:
    """Make the checkpoint of one stage, unless it is there; `checkpoints` has the folders of all stages so far."""
    from cilf.checkpoint import load
    from train.calibrate.checkpoint import is_checkpoint_of, save_run
    from train.fit import provenance
    from train.fit.loop import fit
    from train.fit.recipe import with_texts_of

    start = load(checkpoints.get(stage.start, stage.start)) if stage.start else None
    recipe = with_texts_of(start.config.model if start else None, recipe)
    teachers = [load(checkpoints.get(name, name)) for name in stage.teachers]
    provenance.check_start(run, start)
    fit(recipe, data.train, data.tune, run, resume=True, start=start, teachers=teachers)
    if is_checkpoint_of(run, checkpoints[stage.name]):
        logging.info("stage %s: finished before", stage.name)
    else:
        averaged = start if stage.averaging else None
        save_run(recipe, data, run, checkpoints[stage.name], run / "views", processes, start=averaged)
