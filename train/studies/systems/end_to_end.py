"""Every system trained end to end, or loaded, and measured through the public API on the same photos."""

import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pydantic import TypeAdapter
from torch.utils.flop_counter import FlopCounterMode

from cilf.checkpoint import Checkpoint, CheckpointConfig, bundled, load
from cilf.estimator import AgeEstimator
from cilf.model.config import LRAGNNConfig
from cilf.model.head import NormalHead
from train.calibrate.checkpoint import is_checkpoint_of, save_run
from train.data.datasets import Sample
from train.data.run_data import RunData
from train.evaluate.report import predict
from train.fit import provenance
from train.fit.loop import fit
from train.fit.recipe import read_recipe
from train.formatting import write_json
from train.studies.side_by_side import side_by_side

log = logging.getLogger(__name__)

TRUNK = "trunk"  # from which all that are trained start

RECIPES = {
    TRUNK: "systems/trunk",
    "control": "systems/control",
    "LRA-GNN": "lra-gnn",
    "MCGRL": "mcgrl",
    "CILF": "systems/cilf-one-stage",
}
"""What is trained where no checkpoint is given, by recipes that differ in network and losses alone."""

LOADED = {"MTMSA": "mtmsa", "CILF as shipped": "compact"}
"""Bundled checkpoints that are measured beside them; neither has the others' budget."""

MINUTES = "minutes.json"
RUNS = 20  # of one crop, of which the median counts


def trained(
    name: str, given: Mapping[str, str], cache: Path, splits: Sequence[Path], folder: Path, processes: int
) -> str | Path:
    """A system's checkpoint: what is `given` for it, or a folder below `folder`, where it is trained and calibrated
    unless it is there already.

    Raises:
        DatasetError: the run in `folder` was begun from another trunk than the one that is there now.
    """
    if name in given:
        return given[name]
    wants_trunk = read_recipe(RECIPES[name]).fit.trunk_of_start
    start = trained(TRUNK, given, cache, splits, folder, processes) if wants_trunk else None
    return _trained(RECIPES[name], start, cache, splits, folder / name.lower(), processes)


def _trained(
    name: str, start: str | Path | None, cache: Path, splits: Sequence[Path], own: Path, processes: int
) -> Path:
    """The checkpoint in the folder `own` of a run of the recipe called `name`, from the checkpoint `start`."""
    recipe = read_recipe(name)
    run, checkpoint, before = own / "run", own / "checkpoint", load(start) if start else None
    data = RunData.open(cache, splits, recipe.shares, recipe.crop_size)
    provenance.check_start(run, before)
    provenance.check_run(run, provenance.describe(recipe, data.train, before, (), processes=1))
    if not is_checkpoint_of(run, checkpoint):
        with _timed(own):
            fit(recipe, data.train, data.tune, run, resume=True, start=before)
        save_run(recipe, data, run, checkpoint, own / "views", processes, training=_timed(own))
    return checkpoint


def train_all(
    given: Mapping[str, str], cache: Path, splits: Sequence[Path], folder: Path, processes: int
) -> None:
    """Train and calibrate what is neither `given` nor there already: the trunk with every processor, then the others
    side by side in so many processes, each on one thread.

    What else the machine does then slows all alike, so that their minutes can be compared, and networks as small as
    these gain little from a second thread.
    """
    missing = [name for name in RECIPES if name not in given and name != TRUNK]
    trunk = trained(TRUNK, given, cache, splits, folder, processes) if missing else None
    jobs = {
        name: partial(_trained, RECIPES[name], trunk, cache, splits, folder / name.lower(), 1)
        for name in missing
    }
    side_by_side(jobs, processes)


@contextmanager
def _timed(folder: Path) -> Iterator[None]:
    """Add to the minutes that training in `folder` has taken, also when it is interrupted."""
    folder.mkdir(parents=True, exist_ok=True)
    before, start = minutes(folder) or 0.0, time.monotonic()
    try:
        yield
    finally:
        spent = before + (time.monotonic() - start) / 60
        (folder / MINUTES).write_text(json.dumps(spent), encoding="utf-8")


def minutes(folder: Path) -> float | None:
    """Minutes that training in `folder` took; None where nobody counted."""
    path = folder / MINUTES
    return float(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


@dataclass(frozen=True)
class Reading:
    """What a checkpoint, or the checkpoint without one of its parts, says of some photos, and what it costs."""

    predictions: pd.DataFrame
    cost: dict[str, Any]


def measured(source: str | Path, samples: list[Sample]) -> dict[str, Reading]:
    """A checkpoint measured on some photos, under ""; one that can correct also without its correction, one with a walk
    also without its walk."""
    checkpoint = load(source)
    cost = costs(checkpoint)
    rows = predict(AgeEstimator(checkpoint), samples)
    readings = {"": Reading(rows, cost)}
    if checkpoint.config.ensemble is not None:
        readings["without correction"] = Reading(rows.assign(age=rows["initial_age"]), cost)
    if (plain := without_walk(load(source))) is not None:
        cost = costs(plain)
        readings["without the walk"] = Reading(predict(AgeEstimator(plain), samples), cost)
    return readings


def measured_once(source: str | Path, samples: list[Sample], stored: Path) -> dict[str, Reading]:
    """`measured`, or what an earlier call stored of the same checkpoint and photos."""
    config = TypeAdapter(CheckpointConfig).dump_python(load(source).config, mode="json")
    of = [provenance.digest(config), provenance.digest([sample.name for sample in samples])]
    if stored.is_file():
        report = json.loads(stored.read_text(encoding="utf-8"))
        if report["of"] == of:
            readings = report["readings"].items()
            return {name: Reading(pd.DataFrame(each["predictions"]), each["cost"]) for name, each in readings}
    readings = measured(source, samples)
    values = {
        name: {"predictions": each.predictions[["name", "truth", "age"]].to_dict("list"), "cost": each.cost}
        for name, each in readings.items()
    }
    stored.parent.mkdir(parents=True, exist_ok=True)
    write_json({"of": of, "readings": values}, stored)
    return readings


def without_walk(checkpoint: Checkpoint) -> Checkpoint | None:
    """The same with the age of its regression; None where there is no walk."""
    model = checkpoint.config.model
    if not isinstance(model, LRAGNNConfig) or model.head != "walk":
        return None
    config = replace(checkpoint.config, model=replace(model, head="regression"))
    tensors = {name: value for name, value in checkpoint.tensors.items() if ".walk." not in name}
    return replace(checkpoint, tensors=tensors, config=config, graph=None)


@torch.no_grad()
def costs(checkpoint: Checkpoint) -> dict[str, Any]:
    """Parameters, multiply-adds of one crop, milliseconds a crop on one thread, and what it learned from."""
    model = checkpoint.model
    pixels, age_text = torch.rand(1, 3, model.image_size, model.image_size), model.encode_ages()
    with FlopCounterMode(display=False) as counter:
        model.describe(pixels, age_text, mirror=checkpoint.config.mirror)
    count = sum(value.numel() for value in model.parameters())
    compute, crops = checkpoint.network(), np.zeros((1, model.image_size, model.image_size, 3), np.uint8)
    return {
        "parameters": count,
        "multiply_adds": counter.get_total_flops() // 2,
        "milliseconds": _median_milliseconds(lambda: compute(crops)),
        "graph": checkpoint.graph is not None,
        "data": list(checkpoint.config.training.get("data", ())),
        "pictures": pictures(checkpoint.config.training),
        "seed": checkpoint.config.training.get("seed"),
        "weights_sha256": checkpoint.config.sha256,
        "start_sha256": checkpoint.config.training.get("start_sha256"),
        "distribution": "normal" if isinstance(model.head, NormalHead) else "categorical",
    }


def pictures(training: Mapping[str, Any] | None) -> int:
    """How many augmented pictures a network learned from, those of the runs that it started from among them; of the
    `training` table of a checkpoint."""
    if not training:
        return 0
    own = int(training.get("steps", 0)) * int(training.get("batch_size", 0))
    return own + pictures(training.get("start"))


def _median_milliseconds(call: Any) -> float:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    torch.set_num_threads(threads)
    return 1000 * float(np.median(times))


def measure_all(
    given: Mapping[str, str],
    samples: list[Sample],
    part: str,
    cache: Path,
    splits: Sequence[Path],
    folder: Path,
    processes: int,
) -> list[dict[str, Any]]:
    """All systems: name, reading, costs, minutes, and as a table under `predictions` what they say of `samples`, photos
    of the split's `part`."""
    if processes > 1:
        train_all(given, cache, splits, folder, processes)
    rows = []
    for name in (*(name for name in RECIPES if name != TRUNK), *LOADED):
        own = folder / name.lower().replace(" ", "-")
        if name in LOADED and name not in given:
            source: str | Path = bundled(LOADED[name])
        else:
            source = trained(name, given, cache, splits, folder, processes)
        readings = measured_once(source, samples, own / f"{part}.json")
        spent = None if name in given else minutes(own)
        log.info("%s: measured", name)
        rows += [
            {"name": name, "reading": what, **each.cost, "minutes": spent, "predictions": each.predictions}
            for what, each in readings.items()
        ]
    return rows
