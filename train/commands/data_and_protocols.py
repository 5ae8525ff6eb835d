"""The commands about data sets and protocols: `show`, `split`, `reproduce` and `compare`; `evaluate --zero-shot`."""

import argparse
import logging
import os
from pathlib import Path
from typing import Any

from train.data.datasets import DATASETS, DatasetError, Sample, read_data

REPORTS = {
    name: Path("checkpoints") / folder / "report.json"
    for name, folder in (("CILF compact", "compact"), ("MTMSA", "mtmsa"))
}


def add(commands: Any) -> None:
    """Add them to the subcommands of `python -m train`."""
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
        help="of published results: a report of ours to set beside them; without it the bundled checkpoint's",
    )
    show.set_defaults(run=_show)

    split = commands.add_parser("split", help="divide a data set by a protocol, into files for --split")
    _add_protocol(split)
    split.add_argument("--output", type=Path, default=Path("splits"), help="folder of the split files")
    split.set_defaults(run=_split)

    reproduce = commands.add_parser("reproduce", help="train and measure every split of a protocol")
    _add_protocol(reproduce)
    reproduce.add_argument("--recipe", default="compact", help="a name in train/recipes, or a path")
    reproduce.add_argument("--start", help="start each split from this checkpoint (folder or Hub repository)")
    reproduce.add_argument(
        "--output", type=Path, required=True, help="folder of the row; a second call goes on"
    )
    reproduce.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="that cut out faces")
    reproduce.set_defaults(run=_reproduce)

    compare = commands.add_parser("compare", help="compare two models photo by photo (paired bootstrap)")
    compare.add_argument("first", type=Path, metavar="FIRST.csv", help="as evaluate --predictions writes it")
    compare.add_argument("second", type=Path, metavar="SECOND.csv")
    compare.set_defaults(run=_compare)


def _add_protocol(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--protocol", required=True, help="a name that `show protocols` lists")
    parser.add_argument("--data", required=True, metavar="NAME=FOLDER", help="the data set and its folder")
    parser.add_argument("--seed", type=int, default=0, help="of the division")


def _show(options: argparse.Namespace) -> int:
    from train.data import datasets, protocols
    from train.evaluate import published

    if options.what == "datasets":
        print(datasets.table())
    elif options.what == "protocols":
        print(protocols.table())
    else:
        entries = options.report or [f"{name}={path}" for name, path in REPORTS.items() if path.is_file()]
        ours = [
            result
            for name, _, file in (entry.partition("=") for entry in entries)
            for result in published.measured(Path(file), name)
        ]
        print(published.table(ours, options.dataset))
    return 0


def _samples(entry: str) -> list[Sample]:
    [(name, samples)] = read_data([entry])
    logging.info("%s: %d photos", name, len(samples))
    return samples


def _split(options: argparse.Namespace) -> int:
    from train.data.protocols import divide, protocol, shared, write

    rules = protocol(options.protocol)
    samples = _samples(options.data)
    for split in divide(rules, samples, options.seed):
        path = write(split, options.output)
        sizes = ", ".join(f"{count} {part}" for part, count in split.sizes.items())
        people = f", {shared(split, samples)} people of test elsewhere too" if samples[0].subject else ""
        print(f"{path}: {sizes}{people}")
    print(f"Known: {rules.known}")
    return 0


def _reproduce(options: argparse.Namespace) -> int:
    from train.data.protocols import protocol
    from train.evaluate.point_report import table
    from train.fit.loop import Interrupted
    from train.fit.recipe import read_recipe
    from train.studies.reproduce import reproduce, summary

    try:
        found = reproduce(
            protocol(options.protocol),
            _samples(options.data),
            read_recipe(options.recipe),
            options.output,
            start=options.start,
            seed=options.seed,
            processes=options.processes,
        )
    except Interrupted as stop:
        logging.info("%s", stop)
        return 130
    print(table(found) + "\n\n" + summary(found))
    return 0


def _compare(options: argparse.Namespace) -> int:
    from train.evaluate import comparison as rivals

    first, second = (rivals.read_predictions(path) for path in (options.first, options.second))
    rows = first.join(second, how="inner", lsuffix="_first", rsuffix="_second")
    if rows.empty:
        raise DatasetError(f"{options.first} and {options.second} have no photo in common.")
    print(rivals.paired_table(rows, options.first.stem, options.second.stem))
    return 0


def evaluate_prompts(options: argparse.Namespace, chosen: list[Sample], part: str) -> int:
    """`evaluate --zero-shot`: the photos through prompts alone."""
    from train.data.captions import TEMPLATES
    from train.evaluate import comparison as rivals
    from train.evaluate import zero_shot
    from train.evaluate.point_report import point_report, table
    from train.evaluate.report import write

    if options.clip:
        model = zero_shot.public_clip(options.clip, options.device)
    else:
        model = zero_shot.own_towers(options.weights, options.device)
    predictions = zero_shot.predict(model, chosen)
    about = {"mode": model.kind, "clip": model.name, "templates": list(TEMPLATES)}
    found = point_report(predictions, dataset=chosen[0].dataset, part=part, **about)
    if options.predictions:
        rivals.write(predictions, options.predictions)
    if options.report:
        write(found, options.report)
    print(f"{model.kind}: {model.name}\n\n{table(found)}")
    return 0
