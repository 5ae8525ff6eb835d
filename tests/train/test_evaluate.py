"""What a report tells of groups, and the card made of it; on made-up predictions."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import open_clip
import pandas as pd
import pytest

from cilf.clip import ClipConfig
from tests import tiny
from train import attributes, points
from train.captions import vocabulary
from train.card import card
from train.evaluate import report, table, write

AGES = [5.0, 12.9, 17.5, 18.0, 29.9, 61.0]
RACES = ["east asian", "white", "latino hispanic", "east asian", "black", "white"]


def predictions() -> pd.DataFrame:
    """Six photos, estimated right, each label of race guessed as one of the prompts' words."""
    return pd.DataFrame(
        {
            "name": [f"{age}.jpg" for age in AGES],
            "truth": AGES,
            "age": AGES,
            "initial_age": AGES,
            "age_low": AGES,
            "age_high": AGES,
            "over_18": ["no" if age < 18 else "yes" for age in AGES],
            "status": "accepted",
            "detected": True,
            "gender": "female",
            "race": RACES,
            "gender_guess": "female",
            "race_guess": ["asian", "white", "white", "asian", "black", "black"],
            "subject": None,
            "group": None,
            "deviation": None,
        }
    )


def measured(dataset: str = "utkface") -> dict[str, Any]:
    estimator: Any = SimpleNamespace(source="made up", sha256="")
    return report(predictions(), dataset=dataset, part="test", estimator=estimator) | {"test_looks": []}


def test_every_age_is_in_one_band() -> None:
    """Labels between whole years, such as means of votes, too."""
    counts = {"age 0–12": 2, "age 13–17": 1, "age 18–29": 2, "age 60+": 1}
    for found in (measured(), points.point_report(predictions(), dataset="utkface", part="test")):
        assert {name: row["count"] for name, row in found["groups"].items() if name in counts} == counts
    decided = {name: row["count"] for name, row in measured()["over_18"].items()}
    assert decided == {"under 18": 3, "13–17": 1, "18 and over": 3, "18–24": 1}


def test_every_look_at_test_is_counted(tmp_path: Path) -> None:
    """Of a checkpoint and of prompts alike."""
    prompts = points.point_report(predictions(), dataset="utkface", part="test", clip="some CLIP")
    for found, who in ((measured(), "weights_sha256"), (prompts, "clip")):
        path = tmp_path / f"{who}.json"
        for _ in range(2):
            write(found, path)
        looks = json.loads(path.read_text())["test_looks"]
        assert [look[who] for look in looks] == [found[who]] * 2


def test_races_of_two_words_have_their_rows() -> None:
    found = measured()
    assert "| race east asian | 2 |" in table(found)
    assert "female" not in table(found).replace("gender female", "")
    assert "| female latino hispanic | – | 1:" in card(tiny.CHECKPOINT, found)


def test_only_what_prompts_can_name_counts_against_them() -> None:
    found = attributes.accuracy(predictions())
    assert (found["race"]["count"], found["race"]["accuracy"]) == (6, pytest.approx(2 / 6))
    named = found["race, where prompts have a word"]
    assert (named["count"], named["accuracy"]) == (3, pytest.approx(2 / 3))


@pytest.mark.parametrize("age", [0.4, 15.9, 16.0, 90.0])
def test_prompts_for_attributes_are_sentences_of_the_captions(age: float) -> None:
    known = " ".join(vocabulary()).split()
    for texts in attributes.prompts(age).values():
        assert all(set(text.split()) <= set(known) for each in texts.values() for text in each)


def test_a_card_names_what_was_trained_on_and_measured() -> None:
    config = replace(tiny.CHECKPOINT, training={"data": ["fgnet"]})
    said = card(config, measured("agedb"))
    assert "\nAgeDB `test`, 6 photos" in said
    assert "name: AgeDB\n" in said
    assert "Trained on FG-NET (" in said
    assert "UTKFace" not in said


def test_a_card_of_a_published_clip() -> None:
    clip = ClipConfig(open_clip.get_model_config("ViT-B-16-quickgelu"))
    said = card(replace(tiny.CHECKPOINT, model=replace(tiny.MODEL, clip=clip)), measured())
    assert "Image tower: a vision transformer of 12 layers on one aligned face of 224 px" in said
    assert "Both towers started from a published CLIP's weights." in said
