"""Arguments that several commands share."""

import argparse
import os
from pathlib import Path

from train.data.datasets import DATASETS

RECIPE_HELP = "a name in train/recipes, or a path"
WEIGHTS_HELP = "folder or Hub repository; without it the bundled checkpoint"


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add `--data`, which may be repeated."""
    parser.add_argument(
        "--data",
        action="append",
        required=True,
        metavar="NAME=FOLDER",
        help=f"a data set and its folder; names: {', '.join(DATASETS)}; may be given several times",
    )


def add_cache(parser: argparse.ArgumentParser) -> None:
    """Add `--cache` and `--split`, from which `train.data.run_data.RunData` is opened."""
    parser.add_argument("--cache", type=Path, default=Path("crops"), help="folder of the crop cache")
    parser.add_argument(
        "--split", type=Path, action="append", required=True, metavar="FILE.csv", help="filename,split,group"
    )


def add_views(parser: argparse.ArgumentParser) -> None:
    """Add `--views` and `--processes`, for the network's outputs on further views of the photos."""
    parser.add_argument(
        "--views",
        type=Path,
        default=Path("runs/views"),
        help="folder where the network's outputs for all views of the photos are kept between calls",
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="that cut out faces")


def add_protocol(parser: argparse.ArgumentParser) -> None:
    """Add a protocol, its data set and the seed of the division."""
    parser.add_argument("--protocol", required=True, help="a name that `show protocols` lists")
    parser.add_argument("--data", required=True, metavar="NAME=FOLDER", help="the data set and its folder")
    parser.add_argument("--seed", type=int, default=0, help="of the division")
