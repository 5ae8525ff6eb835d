"""What a report tells of groups, and the card made of it; on made-up predictions."""

import json
import re
import shlex
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import open_clip
import pandas as pd
import pytest

from cilf.checkpoint import CheckpointConfig
from cilf.model.config import ClipConfig
from tests import tiny
from tests.stand_in import CountingEstimator, picture
from train.__main__ import parser
from train.data.captions import vocabulary
from train.data.datasets import DatasetError, Sample
from train.evaluate import attributes
from train.evaluate import point_report as points
from train.evaluate.report import predict, report, table, write
from train.fit.pipeline import read_pipeline
from train.release.model_card import card

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


@cache
def first_measured(dataset: str) -> dict[str, Any]:
    estimator: Any = SimpleNamespace(source="made up", sha256="", graph_sha256=None)
    return report(predictions(), dataset=dataset, part="test", estimator=estimator)


def measured(dataset: str = "utkface") -> dict[str, Any]:
    """A copy, which a test may change; drawing the ranges takes a second."""
    return deepcopy(first_measured(dataset)) | {"test_looks": []}


def test_every_age_is_in_one_band() -> None:
    """Labels between whole years, such as means of votes, too."""
    counts = {"age 0–12": 2, "age 13–17": 1, "age 18–29": 2, "age 60+": 1}
    for found in (measured(), points.point_report(predictions(), dataset="utkface", part="test")):
        assert {name: row["count"] for name, row in found["groups"].items() if name in counts} == counts
    decided = {name: row["count"] for name, row in measured()["over_18"].items()}
    assert decided == {"under 18": 3, "13–17": 1, "18 and over": 3, "18–24": 1}


def test_photos_that_cannot_be_read_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    estimator: Any = CountingEstimator()
    paths = [picture(tmp_path / "a.png", 1), tmp_path / "broken.png", picture(tmp_path / "c.png", 2)]
    paths[1].write_bytes(b"no picture")
    samples = [Sample(path, path.name, 30.0, None, None, "utkface") for path in paths]
    assert list(predict(estimator, samples)["name"]) == ["a.png", "c.png"]
    assert f"left out: '{paths[1]}'" in caplog.text
    with pytest.raises(DatasetError, match="None of the 1 photos can be read"):
        predict(estimator, samples[1:2])


def test_the_middle_of_an_age_group_does_not_say_who_is_of_age() -> None:
    estimator: Any = SimpleNamespace(source="made up", sha256="", graph_sha256=None)
    grouped = predictions().assign(group=2)
    found = report(grouped, dataset="adience", part="test", estimator=estimator) | {"test_looks": []}
    assert found["over_18"] == {}
    assert "### 18 or over" not in card(tiny.CHECKPOINT, found)


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
    assert "| female latino hispanic | 13–17 | 1 |" in card(tiny.CHECKPOINT, found)
    assert "| female latino hispanic | 18–29 |" not in card(tiny.CHECKPOINT, found)


def test_every_group_has_its_ranges() -> None:
    """Coverage without a bootstrap, which a row of two photos that agree would give no width."""
    found = measured()
    row = found["groups"]["age 18–29 female white"] = found["groups"]["age 60+ female white"] | {"count": 9}
    row |= {"mae": 4.04, "mae_range": [2, 6], "cs5": 0.5, "cs5_range": [0.25, 0.75], "bias": -0.04}
    row |= {"bias_range": [-3.0, 0.04], "interval": row["interval"] | {"coverage_range": (0.2, 1)}}
    wanted = (
        "| female white | 18–29 | 9 | 4.0 (2.0–6.0) | 50% (25%–75%) | 0.0 (−3.0 to 0.0) | 100% (20%–100%) |"
    )
    assert wanted in card(tiny.CHECKPOINT, found)


def test_a_card_of_a_report_without_the_range_of_cs5() -> None:
    found = measured()
    for row in (found["all"], found["up_to_100"], *found["groups"].values()):
        del row["cs5_range"]
    said = card(tiny.CHECKPOINT, found)
    assert "The report is from before CS@5 had a range." in said
    assert (
        "| all | 6 | 0.00 (0.00–0.00) | 0.00 (0.00 to 0.00) | 0.00 | 100.0% | 100.0% (61.0%–100.0%) |" in said
    )


def test_a_card_has_no_negative_zero() -> None:
    found = measured()
    found["groups"]["age 13–17"]["bias"] = -0.0001
    assert "its bias is 0.0 years for ages 13 to 17" in card(tiny.CHECKPOINT, found)


def test_a_card_tells_what_the_interval_is_conditional_on() -> None:
    assert "in each band of true ages" in card(tiny.CHECKPOINT, measured())
    one = replace(tiny.CONFORMAL, edges=())
    assert "over all of them, not in every group" in card(replace(tiny.CHECKPOINT, conformal=one), measured())


def test_a_card_tells_which_looks_are_counted() -> None:
    found = measured() | {"test_looks": [{}, {}]}
    said = "Evaluations on this part so far: 2 by `train evaluate` (calls without `--report` are not counted)"
    assert f"{said}.\n" in card(tiny.MTMSA_CHECKPOINT, found)
    uncounted = "; those by `train correction` and `train ablate` are not counted."
    for studies in ({}, {"correction": {"sweep": []}}):
        assert f"{said}{uncounted}" in card(tiny.CHECKPOINT, found, studies)
    dates = [{"date": "2026-11-22"}, {"date": "2026-11-23"}]
    studies = {"correction": {"test_looks": dates}, "words": {"test_looks": dates[1:]}}
    since = "2 by `train correction` since 2026-11-22, 1 by `train words` since 2026-11-23"
    assert f"{said}, {since}; those by `train ablate` are not counted." in card(
        tiny.CHECKPOINT, found, studies
    )


COMPACT = replace(tiny.CHECKPOINT, model=replace(tiny.MODEL, clip=replace(tiny.CLIP, words=("a", "age"))))


@pytest.mark.parametrize(
    ("checkpoint", "also"),
    [
        (tiny.CHECKPOINT, {"correction"}),
        (COMPACT, {"correction", "ablate", "stability", "words"}),
        (tiny.MTMSA_CHECKPOINT, set()),
        (tiny.LRA_GNN_CHECKPOINT, set()),
        (tiny.MCGRL_CHECKPOINT, set()),
    ],
    ids=["vit-b-16", "compact", "mtmsa", "lra-gnn", "mcgrl"],
)
def test_the_commands_of_a_card_are_understood(checkpoint: CheckpointConfig, also: set[str]) -> None:
    """Each by the real command line, and each pipeline is there."""
    config = replace(checkpoint, training={"data": ["utkface", "all-age-faces"]})
    said = card(config, measured() | {"rivals": {"CILF": {}}})
    commands = re.findall(r"^python -m train (.+)$", said, flags=re.MULTILINE)
    names = [shlex.split(command)[0] for command in commands]
    for command in commands:
        options = parser().parse_args(shlex.split(command))
        if "pipeline" in options:
            read_pipeline(options.pipeline)
    assert (names[0], names[-1]) == ("run", "card")
    assert set(names) == {"run", "evaluate", "card", *also}
    assert "--rival" in said
    assert ("--predictions cilf.csv" in said) == (checkpoint.model.kind != "cilf")


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


def test_the_card_names_teachers() -> None:
    taught = replace(tiny.CHECKPOINT, training={"data": ["utkface"], "teachers": [{}, {}, {}]})
    assert "distilled from 3 earlier models" in card(taught, measured())
    alone = replace(tiny.CHECKPOINT, training={"data": ["utkface"], "teachers": [{}]})
    assert "distilled from an earlier model" in card(alone, measured())
    assert "distilled" not in card(tiny.CHECKPOINT, measured())
