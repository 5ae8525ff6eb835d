"""The command `fit`."""

import argparse
import logging
from pathlib import Path
from typing import Any

from cilf.errors import UsageError
from train.commands.arguments import RECIPE_HELP, add_cache


def add(commands: Any) -> None:
    """Add the parser of this command."""
    fit = commands.add_parser("fit", help="train a recipe on the crop cache")
    fit.add_argument("--recipe", default="compact", help=RECIPE_HELP)
    add_cache(fit)
    fit.add_argument("--output", type=Path, default=Path("runs/compact"), help="folder of the run")
    fit.add_argument("--resume", action="store_true", help="continue where the run stopped")
    fit.add_argument("--start", help="start from the weights of this checkpoint (folder or Hub repository)")
    fit.add_argument(
        "--teacher",
        action="append",
        default=[],
        help="a checkpoint to distil from, for a recipe whose loss says so; may be repeated",
    )
    fit.add_argument("--seed", type=int, help="of everything random, instead of the recipe's")
    fit.add_argument(
        "--shards",
        metavar="ADDRESS",
        help="read the training photos from the shards there, not from the crop cache",
    )
    fit.add_argument(
        "--parts", type=int, default=1, help="batches whose gradients make one step, to save memory"
    )
    fit.add_argument(
        "--workers",
        type=int,
        help="processes that load ahead; without it none on a CPU, and up to 6 for a GPU",
    )
    fit.set_defaults(run=_fit)


def _fit(options: argparse.Namespace) -> int:
    from cilf.checkpoint import load
    from train.calibrate import run_report
    from train.data.run_data import RunData
    from train.data.shards import open_shards
    from train.fit.distributed import number
    from train.fit.loop import fit
    from train.fit.recipe import read_recipe, with_seed, with_texts_of

    start = load(options.start) if options.start else None
    recipe = with_texts_of(start.config.model if start else None, read_recipe(options.recipe))
    if options.seed is not None:
        recipe = with_seed(recipe, options.seed)
    data = RunData.open(options.cache, options.split, recipe.shares, recipe.crop_size)
    if options.shards:
        train: Any = [
            open_shards(f"{options.shards}/{name}", "train", share, recipe.crop_size, data.splits)
            for name, share in recipe.shares.items()
        ]
        if len({each.margin for each in train}) > 1:
            raise UsageError("the shards have margins that differ; write all with the same --margin")
    else:
        train = data.train
    tune = data.tune
    model = fit(
        recipe,
        train,
        tune,
        options.output,
        start=start,
        teachers=[load(name) for name in options.teacher],
        resume=options.resume,
        parts=options.parts,
        workers=options.workers,
    )
    if number()[0] == 0:
        logging.info("%s", run_report.after_fit(model, tune, options.output))
    return 0
