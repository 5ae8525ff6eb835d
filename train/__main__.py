"""`python -m train COMMAND`: a thin skin over the functions of this package."""

import argparse
import json
import logging
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cilf.errors import CilfError, UsageError
from train.commands import data_and_protocols as more_commands
from train.data.datasets import DATASETS, DatasetError, Sample, read_data, read_groups, read_splits, select

if TYPE_CHECKING:
    from train.fit.recipe import AnyRecipe


def main(arguments: list[str] | None = None) -> int:
    """Run one subcommand; 0 on success, 2 on wrong input, 130 when stopped on request."""
    logging.basicConfig(level=logging.INFO if _process() == 0 else logging.WARNING, format="%(message)s")
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (CilfError, DatasetError, FileNotFoundError) as error:
        where = f"Process {_process()}: " if "RANK" in os.environ else ""
        print(f"{where}{error}", file=sys.stderr)
        return 2


def _process() -> int:
    """This process' number among several that `accelerate launch` started; 0 when alone."""
    return int(os.environ.get("RANK", "0"))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m train", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    prepare = commands.add_parser("prepare", help="align every face of a data set once, into the crop cache")
    _add_data(prepare)
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

    fit = commands.add_parser("fit", help="train a recipe on the crop cache")
    fit.add_argument("--recipe", default="compact", help="a name in train/recipes, or a path")
    _add_cache(fit)
    fit.add_argument("--output", type=Path, default=Path("runs/compact"), help="folder of the run")
    fit.add_argument("--resume", action="store_true", help="continue where the run stopped")
    fit.add_argument("--start", help="start from the weights of this checkpoint (folder or Hub repository)")
    fit.add_argument(
        "--teacher",
        action="append",
        default=[],
        help="a checkpoint to learn from beside the labels, for a recipe whose loss says so; may be repeated",
    )
    fit.add_argument(
        "--shards",
        metavar="ADDRESS",
        help="read the training photos from the shards there, not from the crop cache",
    )
    fit.add_argument(
        "--parts", type=int, default=1, help="batches whose gradients make one step, to save memory"
    )
    fit.add_argument(
        "--workers", type=int, help="processes that load ahead; without it 0 on a CPU, up to 8 a GPU"
    )
    fit.set_defaults(run=_fit)

    calibrate = commands.add_parser("calibrate", help="make a checkpoint from a finished run")
    calibrate.add_argument("--recipe", default="compact", help="the run's recipe")
    trained = calibrate.add_mutually_exclusive_group()
    trained.add_argument(
        "--run", dest="folder", type=Path, default=Path("runs/compact"), help="folder of the run"
    )
    trained.add_argument("--weights", help="calibrate this checkpoint anew instead of a run")
    _add_cache(calibrate)
    calibrate.add_argument(
        "--start",
        help="the checkpoint that the run started from: mixed in by the share that is best on tune for all ages alike",
    )
    calibrate.add_argument("--output", type=Path, required=True, help="folder of the checkpoint")
    _add_views(calibrate)
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
    studies.add_argument("--epochs", type=int, default=4, help="of the contrastive training of the towers")
    studies.add_argument("--steps", type=int, default=300, help="of each fit on the frozen towers")
    studies.add_argument("--seeds", type=int, default=5, help="fits of each row")
    studies.add_argument("--prompt-seeds", type=int, default=1, help="fits of each family of prompts")
    studies.set_defaults(run=_ablate)

    correction = commands.add_parser(
        "correction", help="sweep the rule of correction; compare with three controls"
    )
    correction.add_argument("--weights", help="folder or Hub repository; without it the bundled checkpoint")
    _add_cache(correction)
    correction.add_argument("--output", type=Path, default=Path("checkpoints/compact/correction.json"))
    correction.add_argument("--figure", type=Path, help="draw the figure into this PNG file")
    _add_views(correction)
    correction.set_defaults(run=_correction)

    card = commands.add_parser("card", help="write a checkpoint's model card from its report")
    card.add_argument("checkpoint", type=Path, nargs="?", default=Path("checkpoints/compact"))
    card.set_defaults(run=_card)

    export = commands.add_parser(
        "export", help="put a graph beside a checkpoint's weights, for a quicker CPU"
    )
    export.add_argument("checkpoint", type=Path, nargs="?", default=Path("checkpoints/compact"))
    export.set_defaults(run=_export)

    publish = commands.add_parser("publish", help="upload a checkpoint or the page to the Hugging Face Hub")
    what = publish.add_mutually_exclusive_group(required=True)
    what.add_argument("--repo", metavar="USER/NAME", help="a model repository for a checkpoint")
    what.add_argument("--space", metavar="USER/NAME", help="a Space for the page with the bundled checkpoint")
    publish.add_argument("--weights", type=Path, help="folder of the checkpoint; without it the bundled one")
    publish.add_argument("--tag", help="name of this version, for from_pretrained(..., revision=TAG)")
    publish.add_argument(
        "--private", action="store_true", help="make a new repository that others do not see"
    )
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


def _add_views(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--views",
        type=Path,
        default=Path("runs/views"),
        help="folder where the network's outputs for all views of the photos are kept between calls",
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="that cut out faces")


def _prepare(options: argparse.Namespace) -> int:
    from train.data.prepare_crops import prepare, prepare_shards

    if options.split and not options.shards:
        raise UsageError("--split keeps parts apart in shards alone: give --shards too, or leave it out")
    for name, samples in read_data(options.data) if options.shards else ():
        splits = read_splits(options.split) if options.split else None
        folder = options.shards / name
        counts = prepare_shards(samples, folder, options.size, options.margin, options.processes, splits)
        logging.info("%s: %s crops", folder, ", ".join(f"{n} {part}" for part, n in counts.items()))
    for name, samples in () if options.shards else read_data(options.data):
        cache = prepare(samples, options.cache / name, options.size, options.margin, options.processes)
        logging.info("%s: %d crops, %.1f %% detected", name, len(cache.samples), 100 * cache.detected.mean())
    return 0


def _fit(options: argparse.Namespace) -> int:
    from cilf.checkpoint import load
    from train.calibrate import run_report as page
    from train.data.crop_cache import subset, with_mean_ages
    from train.data.shards import open_shards
    from train.fit.loop import Interrupted, fit
    from train.fit.recipe import read_recipe

    recipe = read_recipe(options.recipe)
    splits, size = read_splits(options.split), recipe.crop_size
    if options.shards:
        train: Any = [
            open_shards(f"{options.shards}/{name}", "train", s) for name, s in recipe.shares.items()
        ]
    else:
        groups = read_groups(options.split)
        train = [
            with_mean_ages(subset(options.cache / name, splits, "train", s, size=size), groups)
            for name, s in recipe.shares.items()
        ]
    tune = subset(options.cache / _first(recipe), splits, "tune", size=size)
    start = load(options.start) if options.start else None
    teachers = [load(name) for name in options.teacher]
    how: dict[str, Any] = {"resume": options.resume, "parts": options.parts, "workers": options.workers}
    try:
        model = fit(recipe, train, tune, options.output, start=start, teachers=teachers, **how)
    except Interrupted as stop:
        logging.info("%s", stop)
        return 130
    if _process() == 0:
        logging.info("%s", page.after_fit(model, tune, options.output))
    return 0


def _first(recipe: "AnyRecipe") -> str:
    """The recipe's first data set: the one that choices and calibration are made on."""
    return next(iter(recipe.shares))


def _calibrate(options: argparse.Namespace) -> int:
    from cilf.checkpoint import load, save
    from train.calibrate import run_report as page
    from train.calibrate.calibrate import Photos, calibrate, recalibrate
    from train.calibrate.weight_averaging import blend
    from train.data.crop_cache import subset
    from train.fit import provenance
    from train.fit.loop import averaged_model
    from train.fit.recipe import read_recipe

    if options.weights and options.start:
        raise UsageError(
            "--start is mixed into a run, not into finished weights: leave it out with --weights"
        )
    recipe, splits = read_recipe(options.recipe), read_splits(options.split)
    size = recipe.crop_size
    held = [subset(options.cache / name, splits, "held", size=size) for name in recipe.shares]
    tune, cal = (subset(options.cache / _first(recipe), splits, part, size=size) for part in ("tune", "cal"))
    photos = Photos(
        [sample for part in held for sample in part.samples],
        tune.samples,
        cal.samples,
        read_groups(options.split),
    )
    if options.weights:
        checkpoint = load(options.weights)
        result = recalibrate(checkpoint, recipe, photos, options.views, processes=options.processes)
        save(options.output, checkpoint.model, result.errors, result.config, result.familiarity)
        return 0
    model, step = averaged_model(recipe, options.folder)
    share = 0.0
    if options.start:
        share = blend(model, load(options.start).model.state_dict(), tune, mirror=recipe.mirror)
    result = calibrate(model, recipe, photos, options.views, step, share, processes=options.processes)
    config = replace(result.config, training=result.config.training | provenance.read(options.folder))
    save(options.output, model, result.errors, config, result.familiarity)
    logging.info("%s", page.after_calibration(result, tune, options.folder))
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from cilf.checkpoint import load
    from cilf.estimator import AgeEstimator
    from train.evaluate import attributes
    from train.evaluate import comparison as rivals
    from train.evaluate.point_report import label_table
    from train.evaluate.report import decisions, predict, report, table, write

    if options.rival and (options.zero_shot or options.clip):
        raise UsageError("--rival is compared with a checkpoint: leave it out with --zero-shot or --clip")
    chosen, part = _chosen(options)
    if part == "test" and not options.report:
        logging.warning(
            "This look at the test part is put down nowhere; --report FILE.json counts the looks."
        )
    if options.zero_shot or options.clip:
        return more_commands.evaluate_prompts(options, chosen, part)
    files = dict(entry.partition("=")[::2] for entry in options.rival)
    others = {name: rivals.read_rival(Path(file)) for name, file in files.items()}
    rivals.check_common((sample.name for sample in chosen), others)  # before the photos are looked at
    checkpoint = load(options.weights)
    estimator = AgeEstimator(checkpoint, device=options.device)
    predictions = predict(estimator, chosen, attributes.guesser(checkpoint, estimator))
    found = report(predictions, dataset=chosen[0].dataset, part=part, estimator=estimator)
    found |= {"attributes": attributes.accuracy(predictions)}
    found |= {"rivals": rivals.compare(predictions, others)} if others else {}
    if options.predictions:
        rivals.write(predictions, options.predictions)
    if options.report:
        write(found, options.report)
    print(table(found) + "\n\n" + decisions(found) + label_table(found))
    if found["attributes"]:
        print("\n" + attributes.table(found["attributes"]))
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
    from train.data.crop_cache import subset
    from train.fit import provenance
    from train.fit.recipe import read_cilf_recipe
    from train.studies.ablation import ablate, compare_prompts, frozen_towers, prompt_table, table

    recipe, splits = read_cilf_recipe(options.recipe), read_splits(options.split)
    parts = {
        part: [subset(options.cache / name, splits, part, share) for name, share in recipe.shares.items()]
        for part in ("train", "held")
    }
    measured = options.cache / next(iter(recipe.shares))
    parts |= {part: [subset(measured, splits, part)] for part in ("tune", "test")}
    trained, features = frozen_towers(recipe, parts, options.folder, options.epochs)
    shared = (recipe, trained, features, options.folder)
    rows = ablate(*shared, seeds=options.seeds, steps=options.steps)
    prompts = compare_prompts(*shared, seeds=options.prompt_seeds, steps=options.steps)
    made_of = provenance.describe(recipe, parts["train"], None, (), processes=1)
    found = {"epochs_of_the_towers": options.epochs, "parts": rows, "prompts": prompts, "made_of": made_of}
    _write(found, options.output)
    print(table(rows) + "\n\n" + prompt_table(prompts))
    return 0


def _correction(options: argparse.Namespace) -> int:
    from cilf.checkpoint import load
    from train.calibrate.predictions import outputs_of_checkpoint
    from train.data.crop_cache import subset
    from train.evaluate.test_evaluations import with_looks
    from train.studies.correction_report import figure, table
    from train.studies.correction_sweep import sweep

    splits, checkpoint = read_splits(options.split), load(options.weights)
    names, groups = checkpoint.config.training["data"], read_groups(options.split)
    parts = [(name, "held") for name in names] + [(names[0], "tune")]
    known = [sample for name, part in parts for sample in subset(options.cache / name, splits, part).samples]
    test = subset(options.cache / names[0], splits, "test").samples
    on_known, on_test = (
        outputs_of_checkpoint(checkpoint, samples, options.views, processes=options.processes)
        for samples in (known, test)
    )
    found = sweep(checkpoint, on_known, [groups.get(name, name) for name in on_known.names], on_test)
    look = {"dataset": names[0], "weights_sha256": found["weights_sha256"]}
    look["mae"] = found["controls"]["test"]["base"]["mae"]
    _write(with_looks(found, options.output, look), options.output)
    if options.figure:
        figure(found, options.figure)
    print(table(found))
    return 0


def _write(found: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _card(options: argparse.Namespace) -> int:
    from cilf.checkpoint import CARD, REPORT, read_config
    from train.release.model_card import write

    found = json.loads((options.checkpoint / REPORT).read_text(encoding="utf-8"))
    sweep = options.checkpoint / "correction.json"
    swept = json.loads(sweep.read_text(encoding="utf-8")) if sweep.is_file() else None
    write(read_config(options.checkpoint), found, options.checkpoint / CARD, swept)
    return 0


def _export(options: argparse.Namespace) -> int:
    from cilf.checkpoint import add_graph, load
    from train.release.onnx_export import graph

    for library in ("onnx_ir", "onnxscript"):  # which would tell of every constant
        logging.getLogger(library).setLevel(logging.WARNING)
    checkpoint = load(options.checkpoint)
    add_graph(options.checkpoint, graph(checkpoint.model, mirror=checkpoint.config.mirror))
    return 0


def _publish(options: argparse.Namespace) -> int:
    from cilf.checkpoint import bundled
    from train.release.publish import PublishError, publish_checkpoint, publish_page

    if options.space:
        if options.weights or options.tag or options.private:
            raise PublishError("--weights, --tag and --private belong to --repo; leave them out with --space")
        print(publish_page(options.space))
        return 0
    folder = options.weights or bundled()
    done = publish_checkpoint(options.repo, folder, tag=options.tag, private=options.private)
    print(
        f'{done.address}\nAgeEstimator.from_pretrained("{options.repo}", revision="{options.tag or done.commit}")'
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
