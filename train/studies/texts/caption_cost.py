"""What do captions that name attributes cost the ages? Two equal short trainings with and without them.

The rich captions are those of the recipe; the plain ones name age, gender and race alone, also in the texts that a text
tower may learn from before, and nothing is asked about attributes. Photos, order, augmentation, steps and seed are the
same. Both are measured on held-out and `tune` photos by the network's own ages, without correction; `areas` says
whether the rich training learned its words at all. The report keeps what each run said, so that another seed, a day
later and without the folder of the first, adds to it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cilf.checkpoint import load
from cilf.errors import UsageError
from cilf.model.cilf import CILF
from train.data.crop_cache import Subset
from train.data.run_data import RunData
from train.evaluate.zero_shot import towers_of_network
from train.fit import provenance
from train.fit.loop import fit
from train.fit.objective import predict_ages
from train.fit.recipe import Recipe
from train.formatting import span
from train.metrics import BANDS, paired_bootstrap, within
from train.studies.side_by_side import side_by_side
from train.studies.texts.words import attribute_areas, measured_crops

CAPTIONS = ("plain", "rich")


def caption_cost(
    recipe: Recipe,
    data: RunData,
    folder: Path,
    seeds: int = 1,
    earlier: Mapping[str, Any] | None = None,
    processes: int = 1,
    start: str | None = None,
) -> dict[str, Any]:
    """Train both in `folder`, which is kept between calls, and compare them.

    Args:
        recipe: of the rich captions; the plain ones are made of it.
        data: learned from `train`, measured on `held` and `tune`.
        folder: takes a run for each kind of captions and each seed.
        seeds: so many trainings of each, from the recipe's seed on.
        earlier: a report of this function; runs of the same recipes and photos that it holds are not repeated.
        processes: so many trainings side by side, on one thread each: two of them are quicker than one after the
            other on two threads.
        start: the checkpoint from whose weights both begin; without one they begin as the recipe says.

    Raises:
        UsageError: the recipe's captions are plain already.
    """
    if not recipe.loss.attributes:
        raise UsageError("This recipe's captions name no attributes: give one with `attributes` above 0.")
    recipes = {"plain": replace(recipe, loss=replace(recipe.loss, attributes=0.0)), "rich": recipe}
    parts = [*data.held, data.tune]
    photos = [part.fingerprint() for part in (*data.train, *parts)]
    seeded = {
        f"{captions}-{seed}": replace(each, fit=replace(each.fit, seed=seed))
        for seed in range(recipe.fit.seed, recipe.fit.seed + seeds)
        for captions, each in recipes.items()
    }
    weights = [load(start).config.sha256] if start else []
    of = {
        name: provenance.digest([asdict(each), photos, *weights, *_texts(each)])
        for name, each in seeded.items()
    }
    known = (earlier or {}).get("runs", {})
    missing = [name for name in seeded if known.get(name, {}).get("of") != of[name]]
    jobs = {name: partial(_run, seeded[name], data, folder / name, start) for name in missing}
    fresh = side_by_side(jobs, processes)
    runs = {name: {"of": of[name], **fresh[name]} if name in fresh else known[name] for name in seeded}
    by_captions = {
        captions: [run for name, run in runs.items() if name.startswith(captions)] for captions in CAPTIONS
    }
    ages_of_all = {
        captions: np.array([run["ages"] for run in each]) for captions, each in by_captions.items()
    }
    return {
        "epochs": recipe.fit.epochs,
        "batch_size": recipe.fit.batch_size,
        "size": recipe.fit.sizes[-1][1],
        "seeds": seeds,
        "start_sha256": weights[0] if weights else None,
        "plain_texts": True,
        **compare(parts, ages_of_all, data.groups),
        "areas": {
            captions: {
                name: float(np.mean([run["areas"][name] for run in each])) for name in each[0]["areas"]
            }
            for captions, each in by_captions.items()
        },
        "runs": known | runs,
    }


def _texts(recipe: Recipe) -> list[str]:
    """Tells plain runs from earlier ones, whose text towers had learned every word from texts."""
    return ["plain texts"] if recipe.fit.text_steps and not recipe.loss.attributes else []


def _run(recipe: Recipe, data: RunData, folder: Path, start: str | None) -> dict[str, Any]:
    """Train one, unless `folder` has it; the area under the curve of each attribute on `tune`, and the ages in years of
    held-out and `tune` photos."""
    size = recipe.fit.sizes[-1][1]
    begin = load(start) if start else None
    provenance.check_start(folder, begin)
    model = fit(recipe, data.train, data.tune, folder, resume=True, start=begin)
    assert isinstance(model, CILF)
    ages = np.concatenate([predict_ages(model, part, size) for part in (*data.held, data.tune)])
    crops = measured_crops(data.tune, data.groups, size)
    areas = attribute_areas(towers_of_network(model, folder.name), crops)
    return {"areas": areas, "ages": [round(float(age), 2) for age in ages]}


def compare(
    parts: Sequence[Subset], ages: Mapping[str, np.ndarray], groups: Mapping[str, str]
) -> dict[str, Any]:
    """Errors of both kinds of captions on the same photos, and by how much the rich ones' are larger.

    Args:
        parts: N photos.
        ages: (seed, N) in years, for each kind.
        groups: file name → group of near-duplicates, which are drawn together for the range.
    """
    samples = [sample for part in parts for sample in part.samples]
    truth = np.array([sample.age for sample in samples], dtype=np.float64)
    by_seed = {captions: np.abs(ages[captions] - truth) for captions in CAPTIONS}
    errors = {captions: each.mean(axis=0) for captions, each in by_seed.items()}
    units = [groups.get(sample.name, sample.name) for sample in samples]
    paired = paired_bootstrap(errors["rich"], errors["plain"], units)
    bands = {name: within(truth, *band) for name, band in BANDS.items()}
    return {
        "photos": len(samples),
        "mae": {captions: float(error.mean()) for captions, error in errors.items()},
        "mae_by_seed": {captions: each.mean(axis=1).tolist() for captions, each in by_seed.items()},
        "cost": paired["gain"],
        "cost_range": paired["gain_range"],
        "bands": {
            name: {captions: float(error[rows].mean()) for captions, error in errors.items()}
            for name, rows in bands.items()
            if rows.any()
        },
    }


def table(report: Mapping[str, Any]) -> str:
    """A row for each kind of captions, in Markdown, and a sentence about the difference."""
    lines = [
        "| captions | MAE | "
        + " | ".join(report["bands"])
        + " | median area under the curve of the attributes |",
        "|---|---|" + "---|" * len(report["bands"]) + "---|",
    ]
    for captions in CAPTIONS:
        errors = " | ".join(f"{band[captions]:.2f}" for band in report["bands"].values())
        areas = list(report["areas"][captions].values())
        area = f"{np.median(areas):.2f}" if areas else "too few photos"
        lines.append(f"| {captions} | {report['mae'][captions]:.3f} | {errors} | {area} |")
    cost, low_and_high = report["cost"], span(report["cost_range"], "+.3f")
    lines.append(
        f"\nRich captions cost {cost:+.3f} years (95 % range {low_and_high}, {report['photos']} photos)."
    )
    return "\n".join(lines)
