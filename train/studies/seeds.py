"""How much of a training's result is luck: runs of one recipe from one start that differ in their seeds alone, and the
mean of their weights.

Seeds decide the order of the photos, their augmentation and what the network drops. Each network is measured by one
crop of each photo, before the rest of calibration and before correction.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from cilf.model.base import AgeModel
from train.calibrate.calibrate import describe, fit_temperature, join, rescale
from train.calibrate.even_choice import even_error
from train.data.crop_cache import Subset
from train.formatting import signed, signed_span
from train.metrics import BANDS, accuracy, paired_bootstrap, within

START, MEAN = "start", "mean of their weights"


def ages_of(model: AgeModel, parts: Sequence[Subset]) -> Float[np.ndarray, " photo"]:
    """Estimate the photos of all parts by a network, at the temperature that is best on them: without one, what differs
    is above all how soft a training left the distributions. In years."""
    model.head.temperature.fill_(1)
    described = join([describe(model, part, mirror=False) for part in parts])
    temperature, _ = fit_temperature(model, described)
    ages: np.ndarray = rescale(model, described, temperature).estimate.age.numpy()
    return ages


def compare(
    ages: Mapping[str, Float[np.ndarray, " photo"]], parts: Sequence[Subset], groups: Mapping[str, str]
) -> dict[str, Any]:
    """Put the networks' errors side by side.

    Args:
        ages: network → its ages in years of N photos: `START`, one entry for each seed, and `MEAN`.
        parts: these photos.
        groups: file name → group of near-duplicates, which are drawn together for the range.

    Returns:
        JSON values: of each network errors in years; of the seeds the mean and the standard deviation (n − 1) of each;
        `differ`, the standard deviation of the seeds' ages of one face, the root of the mean variance; and `gain`,
        by how much the mean of the weights errs less than one seed does on average, with its range.
    """
    samples = [sample for part in parts for sample in part.samples]
    truth = np.array([sample.age for sample in samples], dtype=np.float64)
    networks = {name: _errors(truth, each) for name, each in ages.items()}
    seeds = [name for name in ages if name not in (START, MEAN)]
    of_seeds = np.array([ages[name] for name in seeds])
    units = [groups.get(sample.name, sample.name) for sample in samples]
    paired = paired_bootstrap(np.abs(of_seeds - truth).mean(axis=0), np.abs(ages[MEAN] - truth), units)
    columns = {name: [networks[seed][name] for seed in seeds] for name in networks[START]}
    return {
        "photos": len(samples),
        "networks": networks,
        "mean": {name: float(np.mean(values)) for name, values in columns.items()},
        "deviation": {name: float(np.std(values, ddof=1)) for name, values in columns.items()},
        "differ": float(np.sqrt(of_seeds.var(axis=0, ddof=1).mean())),
        "gain": paired["gain"],
        "gain_range": paired["gain_range"],
    }


def _errors(truth: np.ndarray, age: np.ndarray) -> dict[str, float]:
    bands = {name: within(truth, *band) for name, band in BANDS.items()}
    of_bands = {name: float(np.abs(age - truth)[rows].mean()) for name, rows in bands.items() if rows.any()}
    return {**accuracy(truth, age), "evenly": even_error(age, truth), **of_bands}


def table(report: Mapping[str, Any]) -> str:
    """Write Markdown: a row for each network, those of mean and deviation of the seeds, and two sentences."""
    networks = report["networks"]
    bands = [name for name in networks[START] if name in BANDS]
    lines = [
        f"| network | MAE | all ages alike | CS@5 | bias | {' | '.join(bands)} |",
        "|---|---|---|---|---|" + "---|" * len(bands),
    ]

    def row(name: str, cells: Sequence[str]) -> str:
        return f"| {name} | {' | '.join(cells)} |"

    def cells(values: Mapping[str, float]) -> list[str]:
        errors = [f"{values['mae']:.3f}", f"{values['evenly']:.3f}", f"{values['cs5']:.1%}"]
        return [*errors, signed(values["bias"], 2), *(f"{values[name]:.2f}" for name in bands)]

    lines += [row(name, cells(values)) for name, values in networks.items() if name != MEAN]
    spread = report["deviation"]
    deviations = [f"{spread['mae']:.3f}", f"{spread['evenly']:.3f}", f"{100 * spread['cs5']:.1f} points"]
    deviations += [f"{spread[name]:.2f}" for name in ("bias", *bands)]
    lines += [
        row("mean of the seeds", cells(report["mean"])),
        row("their standard deviation", deviations),
        row(MEAN, cells(networks[MEAN])),
        "",
        f"The seeds' ages of one face have a standard deviation of {report['differ']:.2f} years.\nThe mean of the "
        f"weights gains {signed(report['gain'], 3)} years over one seed on average "
        f"({signed_span(report['gain_range'], 3)}, {report['photos']:,} photos).",
    ]
    return "\n".join(lines)
