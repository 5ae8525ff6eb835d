"""The commands about photos: `prepare`, `show`, `split` and `attributes`."""

import argparse
import logging
import os
from pathlib import Path
from typing import Any

from cilf.errors import UsageError
from train.commands.arguments import RECIPE_HELP, add_cache, add_data, add_protocol
from train.data.datasets import DATASETS, read_data, read_samples, read_splits


def add(commands: Any) -> None:
    """Add the parsers of these commands."""
    prepare = commands.add_parser("prepare", help="align every face of a data set once, into the crop cache")
    add_data(prepare)
    prepare.add_argument("--cache", type=Path, default=Path("crops"), help="folder of the crop cache")
    prepare.add_argument("--size", type=int, default=128, help="side of a crop in pixels")
    prepare.add_argument("--margin", type=int, default=16, help="pixels of context on each side")
    prepare.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    prepare.add_argument(
        "--shards",
        type=Path,
        metavar="FOLDER",
        help="write tar shards there, for sets too big for the crop cache",
    )
    prepare.add_argument(
        "--split", type=Path, action="append", metavar="FILE.csv", help="keeps its parts apart in the shards"
    )
    prepare.set_defaults(run=_prepare)

    show = commands.add_parser(
        "show", help="print what is known of data sets, protocols or published results"
    )
    show.add_argument("what", choices=("datasets", "protocols", "published"))
    show.add_argument("--dataset", choices=tuple(DATASETS), help="of published results: only this set's")
    show.add_argument(
        "--report",
        action="append",
        default=[],
        metavar="NAME=FILE.json",
        help="of published results: a report to compare with them; without it those of the bundled checkpoints",
    )
    show.set_defaults(run=_show)

    split = commands.add_parser("split", help="divide a data set by a protocol, into files for --split")
    add_protocol(split)
    split.add_argument("--output", type=Path, default=Path("splits"), help="folder of the split files")
    split.set_defaults(run=_split)

    attributes = commands.add_parser(
        "attributes", help="draw contact sheets of what captions say of photos, to check them by eye"
    )
    attributes.add_argument("--recipe", default="compact-words", help=RECIPE_HELP)
    add_cache(attributes)
    attributes.add_argument("--photos", type=int, default=100, help="on each sheet")
    attributes.add_argument(
        "--output", type=Path, default=Path("runs/attributes"), help="folder of the sheets"
    )
    attributes.set_defaults(run=_attributes)


def _prepare(options: argparse.Namespace) -> int:
    from train.data.prepare_crops import prepare, prepare_shards

    if options.split and not options.shards:
        raise UsageError("--split keeps parts apart in shards alone: give --shards too, or leave it out")
    splits = read_splits(options.split) if options.split else None
    crops = options.size, options.margin, options.processes
    for name, samples in read_data(options.data):
        if options.shards:
            folder = options.shards / name
            counts = prepare_shards(samples, folder, *crops, splits)
            logging.info("%s: %s crops", folder, ", ".join(f"{n} {part}" for part, n in counts.items()))
        else:
            cache = prepare(samples, options.cache / name, *crops)
            logging.info(
                "%s: %d crops, %.1f %% detected", name, len(cache.samples), 100 * cache.detected.mean()
            )
    return 0


def _show(options: argparse.Namespace) -> int:
    from train.data import datasets, protocols
    from train.evaluate import published

    if options.what == "datasets":
        print(datasets.table())
    elif options.what == "protocols":
        print(protocols.table())
    else:
        print(published.table(published.our_results(options.report), options.dataset))
    return 0


def _attributes(options: argparse.Namespace) -> int:
    from train.data.batches import Cached, Schedule
    from train.data.run_data import RunData
    from train.evaluate.contact_sheets import contact_sheets
    from train.fit.recipe import read_cilf_recipe

    recipe = read_cilf_recipe(options.recipe)
    data = RunData.open(options.cache, options.split, recipe.shares, recipe.crop_size)
    fit, sizes = recipe.fit, ((0.0, recipe.crop_size),)
    schedule = Schedule(fit.seed, 64, fit.balance, epochs=1, sizes=sizes, augment=recipe.augment)
    batches = (batch for [batch] in Cached(data.train, schedule).batches(0, workers=0))
    for name, count in contact_sheets(batches, options.output, options.photos).items():
        print(f"{options.output / name}.png: {count} photos")
    return 0


def _split(options: argparse.Namespace) -> int:
    from train.data.protocols import divide, protocol, shared, write

    rules = protocol(options.protocol)
    samples = read_samples(options.data)
    for split in divide(rules, samples, options.seed):
        path = write(split, options.output)
        sizes = ", ".join(f"{count} {part}" for part, count in split.sizes.items())
        people = f", {shared(split, samples)} people of test elsewhere too" if samples[0].subject else ""
        print(f"{path}: {sizes}{people}")
    print(f"Known: {rules.known}")
    return 0
