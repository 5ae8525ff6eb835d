"""What the loader costs the loop: `pytest tests/benchmarks/test_loading.py -s`. Asserts no time.

The recipe `compact` at its full size, on random pictures (compressing, blurring and turning them costs what it costs
for faces), by the real loop: once with the real loader, once with one batch that is there already. Short runs of both
take turns, so that other work on the machine hits both alike; medians over all their steps but each run's first.
"""

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cilf.checkpoint import Checkpoint
from tests.benchmarks.results import record
from train.data.batches import Batch, Cached
from train.data.crop_cache import CropCache, Subset
from train.data.datasets import Sample
from train.fit import loop
from train.fit.logger import Watch
from train.fit.recipe import Recipe, read_recipe

STEPS, ROUNDS = 5, 3
WORKERS = 0 if not torch.cuda.is_available() else None


class Constant(Cached):
    """One batch, over and over."""

    def batches(self, first: int, workers: int) -> Iterator[list[Batch]]:
        batch = next(super().batches(first, 0))
        steps = range(first, self.schedule.steps(self.steps_per_epoch))
        yield from (
            [replace(part, step=step) for part in parts]
            for step, parts in zip(steps, itertools.repeat(batch))
        )


def random_pictures(count: int) -> Subset:
    generator = np.random.default_rng(0)
    crops = generator.integers(0, 256, (count, 160, 160, 3), dtype=np.uint8)
    samples = [Sample(Path(f"{i}"), f"{i}", float(i % 90), "male", None, "utkface") for i in range(count)]
    return Subset(CropCache(samples, crops, 16, np.ones(count, dtype=bool)), np.arange(count))


def seconds_per_step(
    recipe: Recipe,
    data: Subset,
    folder: Path,
    source: type[Cached],
    monkeypatch: pytest.MonkeyPatch,
    teachers: Sequence[Checkpoint] = (),
) -> list[float]:
    """Of a run of STEPS steps without its first."""
    ends: list[float] = []
    step = Watch.step

    def watched(self: Watch, number: int, losses: Mapping[str, float], rate: float) -> None:
        step(self, number, losses, rate)
        ends.append(time.perf_counter())

    nothing = replace(data, rows=data.rows[:8])
    with monkeypatch.context() as patched:
        patched.setattr(loop, "Cached", source)
        patched.setattr(Watch, "step", watched)
        loop.fit(recipe, [data], nothing, folder, teachers=teachers, workers=WORKERS)
    return list(np.diff(ends))


def test_the_loader_keeps_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = read_recipe("compact")
    options: dict[str, Any] = {"epochs": 1, "sizes": ((0.0, 128),), "imagenet": False}
    recipe = replace(recipe, fit=replace(recipe.fit, **options))
    data = random_pictures(recipe.fit.batch_size * STEPS)
    times: dict[type[Cached], list[float]] = {Cached: [], Constant: []}
    for turn, source in itertools.product(range(ROUNDS), times):
        folder = tmp_path / f"{source.__name__}{turn}"
        times[source] += seconds_per_step(recipe, data, folder, source, monkeypatch)
    real, constant = (recipe.fit.batch_size / float(np.median(found)) for found in times.values())
    record(
        "training loader",
        {f"batches of {recipe.fit.batch_size}": {"images/s": real, "constant batch, images/s": constant}},
        command="pytest tests/benchmarks/test_loading.py -s",
        method="The recipe `compact` at its full size on random pictures, by the real loader and one constant batch.",
    )
