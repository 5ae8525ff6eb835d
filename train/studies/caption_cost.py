"""What do captions that name attributes cost the ages? Two equal short trainings with and without them.

The rich captions are those of the recipe; the plain ones name age, gender and race alone, and nothing is asked about
attributes. Photos, order, augmentation, steps and seed are the same. Both are measured on held-out and `tune` photos by
the network's own ages, without correction; `areas` says whether the rich training learned its words at all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cilf.errors import UsageError
from cilf.model.cilf import CILF
from train.data.crop_cache import Subset
from train.data.run_data import RunData
from train.evaluate.zero_shot import towers_of_network
from train.fit.loop import fit
from train.fit.objective import predict_ages
from train.fit.recipe import Recipe
from train.formatting import span
from train.metrics import BANDS, paired_bootstrap, within
from train.studies.words import attribute_areas, measured_crops

CAPTIONS = ("plain", "rich")


def caption_cost(recipe: Recipe, data: RunData, folder: Path, **how: Any) -> dict[str, Any]:
    """Train both in `folder`, which is kept between calls, and compare them. `how` goes to `fit`.

    Raises UsageError for a recipe whose captions are plain already.
    """
    if not recipe.loss.attributes:
        raise UsageError("This recipe's captions name no attributes: give one with `attributes` above 0.")
    recipes = {"plain": replace(recipe, loss=replace(recipe.loss, attributes=0.0)), "rich": recipe}
    size = recipe.fit.sizes[-1][1]
    parts = [*data.held, data.tune]
    crops = measured_crops(data.tune, data.groups, size)
    ages, areas = {}, {}
    for captions, each in recipes.items():
        model = fit(each, data.train, data.tune, folder / captions, resume=True, **how)
        assert isinstance(model, CILF)
        ages[captions] = np.concatenate([predict_ages(model, part, size) for part in parts])
        areas[captions] = attribute_areas(towers_of_network(model, captions), crops)
    return {
        "epochs": recipe.fit.epochs,
        "batch_size": recipe.fit.batch_size,
        "size": size,
        "seed": recipe.fit.seed,
        **compare(parts, ages, data.groups),
        "areas": areas,
    }


def compare(
    parts: Sequence[Subset], ages: Mapping[str, np.ndarray], groups: Mapping[str, str]
) -> dict[str, Any]:
    """Errors of both trainings on the same photos, and by how much the rich captions' are larger, by `group`."""
    samples = [sample for part in parts for sample in part.samples]
    truth = np.array([sample.age for sample in samples], dtype=np.float64)
    errors = {captions: np.abs(ages[captions] - truth) for captions in CAPTIONS}
    units = [groups.get(sample.name, sample.name) for sample in samples]
    paired = paired_bootstrap(errors["rich"], errors["plain"], units)
    bands = {name: within(truth, *band) for name, band in BANDS.items()}
    return {
        "photos": len(samples),
        "mae": {captions: float(error.mean()) for captions, error in errors.items()},
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
