"""The pipeline that a model card names is the one that made the weights."""

from dataclasses import replace
from typing import Any

import pytest

from tests import tiny
from train.fit.pipeline import read_pipeline
from train.fit.recipe import read_cilf_recipe
from train.release.card_texts import CARD_TEXTS
from train.release.model_card import disjoint_parts

LEARNED: dict[str, Any] = {"recipe": {"fit": {"text_steps": 450}}}
NOT: dict[str, Any] = {"recipe": {"fit": {"text_steps": 0}}}


@pytest.mark.parametrize(
    ("training", "pipeline"),
    [
        ({}, "compact"),
        (NOT | {"start": None}, "compact"),
        (LEARNED | {"start": NOT}, "compact-words"),
        (NOT | {"start": LEARNED}, "compact-words"),  # a last stage after the one that learned the words
    ],
)
def test_the_words_of_any_stage_count(training: dict[str, Any], pipeline: str) -> None:
    clip = replace(tiny.CLIP, words=("smiling",))
    config = replace(tiny.CHECKPOINT, model=replace(tiny.MODEL, clip=clip), training=training)
    assert CARD_TEXTS["cilf"].pipeline(config) == pipeline


def test_one_stage_of_the_pipeline_learns_words_and_the_next_keeps_them() -> None:
    steps = [read_cilf_recipe(stage.recipe).fit.text_steps for stage in read_pipeline("compact-words").stages]
    assert steps[0] > 0
    assert not any(steps[1:])


@pytest.mark.parametrize(
    ("part", "says", "not_says"),
    [
        ("test", "and for this test are disjoint", "too good"),
        ("all", "Measured on `all`", "this test"),
        ("tune", "Measured on `tune`", "this test"),
    ],
)
def test_a_card_says_whether_its_photos_were_used_before(part: str, says: str, not_says: str) -> None:
    text = " ".join(disjoint_parts(part).split())
    assert says in text
    assert not_says not in text


def test_photos_of_a_set_that_the_weights_never_saw_are_not_called_seen() -> None:
    assert "too good" not in disjoint_parts("all", seen=False)
