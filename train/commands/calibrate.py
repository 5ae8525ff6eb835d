"""The command `calibrate`."""

import argparse
from pathlib import Path
from typing import Any

from cilf.errors import UsageError
from train.commands.arguments import add_cache, add_views


def add(commands: Any) -> None:
    """Add the parser of this command."""
    calibrate = commands.add_parser("calibrate", help="make a checkpoint from a finished run")
    calibrate.add_argument("--recipe", default="compact", help="the run's recipe")
    trained = calibrate.add_mutually_exclusive_group()
    trained.add_argument(
        "--run", dest="folder", type=Path, default=Path("runs/compact"), help="folder of the run"
    )
    trained.add_argument("--weights", help="calibrate this checkpoint again instead of a run")
    add_cache(calibrate)
    calibrate.add_argument(
        "--start",
        help="the checkpoint that the run started from: averaged with the run's weights by the share that is best on "
        "held-out and validation photos",
    )
    calibrate.add_argument("--output", type=Path, required=True, help="folder of the checkpoint")
    add_views(calibrate)
    calibrate.set_defaults(run=_calibrate)


def _calibrate(options: argparse.Namespace) -> int:
    from cilf.checkpoint import load
    from train.calibrate.checkpoint import save_recalibrated, save_run
    from train.data.run_data import RunData
    from train.fit.recipe import read_recipe, with_texts_of

    if options.weights and options.start:
        raise UsageError(
            "--start is mixed into a run, not into finished weights: leave it out with --weights"
        )
    start = load(options.start) if options.start else None
    recipe = with_texts_of(start.config.model if start else None, read_recipe(options.recipe))
    data = RunData.open(options.cache, options.split, recipe.shares, recipe.crop_size)
    views = options.views, options.processes
    if options.weights:
        save_recalibrated(load(options.weights), recipe, data, options.output, *views)
    else:
        save_run(recipe, data, options.folder, options.output, *views, start=start)
    return 0
