"""Pipelines name recipes that exist, in an order in which each stage has what it starts from."""

from pathlib import Path

import pytest

from cilf.checkpoint import BUNDLED
from cilf.errors import UsageError
from train.fit.pipeline import PIPELINES, read_pipeline
from train.fit.recipe import read_recipe

STAGE = '[[stages]]\nrecipe = "compact"\n'


@pytest.mark.parametrize("name", sorted(path.stem for path in PIPELINES.glob("*.toml")))
def test_every_pipeline_can_be_walked(name: str) -> None:
    pipeline = read_pipeline(name)
    earlier = set(BUNDLED)
    for stage in pipeline.stages:
        assert {stage.start, *stage.teachers} - {""} <= earlier
        assert read_recipe(stage.recipe).crop_size <= pipeline.crop_size
        earlier.add(stage.name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("crop_size = 128\n", "a key too many or too few"),
        (STAGE, "a key too many or too few"),
        ("crop_size = 128\nspeed = 1\n" + STAGE, "a key too many or too few"),
        ("crop_size = 128\n" + STAGE + STAGE, "stages of different names"),
        ("crop_size = 128\n" + STAGE + "averaging = true\n", "give it a `start`"),
    ],
)
def test_a_wrong_pipeline_is_one_sentence(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_pipeline(path)
