"""`python -m train COMMAND`: a thin skin over the functions of this package."""

import argparse
import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cilf.errors import CilfError
from train import commands as more_commands
from train.datasets import DATASETS, DatasetError, Sample, read_data, read_splits, select

if TYPE_CHECKING:
    from train.recipe import Recipe


def main(arguments: list[str] | None = None) -> int:
    """Run one subcommand; 0 on success, 2 on wrong input, 130 when stopped on request."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (CilfError, DatasetError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m train", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    prepare = commands.add_parser("prepare", help="align every face of a data set once, into the crop cache")
    _add_data(prepare)
    prepare.add_argument("--cache", type=Path, default=Path("crops"), help="folder of the crop cache")
    prepare.add_argument("--size", type=int, default=128, help="side of a crop in pixels")
    prepare.add_argument("--margin", type=int, default=16, help="pixels of context on each side")
    prepare.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    prepare.set_defaults(run=_prepare)

    fit = commands.add_parser("fit", help="train a recipe on the crop cache")
    fit.add_argument("--recipe", default="compact", help="a name in train/recipes, or a path")
    _add_cache(fit)
    fit.add_argument("--output", type=Path, default=Path("runs/compact"), help="folder of the run")
    fit.add_argument("--resume", action="store_true", help="continue where the run stopped")
    fit.add_argument("--start", help="start from the weights of this checkpoint (folder or Hub repository)")
    fit.set_defaults(run=_fit)

    calibrate = commands.add_parser("calibrate", help="make a checkpoint from a finished run")
    calibrate.add_argument("--recipe", default="compact", help="the run's recipe")
    calibrate.add_argument(
        "--run", dest="folder", type=Path, default=Path("runs/compact"), help="folder of the run"
    )
    _add_cache(calibrate)
    calibrate.add_argument(
        "--start",
        help="the checkpoint that the run started from: mixed in by the share that is best on tune for all ages alike",
    )
    calibrate.add_argument("--output", type=Path, required=True, help="folder of the checkpoint")
    calibrate.set_defaults(run=_calibrate)

    evaluate = commands.add_parser("evaluate", help="measure a checkpoint on one part of one data set")
    _add_data(evaluate)
    evaluate.add_argument(
        "--split", type=Path, action="append", default=[], metavar="FILE.csv", help="without it every photo"
    )
    evaluate.add_argument("--part", default="test", help="which part of the split")
    evaluate.add_argument("--weights", help="folder or Hub repository; without it the bundled checkpoint")
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
    evaluate.set_defaults(run=_evaluate)

    studies = commands.add_parser("ablate", help="add the method's parts one by one; compare age prompts")
    studies.add_argument("--recipe", default="compact", help="a name in train/recipes, or a path")
    _add_cache(studies)
    studies.add_argument(
        "--run", dest="folder", type=Path, default=Path("runs/ablation"), help="kept between calls"
    )
    studies.add_argument("--output", type=Path, default=Path("checkpoints/compact/ablation.json"))
    studies.add_argument("--epochs", type=int, default=6, help="of the contrastive training of the towers")
    studies.add_argument("--steps", type=int, default=600, help="of each fit on the frozen towers")
    studies.add_argument("--seeds", type=int, default=5, help="fits of each row")
    studies.add_argument("--prompt-seeds", type=int, default=3, help="fits of each family of prompts")
    studies.set_defaults(run=_ablate)

    correction = commands.add_parser(
        "correction", help="sweep the rule of correction; compare with three controls"
    )
    correction.add_argument("--weights", help="folder or Hub repository; without it the bundled checkpoint")
    _add_cache(correction)
    correction.add_argument("--output", type=Path, default=Path("checkpoints/compact/correction.json"))
    correction.add_argument("--figure", type=Path, help="draw the figure into this PNG file")
    correction.set_defaults(run=_correction)

    card = commands.add_parser("card", help="write a checkpoint's model card from its report")
    card.add_argument("checkpoint", type=Path, nargs="?", default=Path("checkpoints/compact"))
    card.set_defaults(run=_card)

    publish = commands.add_parser("publish", help="upload the page and its weights to a Hugging Face Space")
    publish.add_argument("--space", required=True, metavar="USER/NAME", help="made where it does not exist")
    publish.set_defaults(run=_publish)
    more_commands.add(commands)
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        action="append",
        required=True,
        metavar="NAME=FOLDER",
        help=f"a data set and its folder; names: {', '.join(DATASETS)}; may be given several times",
    )


def _add_cache(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cache", type=Path, default=Path("crops"), help="folder of the crop cache")
    parser.add_argument(
        "--split", type=Path, action="append", required=True, metavar="FILE.csv", help="filename,split,group"
    )


def _prepare(options: argparse.Namespace) -> int:
    from train.crops import prepare

    for name, samples in read_data(options.data):
        cache = prepare(samples, options.cache / name, options.size, options.margin, options.processes)
        logging.info("%s: %d crops, %.1f %% detected", name, len(cache.samples), 100 * cache.detected.mean())
    return 0


def _fit(options: argparse.Namespace) -> int:
    from cilf.weights import load
    from train.fit import Interrupted, fit, subset
    from train.recipe import read_recipe

    recipe = read_recipe(options.recipe)
    splits = read_splits(options.split)
    train = [subset(options.cache / name, splits, "train", share) for name, share in recipe.shares.items()]
    tune = subset(options.cache / _first(recipe), splits, "tune")
    start = load(options.start).model.state_dict() if options.start else None
    try:
        fit(recipe, train, tune, options.output, resume=options.resume, start=start)
    except Interrupted as stop:
        logging.info("%s", stop)
        return 130
    return 0


def _first(recipe: "Recipe") -> str:
    """The recipe's first data set: the one that choices and calibration are made on."""
    return next(iter(recipe.shares))


def _calibrate(options: argparse.Namespace) -> int:
    from cilf.weights import load, save
    from train.blend import blend
    from train.calibrate import calibrate
    from train.fit import averaged_model, subset
    from train.recipe import read_recipe

    recipe, splits = read_recipe(options.recipe), read_splits(options.split)
    model, step = averaged_model(recipe, options.folder)
    held = [subset(options.cache / name, splits, "held") for name in recipe.shares]
    tune, cal = (subset(options.cache / _first(recipe), splits, part) for part in ("tune", "cal"))
    share = blend(model, load(options.start).model.state_dict(), tune) if options.start else 0.0
    ensemble, config = calibrate(model, recipe, held, tune, cal, step, share)
    save(options.output, model, ensemble, config)
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from cilf.estimator import AgeEstimator
    from train import rivals
    from train.evaluate import decisions, predict, report, table, write
    from train.points import label_table

    chosen, part = _chosen(options)
    if options.zero_shot or options.clip:
        return more_commands.evaluate_prompts(options, chosen, part)
    files = dict(entry.partition("=")[::2] for entry in options.rival)
    others = {name: rivals.read_rival(Path(file)) for name, file in files.items()}
    estimator = AgeEstimator.from_pretrained(options.weights, device=options.device)
    predictions = predict(estimator, chosen)
    found = report(predictions, dataset=chosen[0].dataset, part=part, estimator=estimator)
    found |= {"rivals": rivals.compare(predictions, others)} if others else {}
    if options.predictions:
        rivals.write(predictions, options.predictions)
    if options.report:
        write(found, options.report)
    print(table(found) + "\n\n" + decisions(found) + label_table(found))
    if others:
        print("\n" + rivals.table(found["rivals"]))
    return 0


def _chosen(options: argparse.Namespace) -> tuple[list[Sample], str]:
    """The photos to measure, and what part of their set they are."""
    splits = read_splits(options.split)
    if len(options.data) != 1:
        raise DatasetError("evaluate measures one data set at a time; give --data once.")
    [(name, samples)] = read_data(options.data)
    if not options.split:
        return samples, "all"
    chosen = select(samples, splits, options.part)
    if not chosen:
        raise DatasetError(f"No picture of {name} is in the part {options.part!r} of the split.")
    return chosen, options.part


def _ablate(options: argparse.Namespace) -> int:
    from train.ablate import ablate, compare_prompts, frozen_towers, prompt_table, table
    from train.fit import subset
    from train.recipe import read_recipe

    recipe, splits = read_recipe(options.recipe), read_splits(options.split)
    parts = {
        part: [subset(options.cache / name, splits, part, share) for name, share in recipe.shares.items()]
        for part in ("train", "held")
    }
    parts |= {part: [subset(options.cache / "utkface", splits, part)] for part in ("tune", "test")}
    trained, features = frozen_towers(recipe, parts, options.folder, options.epochs)
    shared = (recipe, trained, features, options.folder)
    rows = ablate(*shared, seeds=options.seeds, steps=options.steps)
    prompts = compare_prompts(*shared, seeds=options.prompt_seeds, steps=options.steps)
    _write({"epochs_of_the_towers": options.epochs, "parts": rows, "prompts": prompts}, options.output)
    print(table(rows) + "\n\n" + prompt_table(prompts))
    return 0


def _correction(options: argparse.Namespace) -> int:
    from cilf.weights import load
    from train.fit import subset
    from train.sweep import figure, sweep, table

    splits, checkpoint = read_splits(options.split), load(options.weights)
    held = [subset(options.cache / name, splits, "held") for name in checkpoint.config.training["data"]]
    tune, test = (subset(options.cache / "utkface", splits, part) for part in ("tune", "test"))
    found = sweep(checkpoint, held, tune, test)
    _write(found, options.output)
    if options.figure:
        figure(found, options.figure)
    print(table(found))
    return 0


def _write(found: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _card(options: argparse.Namespace) -> int:
    from cilf.weights import CARD, REPORT, read_config
    from train.card import write

    found = json.loads((options.checkpoint / REPORT).read_text(encoding="utf-8"))
    write(read_config(options.checkpoint), found, options.checkpoint / CARD)
    return 0


def _publish(options: argparse.Namespace) -> int:
    from train.publish import publish

    print(publish(options.space))
    return 0


if __name__ == "__main__":
    sys.exit(main())
