"""How long the bundled systems train: `pytest tests/benchmarks/test_training_time.py -s`. Asserts no time.

Short runs of the real loop on random pictures, each recipe at each of its sizes, in turns, so that other work on the
machine hits all alike; the compared systems on one thread, as they are trained. The median step of each size times the
steps that the recipe takes at that size, and what LRA-GNN's walk takes after them; what is measured between epochs is
left out.
"""

import itertools
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cilf.checkpoint import load
from cilf.model.build import build
from cilf.model.lra_gnn import LRAGNN
from tests.benchmarks.results import record
from tests.benchmarks.test_loading import ROUNDS, STEPS, random_pictures, seconds_per_step
from train.data.batches import Cached
from train.data.crop_cache import Subset
from train.fit.recipe import AnyRecipe, read_recipe
from train.fit.walk import has_walk, learn_walk

UPDATES = 100  # of the walk, for its pace
# Steps of an epoch with the photos that README names: UTKFace and 60 % of All-Age-Faces, or UTKFace alone.
COMPARED = {"systems/control": 360, "lra-gnn": 360, "mcgrl": 360, "systems/cilf-one-stage": 360}
STAGES = {
    "compact-teacher": 90,
    "compact": 90,
    "compact-finish": 90,
    "mtmsa": 247,
    "mtmsa-finish": 247,
    "mtmsa-longer": 247,
}
# Whose steps take as long as those of another recipe.
AS_LONG_AS = {"compact-finish": "compact", "mtmsa-finish": "mtmsa", "mtmsa-longer": "mtmsa"}


def steps_per_size(recipe: AnyRecipe, epoch: int) -> dict[int, float]:
    starts = [start for start, _ in recipe.fit.sizes] + [1.0]
    return {
        size: (end - start) * recipe.fit.epochs * epoch
        for (start, size), end in zip(recipe.fit.sizes, starts[1:], strict=True)
    }


def at_one_size(recipe: AnyRecipe, size: int) -> AnyRecipe:
    options: dict[str, Any] = {"epochs": 1, "sizes": ((0.0, size),)}
    options |= {"imagenet": False, "trunk_of_start": False}  # from random weights a step takes as long
    return replace(recipe, fit=replace(recipe.fit, **options))


@pytest.mark.parametrize(
    ("table", "epochs", "threads"),
    [("training time", COMPARED, 1), ("training time of the stages", STAGES, torch.get_num_threads())],
)
def test_training_time(
    table: str,
    epochs: dict[str, int],
    threads: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    request.addfinalizer(partial(torch.set_num_threads, torch.get_num_threads()))
    torch.set_num_threads(threads)
    recipes = {name: read_recipe(name) for name in epochs}
    steps = {name: steps_per_size(recipe, epochs[name]) for name, recipe in recipes.items()}
    data = random_pictures(max(recipe.fit.batch_size for recipe in recipes.values()) * STEPS)
    cases = [(name, size) for name in epochs if name not in AS_LONG_AS for size in steps[name]]
    teachers = {"compact": [load()]}
    times: dict[tuple[str, int], list[float]] = {case: [] for case in cases}
    for turn, (name, size) in itertools.product(range(ROUNDS), cases):
        recipe, folder = at_one_size(recipes[name], size), tmp_path / f"{name}{size}-{turn}"
        taught_by = teachers.get(name, ())
        times[name, size] += seconds_per_step(recipe, data, folder, Cached, monkeypatch, taught_by)
    walks = {name: walk_minutes(recipe, data, epochs[name]) for name, recipe in recipes.items()}
    record(
        table,
        {name: {"min": minutes(name, steps[name], times) + walks[name]} for name in epochs},
        command="pytest tests/benchmarks/test_training_time.py -s",
        method=f"The median step of each size on {threads} thread(s), times the steps of the recipe.",
    )


def walk_minutes(recipe: AnyRecipe, data: Subset, epoch: int) -> float:
    """Duration of a last stage that fits a walk on the photos of an epoch; 0 where there is none."""
    model = build(recipe.model)
    if not isinstance(model, LRAGNN) or not has_walk(model):
        return 0.0
    spent = []
    for updates in (0, UPDATES):
        start = time.perf_counter()
        learn_walk(model, replace(recipe, loss=replace(recipe.loss, walk_updates=updates)), [data])
        spent.append(time.perf_counter() - start)
    encoding = spent[0] * epoch * recipe.fit.batch_size / len(data.rows)
    return (encoding + (spent[1] - spent[0]) * recipe.loss.walk_updates / UPDATES) / 60


def minutes(name: str, steps: dict[int, float], times: dict[tuple[str, int], list[float]]) -> float:
    """Duration of a whole recipe; `steps` per size in pixels, `times` in seconds a step."""
    timed = AS_LONG_AS.get(name, name)
    return sum(count * float(np.median(times[timed, size])) for size, count in steps.items()) / 60
