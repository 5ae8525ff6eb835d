"""The commands that measure: `evaluate` and `compare`."""

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cilf.errors import UsageError
from train.commands.arguments import WEIGHTS_HELP, add_data
from train.data.datasets import DatasetError, Sample, read_groups, read_samples, read_splits, select


def add(commands: Any) -> None:
    """Add the parsers of these commands."""
    evaluate = commands.add_parser("evaluate", help="measure a checkpoint on one part of one data set")
    add_data(evaluate)
    evaluate.add_argument(
        "--split", type=Path, action="append", default=[], metavar="FILE.csv", help="without it every photo"
    )
    evaluate.add_argument("--part", help="which part of the split; test where it is not given")
    evaluate.add_argument("--weights", help=WEIGHTS_HELP)
    evaluate.add_argument("--report", type=Path, help="write the full report to this JSON file")
    evaluate.add_argument(
        "--predictions", type=Path, help="write one row per photo to this CSV file, which --rival reads"
    )
    evaluate.add_argument(
        "--rival",
        action="append",
        default=[],
        metavar="NAME=FILE.csv",
        help="another system's predictions for the same photos (columns filename, age_pred); may be repeated",
    )
    evaluate.add_argument(
        "--zero-shot",
        action="store_true",
        help="prompts alone, with --clip; of our own towers where it is not given",
    )
    evaluate.add_argument("--clip", metavar="MODEL/WEIGHTS", help="any that open_clip knows")
    evaluate.add_argument("--device", default="cpu", help="as PyTorch names it")
    evaluate.add_argument(
        "--views",
        type=Path,
        metavar="FOLDER",
        help="also keep the network's outputs for all views of every photo there, and report the correction's controls",
    )
    evaluate.set_defaults(run=_evaluate)

    compare = commands.add_parser("compare", help="compare two models photo by photo (paired bootstrap)")
    compare.add_argument("first", type=Path, metavar="FIRST.csv", help="as evaluate --predictions writes it")
    compare.add_argument("second", type=Path, metavar="SECOND.csv")
    compare.set_defaults(run=_compare)


def _evaluate(options: argparse.Namespace) -> int:
    from train.evaluate import comparison
    from train.evaluate.measurement import full_table, measure
    from train.evaluate.report import write

    prompts_alone = options.zero_shot or options.clip
    if prompts_alone and (options.rival or options.views):
        raise UsageError(
            "--rival and --views speak of a checkpoint: leave them out with --zero-shot or --clip"
        )
    if options.clip and options.weights:
        raise UsageError("--clip measures a published CLIP and --weights a checkpoint; give one of them")
    _check_files(options)
    samples, part = _photos(options)
    if part == "test" and not options.report:
        logging.warning("This evaluation on the test part is not counted; --report FILE.json counts it.")
    if prompts_alone:
        return _evaluate_prompts(options, samples, part)
    files = dict(entry.partition("=")[::2] for entry in options.rival)
    rivals = {name: comparison.read_rival(Path(file)) for name, file in files.items()}
    comparison.check_common((sample.name for sample in samples), rivals)  # before hours of inference
    predictions, report = measure(options.weights, samples, part, options.device)
    if options.predictions:
        comparison.write(predictions, options.predictions)
    report |= {"rivals": comparison.compare(predictions, rivals)} if rivals else {}
    if options.views:
        report["controls"] = _controls(options.weights, samples, options.views, read_groups(options.split))
    if options.report:
        write(report, options.report)
    print(full_table(report))
    return 0


def _check_files(options: argparse.Namespace) -> None:
    """Make sure, before hours of inference, that the files can be written, and a report that is there be read."""
    from train.evaluate.test_evaluations import test_evaluations

    for path in filter(None, (options.report, options.predictions)):
        path.parent.mkdir(parents=True, exist_ok=True)
    if options.report:
        test_evaluations(options.report)


def _controls(
    weights: str | None, samples: list[Sample], views: Path, groups: Mapping[str, str]
) -> dict[str, Any]:
    """What the correction stands beside, read from the stored views of the photos."""
    from cilf.checkpoint import load
    from train.calibrate.predictions import outputs_of_checkpoint
    from train.studies.correction_sweep import controls_of

    checkpoint = load(weights)
    outputs = outputs_of_checkpoint(checkpoint, samples, views)
    return controls_of(checkpoint, outputs, [groups.get(name, name) for name in outputs.names])


def _photos(options: argparse.Namespace) -> tuple[list[Sample], str]:
    """The photos to measure, and what part of their set they are."""
    splits, part = read_splits(options.split), options.part or "test"
    if options.part and not options.split:
        raise UsageError(
            "--part is one of a split; give its file with --split, or leave --part out for every photo"
        )
    if len(options.data) != 1:
        raise DatasetError("evaluate measures one data set at a time; give --data once.")
    samples = read_samples(options.data[0])
    return (select(samples, splits, part), part) if options.split else (samples, "all")


def _evaluate_prompts(options: argparse.Namespace, samples: list[Sample], part: str) -> int:
    """`evaluate --zero-shot`: the photos through prompts alone."""
    from train.data.captions import TEMPLATES
    from train.evaluate import comparison, zero_shot
    from train.evaluate.point_report import point_report, table
    from train.evaluate.report import write

    if options.clip:
        model = zero_shot.public_clip(options.clip, options.device)
    else:
        model = zero_shot.own_towers(options.weights, options.device)
    predictions = zero_shot.predict(model, samples)
    about = {"mode": model.kind, "clip": model.name, "templates": list(TEMPLATES)}
    report = point_report(predictions, dataset=samples[0].dataset, part=part, **about)
    if options.predictions:
        comparison.write(predictions, options.predictions)
    if options.report:
        write(report, options.report)
    print(f"{model.kind}: {model.name}\n\n{table(report)}")
    return 0


def _compare(options: argparse.Namespace) -> int:
    from train.evaluate import comparison

    first, second = (comparison.read_predictions(path) for path in (options.first, options.second))
    rows = first.join(second, how="inner", lsuffix="_first", rsuffix="_second")
    if rows.empty:
        raise DatasetError(f"{options.first} and {options.second} have no photo in common.")
    print(comparison.paired_table(rows, options.first.stem, options.second.stem))
    return 0
