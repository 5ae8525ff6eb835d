"""Learning from other models' estimates."""

import random
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from cilf.checkpoint import Checkpoint
from cilf.errors import UsageError
from cilf.model.cilf import build_model
from cilf.model.config import PromptConfig
from tests import tiny
from tests.train.made_up import FIT, RECIPE, subset
from train.data.batches import Batch
from train.data.datasets import DatasetError
from train.fit import provenance
from train.fit.distillation import Teachers
from train.fit.loop import Interrupted, fit
from train.fit.losses.cilf import LossConfig
from train.fit.objective import build_system
from train.fit.recipe import Recipe

SIZE, AGES = tiny.MODEL.image_size, tiny.MODEL.prompts.num_ages
DISTILLED = replace(RECIPE, loss=LossConfig(distillation=0.5))


@cache
def teacher(seed: int, prompts: PromptConfig = tiny.MODEL.prompts) -> Checkpoint:
    """A model with random weights."""
    torch.manual_seed(seed)
    config = replace(tiny.CHECKPOINT, model=replace(tiny.MODEL, prompts=prompts))
    return tiny.checkpoint(build_model(config.model), tiny.ensemble(), config)


def pixels(count: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


@pytest.mark.slow
@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_each_draw_is_a_teachers_word_on_one_view(seed: int, count: int) -> None:
    checkpoints, photos = [teacher(number) for number in range(count)], pixels(2)
    found = Teachers(checkpoints, AGES)(photos, random.Random(seed))
    torch.testing.assert_close(found.sum(dim=1), torch.ones(2))
    with torch.no_grad():
        said = [
            one.model.describe(view, one.model.encode_ages(), mirror=False).estimate.probabilities
            for one in checkpoints
            for view in (photos, photos.flip(-1))
        ]
    assert min(float((found - each).abs().max()) for each in said) < 1e-4


@pytest.mark.slow
def test_in_the_long_run_all_of_them_speak_on_both_views() -> None:
    teachers, photos = Teachers([teacher(1), teacher(2)], AGES), pixels(1)
    chance = random.Random(0)
    said = {tuple(np.round(teachers(photos, chance)[0].numpy(), 5)) for _ in range(40)}
    assert len(said) == 4


def test_a_teacher_sees_photos_of_another_size_at_its_own() -> None:
    small = pixels(2)[..., ::2, ::2].contiguous()
    found = Teachers([teacher(1)], AGES)(small, random.Random(0))
    enlarged = F.interpolate(small, (SIZE, SIZE), mode="bilinear", antialias=True)
    torch.testing.assert_close(found, Teachers([teacher(1)], AGES)(enlarged, random.Random(0)))


def test_teachers_never_learn() -> None:
    given = teacher(1)
    before = {name: value.clone() for name, value in given.model.state_dict().items()}
    system = build_system(DISTILLED, teachers=[given])
    system.train()
    assert system.model.training
    teachers = system.teachers
    assert isinstance(teachers, Teachers)
    assert not any(module.training for module in teachers.modules())
    assert not any(parameter.requires_grad for parameter in teachers.parameters())
    after = given.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.training
def test_wholly_taught_a_distribution_does_not_depend_on_the_labels() -> None:
    data = subset(4).cache.samples
    older = [replace(sample, age=90.0) for sample in data]

    def divergence(share: float, samples: list) -> float:  # type: ignore[type-arg]
        torch.manual_seed(0)
        recipe = replace(RECIPE, loss=LossConfig(distillation=share), fit=replace(FIT, mixup_share=0.0))
        system = build_system(recipe, teachers=[teacher(1)])
        return float(system(Batch(0, pixels(4), samples, np.arange(4)))["distribution"].detach())

    assert divergence(1.0, data) == pytest.approx(divergence(1.0, older), abs=1e-6)
    assert divergence(0.5, data) != pytest.approx(divergence(0.5, older), abs=1e-3)


@pytest.mark.training
def test_a_taught_run_can_be_stopped_and_resumed(tmp_path: Path) -> None:
    data, teachers = subset(), [teacher(1), teacher(2)]
    whole = fit(DISTILLED, [data], data, tmp_path / "whole", teachers=teachers).state_dict()
    with pytest.raises(Interrupted):
        fit(DISTILLED, [data], data, tmp_path / "parts", teachers=teachers, stop_at=3)
    with pytest.raises(DatasetError, match="begun with other teachers"):
        fit(DISTILLED, [data], data, tmp_path / "parts", teachers=teachers[:1], resume=True)
    resumed = fit(DISTILLED, [data], data, tmp_path / "parts", teachers=teachers, resume=True).state_dict()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    made_of = provenance.read(tmp_path / "whole")
    assert made_of["teachers_sha256"] == [
        provenance.weights_sha256(one.model.state_dict()) for one in teachers
    ]


@pytest.mark.parametrize(
    ("recipe", "teachers", "said"),
    [
        (RECIPE, [teacher(1)], "The recipe learns from no teacher: leave out --teacher."),
        (DISTILLED, [], "The recipe learns from teachers: give at least one --teacher."),
        (
            DISTILLED,
            [teacher(1), teacher(2, prompts=replace(tiny.MODEL.prompts, num_ages=90))],
            "Teacher 2 estimates 90 ages, the recipe 101",
        ),
    ],
)
def test_teachers_that_do_not_fit_the_recipe(recipe: Recipe, teachers: list[Checkpoint], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        build_system(recipe, teachers=teachers)


def test_the_data_of_teachers_count_as_learned_from() -> None:
    first = {"data": ["utkface"], "teachers": []}
    training = {"data": ["utkface"], "start": first, "teachers": [first, {"data": ["agedb"]}]}
    assert provenance.learned_from(training) == ["utkface", "agedb"]
