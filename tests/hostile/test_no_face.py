"""Pictures without a face, taken as one: the page, the API and the tables say that no promise holds, and why."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from cilf import AgeEstimator
from cilf.demo import texts
from cilf.demo.live.tab import _shown
from cilf.demo.photo import charts
from cilf.demo.photo_set import views
from cilf.photo_set.pipeline import predict_many
from cilf.prediction import UNFAMILIAR, WHOLE_PICTURE
from cilf.tracking import FaceTracker
from tests.stand_in import make_face

UNSURE = "18 or over? Unsure."


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8))


def cat() -> Image.Image:
    picture = Image.new("RGB", (320, 320), "#9cc4e4")
    draw = ImageDraw.Draw(picture)
    for ear in (((70, 120), (90, 30), (150, 80)), ((250, 120), (230, 30), (170, 80))):
        draw.polygon(ear, fill="#b8742c")
    draw.ellipse((60, 60, 260, 260), fill="#c98a3e")
    for x in (115, 205):
        draw.ellipse((x - 20, 120, x + 20, 160), fill="#7cc04f")
        draw.ellipse((x - 5, 122, x + 5, 158), fill="black")
    draw.polygon(((150, 185), (170, 185), (160, 198)), fill="#e58a8a")
    for y in (190, 205, 220):
        draw.line((140, 205, 40, y), fill="white", width=2)
        draw.line((180, 205, 280, y), fill="white", width=2)
    return picture


def cup() -> Image.Image:
    picture = Image.new("RGB", (320, 240), "#e8e0d0")
    draw = ImageDraw.Draw(picture)
    draw.ellipse((190, 80, 270, 160), outline="#3b6ea5", width=14)
    draw.rectangle((80, 50, 220, 200), fill="#3b6ea5")
    draw.ellipse((80, 30, 220, 70), fill="#2d1a10", outline="#3b6ea5", width=6)
    return picture


PICTURES = {
    "black": Image.new("RGB", (200, 160)),
    "white": Image.new("RGB", (200, 160), "white"),
    "noise": noise(),
    "cat": cat(),
    "cup": cup(),
}


@pytest.fixture(scope="module")
def estimator() -> AgeEstimator:
    return AgeEstimator.from_pretrained()


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_without_a_face_gets_no_answer(estimator: AgeEstimator, name: str) -> None:
    [result] = predict_many(estimator, [(name, np.array(PICTURES[name]))], no_face="whole")
    [face], [row] = result.faces, result.rows
    reason = WHOLE_PICTURE if face.detection_score is None else UNFAMILIAR
    assert face.over(18) == face.over(1) == "unsure"
    assert (row["over_18"], row["caveat"]) == ("unsure", reason)  # tables and API
    assert texts.over(face, 18) == f"Unsure. {reason}"
    card = charts.age_card(face, 0, 1)  # Photo tab
    assert "<b>18 or over?</b>" in card
    assert f'<strong id="over">Unsure.</strong> {reason}' in card
    assert f"{UNSURE} {reason}" in views.rows(result)  # Photo set tab


def test_a_live_picture_says_when_no_promise_holds() -> None:
    tracker, known = FaceTracker(), make_face()
    for at, face, note in (
        (0.0, known, ""),
        (0.1, replace(known, familiar=False), f"{UNSURE} {UNFAMILIAR}"),
        (0.2, known, ""),
    ):
        tracker.update([face], at)
        for tracked in tracker.update([face], at + 0.05):
            assert _shown(tracked, 640, 480)["note"] == note
    assert tracker.update([known], 0.3)


def test_a_face_like_those_of_the_calibration_has_no_caveat(
    estimator: AgeEstimator, grace_hopper: np.ndarray
) -> None:
    [result] = predict_many(estimator, [("portrait", grace_hopper)])
    assert result.rows[0]["caveat"] is None
    assert result.rows[0]["over_18"] == "yes"
    assert UNSURE not in views.rows(result)
