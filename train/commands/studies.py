"""The commands for research: `ablate`, `correction`, `stability`, `words`, `captions`, `reproduce`, `cross-dataset`,
`compare-systems`, `studies`."""

import argparse
import json
import logging
import os
from pathlib import Path
from typing import Any

from cilf.errors import UsageError
from train.commands.arguments import RECIPE_HELP, WEIGHTS_HELP, add_cache, add_protocol, add_views
from train.data.datasets import read_samples
from train.formatting import write_json


def add(commands: Any) -> None:
    """Add the parsers of these commands."""
    ablate = commands.add_parser("ablate", help="add the method's parts one by one; compare age prompts")
    ablate.add_argument("--recipe", default="compact", help=RECIPE_HELP)
    add_cache(ablate)
    ablate.add_argument(
        "--run", dest="folder", type=Path, default=Path("runs/ablation"), help="kept between calls"
    )
    ablate.add_argument("--output", type=Path, default=Path("checkpoints/compact/ablation.json"))
    ablate.add_argument("--epochs", type=int, default=4, help="of the contrastive training of the towers")
    ablate.add_argument("--steps", type=int, default=300, help="of each fit on the frozen towers")
    ablate.add_argument("--seeds", type=int, default=5, help="fits of each row")
    ablate.add_argument("--prompt-seeds", type=int, default=1, help="fits of each family of prompts")
    ablate.set_defaults(run=_ablate)

    correction = commands.add_parser(
        "correction", help="sweep the rule of correction; compare it with controls"
    )
    correction.add_argument("--weights", help=WEIGHTS_HELP)
    add_cache(correction)
    correction.add_argument("--output", type=Path, default=Path("checkpoints/compact/correction.json"))
    correction.add_argument("--figure", type=Path, help="draw the figure into this PNG file")
    add_views(correction)
    correction.set_defaults(run=_correction)

    stability = commands.add_parser("stability", help="how much an age changes when the picture hardly does")
    stability.add_argument("--weights", help=WEIGHTS_HELP)
    add_cache(stability)
    stability.add_argument(
        "--photos", type=int, default=250, help="of the validation part, drawn with seed 0"
    )
    stability.add_argument("--output", type=Path, default=Path("checkpoints/compact/stability.json"))
    stability.set_defaults(run=_stability)

    words = commands.add_parser("words", help="measure how well words fit what is measured on photos")
    words.add_argument("--weights", help=WEIGHTS_HELP)
    words.add_argument("--data", default="utkface", metavar="NAME", help="the data set to measure on")
    add_cache(words)
    words.add_argument("--part", default="tune", help="which part of the split")
    words.add_argument("--output", type=Path, default=Path("checkpoints/compact/words.json"))
    words.set_defaults(run=_words)

    captions = commands.add_parser(
        "captions", help="train twice, with and without attributes in the captions, and compare the ages"
    )
    captions.add_argument("--recipe", default="studies/captions", help=RECIPE_HELP)
    captions.add_argument(
        "--start", help="begin from the weights of this checkpoint (folder or Hub repository)"
    )
    add_cache(captions)
    captions.add_argument(
        "--run", dest="folder", type=Path, default=Path("runs/captions"), help="kept between calls"
    )
    captions.add_argument(
        "--seeds",
        type=int,
        default=1,
        help="trainings with each kind of captions; those that --output has are not repeated",
    )
    captions.add_argument(
        "--processes",
        type=int,
        default=os.cpu_count() or 1,
        help="trainings side by side, on one thread each",
    )
    captions.add_argument("--output", type=Path, default=Path("checkpoints/compact/captions.json"))
    captions.set_defaults(run=_captions)

    reproduce = commands.add_parser("reproduce", help="train and measure every split of a protocol")
    add_protocol(reproduce)
    reproduce.add_argument("--recipe", default="studies/reproduce", help=RECIPE_HELP)
    reproduce.add_argument("--start", help="start each split from this checkpoint (folder or Hub repository)")
    reproduce.add_argument(
        "--output", type=Path, required=True, help="folder of the row; a second call goes on"
    )
    reproduce.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="that cut out faces")
    reproduce.set_defaults(run=_reproduce)

    cross = commands.add_parser("cross-dataset", help="learn from one data set alone, measure on another")
    cross.add_argument("--recipe", default="studies/cross", help=RECIPE_HELP)
    cross.add_argument("--train", required=True, metavar="NAME", help="the data set to learn from")
    cross.add_argument("--measure", required=True, metavar="NAME", help="the data set to measure on")
    add_cache(cross)
    cross.add_argument(
        "--part", action="append", default=[], help="measure on this part; without it on all but test"
    )
    cross.add_argument("--resume", action="store_true", help="continue where the run stopped")
    cross.add_argument("--workers", type=int, help="as of fit")
    cross.add_argument(
        "--output", type=Path, required=True, help="folder of the run, report.json and predictions.csv"
    )
    cross.set_defaults(run=_cross_dataset)

    systems = commands.add_parser(
        "compare-systems",
        help="train or load control, LRA-GNN, MCGRL, MTMSA and CILF, and measure all on the same photos",
    )
    systems.add_argument("--data", required=True, metavar="NAME=FOLDER", help="the data set to measure on")
    add_cache(systems)
    systems.add_argument(
        "--run", dest="folder", type=Path, default=Path("runs/systems"), help="kept between calls"
    )
    systems.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="measure this checkpoint of a system instead of training one",
    )
    systems.add_argument("--output", type=Path, default=Path("checkpoints"), help="of SYSTEMS.json and .md")
    systems.add_argument(
        "--only",
        choices=["end-to-end", "frozen"],
        help="measure this half alone; the other stays as SYSTEMS.json has it",
    )
    systems.add_argument("--seeds", type=int, default=5, help="fits of each row on the frozen trunk")
    systems.add_argument(
        "--variant-seeds", type=int, default=2, help="of each variant of LRA-GNN and MCGRL, at most --seeds"
    )
    systems.add_argument("--steps", type=int, default=300, help="of each of these fits")
    systems.add_argument("--epochs", type=int, default=4, help="of CILF's towers on the frozen trunk")
    systems.add_argument(
        "--processes", type=int, default=os.cpu_count() or 1, help="that cut out faces, or fit, one fit each"
    )
    systems.add_argument(
        "--test", action="store_true", help="measure end to end on the test photos; without it on tune"
    )
    systems.set_defaults(run=_systems)

    studies = commands.add_parser("studies", help="write what the studies of a checkpoint measured")
    what = studies.add_subparsers(required=True, metavar="what")
    report = what.add_parser("report", help="write STUDIES.md from the checkpoint's JSON files")
    report.add_argument("checkpoint", type=Path, nargs="?", default=Path("checkpoints/compact"))
    report.set_defaults(run=_report)
    cross = what.add_parser("cross-dataset", help="put finished runs of `cross-dataset` together")
    cross.add_argument(
        "runs", type=Path, nargs="+", help="their folders; each run is compared with those after it"
    )
    cross.add_argument("--output", type=Path, default=Path("checkpoints/compact/cross-dataset.json"))
    cross.set_defaults(run=_cross_dataset_together)
    seeds = what.add_parser("seeds", help="compare finished runs that differ in their seeds alone")
    seeds.add_argument("runs", type=Path, nargs="+", help="their folders, two at least")
    seeds.add_argument("--recipe", required=True, help="the runs' recipe")
    seeds.add_argument("--start", required=True, help="the checkpoint that they began from")
    add_cache(seeds)
    seeds.add_argument("--output", type=Path, default=Path("checkpoints/compact/seeds.json"))
    seeds.set_defaults(run=_seeds)


def _ablate(options: argparse.Namespace) -> int:
    from train.data.run_data import RunData
    from train.fit import provenance
    from train.fit.recipe import read_cilf_recipe
    from train.studies.ablation import ablate, compare_prompts, frozen_towers, prompt_table, table

    recipe = read_cilf_recipe(options.recipe)
    data = RunData.open(options.cache, options.split, recipe.shares)
    parts = {"train": data.train, "held": data.held, "tune": [data.tune], "test": [data.test]}
    trained, features = frozen_towers(recipe, parts, options.folder, options.epochs, groups=data.groups)
    shared = (recipe, trained, features, options.folder)
    rows = ablate(*shared, seeds=options.seeds, steps=options.steps)
    prompts = compare_prompts(*shared, seeds=options.prompt_seeds, steps=options.steps)
    made_of = provenance.describe(recipe, parts["train"], None, (), processes=1)
    report = {"epochs_of_the_towers": options.epochs, "parts": rows, "prompts": prompts, "made_of": made_of}
    write_json(report, options.output)
    print(table(rows) + "\n\n" + prompt_table(prompts))
    return 0


def _correction(options: argparse.Namespace) -> int:
    from cilf.checkpoint import load
    from train.calibrate.predictions import outputs_of_checkpoint
    from train.data.run_data import RunData
    from train.evaluate.test_evaluations import with_evaluation
    from train.studies.correction_report import figure, table
    from train.studies.correction_sweep import sweep

    checkpoint = load(options.weights)
    names = checkpoint.config.training["data"]
    data = RunData.open(options.cache, options.split, dict.fromkeys(names, 1.0))
    known = [sample for part in (*data.held, data.tune) for sample in part.samples]
    on_known, on_test = (
        outputs_of_checkpoint(checkpoint, samples, options.views, processes=options.processes)
        for samples in (known, data.test.samples)
    )
    groups, test_groups = (
        [data.groups.get(name, name) for name in outputs.names] for outputs in (on_known, on_test)
    )
    report = sweep(checkpoint, on_known, groups, on_test, test_groups)
    evaluation = {
        "dataset": names[0],
        "weights_sha256": report["weights_sha256"],
        "mae": report["controls"]["test"]["base"]["mae"],
    }
    write_json(with_evaluation(report, options.output, evaluation), options.output)
    if options.figure:
        figure(report, options.figure)
    print(table(report))
    return 0


def _stability(options: argparse.Namespace) -> int:
    import numpy as np

    from cilf.checkpoint import load
    from cilf.estimator import AgeEstimator
    from train.data.run_data import RunData
    from train.studies.stability import OffsetFinder, measure, table

    checkpoint, finder = load(options.weights), OffsetFinder()
    [name, *_] = checkpoint.config.training["data"]
    samples = RunData.open(options.cache, options.split, {name: 1.0}).tune.samples
    drawn = np.random.default_rng(0).permutation(len(samples))[: options.photos]
    report = measure(AgeEstimator(checkpoint, finder), finder, [samples[index] for index in sorted(drawn)])
    write_json(report, options.output)
    print(table(report))
    return 0


def _words(options: argparse.Namespace) -> int:
    from cilf.checkpoint import load
    from train.data.crop_cache import subset
    from train.data.datasets import read_groups, read_splits
    from train.evaluate.test_evaluations import with_evaluation
    from train.evaluate.zero_shot import towers_of
    from train.studies.texts import words

    checkpoint = load(options.weights)
    model = towers_of(checkpoint)
    photos = subset(options.cache / options.data, read_splits(options.split), options.part)
    crops = words.measured_crops(photos, read_groups(options.split), model.size)
    about = {"dataset": options.data, "weights_sha256": checkpoint.config.sha256}
    report = {**about, "part": options.part, **words.study(model, crops, words.visitors_prompts())}
    evaluation = about if options.part == "test" else None
    write_json(with_evaluation(report, options.output, evaluation), options.output)
    print(words.table(report["attributes"]) + "\n\n" + words.summary(report))
    return 0


def _captions(options: argparse.Namespace) -> int:
    from cilf.checkpoint import load
    from train.data.run_data import RunData
    from train.fit import provenance
    from train.fit.recipe import read_cilf_recipe
    from train.studies.texts.caption_cost import caption_cost, table

    recipe = read_cilf_recipe(options.recipe)
    data = RunData.open(
        options.cache, options.split, recipe.shares, min(side for _, side in recipe.fit.sizes)
    )
    earlier = json.loads(options.output.read_text(encoding="utf-8")) if options.output.is_file() else None
    how = options.seeds, earlier, options.processes, options.start
    report = caption_cost(recipe, data, options.folder, *how)
    start = load(options.start) if options.start else None
    made_of = provenance.describe(recipe, data.train, start, (), processes=1)
    write_json({"recipe": options.recipe, **report, "made_of": made_of}, options.output)
    print(table(report))
    return 0


def _reproduce(options: argparse.Namespace) -> int:
    from train.data.protocols import protocol
    from train.evaluate.point_report import table
    from train.fit.recipe import read_recipe
    from train.studies.reproduce import reproduce, summary

    report = reproduce(
        protocol(options.protocol),
        read_samples(options.data),
        read_recipe(options.recipe),
        options.output,
        start=options.start,
        seed=options.seed,
        processes=options.processes,
    )
    print(table(report) + "\n\n" + summary(report))
    return 0


def _cross_dataset(options: argparse.Namespace) -> int:
    from train.data.run_data import RunData
    from train.fit.recipe import read_recipe
    from train.studies.cross_dataset import (
        PREDICTIONS,
        REPORT,
        check_photos_differ,
        cross_dataset,
        measured_photos,
    )

    check_photos_differ(options.train, options.measure)
    recipe = read_recipe(options.recipe)
    data = RunData.open(options.cache, options.split, {options.train: 1.0}, recipe.crop_size)
    [train] = data.train
    parts = {data.splits.get(sample.name) for sample in train.cache.samples}
    report, rows = cross_dataset(
        recipe,
        train,
        data.tune if "tune" in parts else data.held[0],
        measured_photos(options.cache / options.measure, data.splits, options.part),
        options.output,
        resume=options.resume,
        workers=options.workers,
    )
    write_json({"recipe": options.recipe, **report}, options.output / REPORT)
    rows.to_csv(options.output / PREDICTIONS, index=False)
    logging.info("MAE %.2f, bias %+.2f on %d photos", report["mae"], report["bias"], report["photos"])
    return 0


def _cross_dataset_together(options: argparse.Namespace) -> int:
    from train.studies.cross_dataset import table, together

    measured = together(options.runs)
    write_json(measured, options.output)
    print(table(measured))
    return 0


def _seeds(options: argparse.Namespace) -> int:
    from cilf.checkpoint import load
    from train.calibrate.weight_averaging import mean_of
    from train.data.run_data import RunData
    from train.fit import provenance
    from train.fit.loop import averaged_model
    from train.fit.recipe import read_recipe, with_seed, with_texts_of
    from train.studies.seeds import MEAN, START, ages_of, compare, table

    made_of = provenance.of_seeds(options.runs)
    if len(options.runs) < 2:
        raise UsageError("one run says nothing of luck; give those of two seeds at least")
    start = load(options.start)
    for run in options.runs:
        provenance.check_start(run, start)
    recipe = with_texts_of(start.config.model, read_recipe(options.recipe))
    data = RunData.open(options.cache, options.split, recipe.shares, recipe.crop_size)
    record = provenance.describe(with_seed(recipe, made_of["seed"]), data.train, start, (), processes=1)
    provenance.check_run(options.runs[0], record | {"teachers_sha256": made_of["teachers_sha256"]})
    parts = [*data.held, data.tune]
    networks = [averaged_model(recipe, run) for run in options.runs]
    ages = {START: ages_of(start.model, parts)}
    for seed, (model, _) in zip(made_of["seeds"], networks, strict=True):
        ages[f"seed {seed}"] = ages_of(model, parts)
    ages[MEAN] = ages_of(mean_of([model for model, _ in networks]), parts)
    report = {
        "recipe": Path(options.recipe).stem,
        "seeds": made_of["seeds"],
        "steps": networks[0][1],
        "start_sha256": start.config.sha256,
        **compare(ages, parts, data.groups),
        "made_of": {
            name: made_of[name] for name in ("recipe", "commit", "uncommitted_changes", "data_sha256")
        },
    }
    write_json(report, options.output)
    print(table(report))
    return 0


def _systems(options: argparse.Namespace) -> int:
    from train.data.datasets import read_splits, select
    from train.studies.systems.comparison import HALVES, Budget, Photos, compare_systems

    part, samples = "test" if options.test else "tune", read_samples(options.data)
    photos = Photos(
        options.cache, tuple(options.split), select(samples, read_splits(options.split), part), part
    )
    print(
        compare_systems(
            dict(pair.split("=", 1) for pair in options.checkpoint),
            photos,
            Budget(options.seeds, options.variant_seeds, options.steps, options.epochs),
            options.folder,
            options.output,
            options.processes,
            (options.only,) if options.only else HALVES,
        )
    )
    return 0


def _report(options: argparse.Namespace) -> int:
    from train.studies.report import write

    write(options.checkpoint)
    return 0
