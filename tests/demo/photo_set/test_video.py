"""Short videos in the Photo set tab: frames in turns, rows at the end, nothing left when it is stopped."""

from itertools import chain
from typing import Any

import pytest

from cilf.demo.photo_set import sets, views
from cilf.demo.photo_set.sets import PhotoSets
from cilf.photo_set.results import COLUMNS
from cilf.prediction import FacePrediction
from cilf.video.people import VIDEO_COLUMNS
from tests.demo.conftest import hosting
from tests.demo.photo_set.test_tab import Answer, Visitor
from tests.stand_in import StandIn, make_face, png
from tests.video.clips import RATE, blank, write_clip


class BrightFrames(StandIn):
    """Sees a face in every bright frame."""

    def predict(self, photo: Any, prompts: None = None, **options: Any) -> list[FacePrediction]:
        if not hasattr(photo, "shape"):
            return super().predict(photo)
        return [make_face(33.0)] if photo.mean() > 60 else []


@pytest.fixture
def visitor() -> Visitor:
    return Visitor(PhotoSets(hosting(BrightFrames())))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Two seconds with somebody in view, and one with nobody."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    return write_clip(path, chain(blank(2 * RATE), blank(RATE, 20))).read_bytes()


def send(visitor: Visitor, name: str, content: bytes, place: int = 0) -> list[Answer]:
    answers = [visitor.call("video", content, name=name, place=str(place))]
    while answers[-1].get("more", answers[0].get("count", 0) > 0):
        answers.append(visitor.call("next"))
    return answers


def open_video(visitor: Visitor, photo_sets: PhotoSets) -> Any:
    photo_set = photo_sets.get(visitor.token)
    assert photo_set is not None
    return photo_set.video


def test_a_row_a_person(visitor: Visitor, clip: bytes) -> None:
    first, *_, last = send(visitor, "clip.mp4", clip)
    assert first["count"] == 1
    assert (last["photos"], last["faces"], last["failed"], last["more"]) == (1, 1, 0, False)
    assert "In 12 frames from 0.0 to 1.8 s" in last["rows"]
    assert last["gallery"].count("<img") == 1
    visitor.photo("a.png", png(1), 1)
    table = visitor.table()
    assert tuple(table.columns) == (*COLUMNS, *VIDEO_COLUMNS)
    assert table["path"].tolist() == ["clip.mp4", "a.png"]
    assert table["frames"].tolist()[0] == 12
    assert table["frames"].isna().tolist() == [False, True]


def test_progress_comes_with_every_step(
    visitor: Visitor, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cilf.demo.photo_set.tab.STEP_S", 1e-9)
    answers = send(visitor, "clip.mp4", clip)[1:]
    assert [answer["photos"] for answer in answers] == [0] * 18 + [1]
    assert answers[8]["note"] == "clip.mp4: 9 frames"
    assert answers[8]["share"] == pytest.approx(0.5)


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"hello", b"\0" * 100_000])
def test_what_is_no_video_has_a_row(visitor: Visitor, content: bytes) -> None:
    [answer] = send(visitor, "clip.mp4", content)
    assert (answer["count"], answer["failed"]) == (0, 1)
    assert "is no video in a known format" in answer["failures"]
    assert visitor.table()["status"].tolist() == ["unreadable"]


def test_too_long_and_too_large(visitor: Visitor, clip: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sets, "MAX_VIDEO_S", 2)
    assert "is longer than 2 seconds" in send(visitor, "clip.mp4", clip)[0]["failures"]
    monkeypatch.setattr("cilf.demo.photo_set.tab.MAX_VIDEO", 1 << 10)
    assert "is larger than" in send(visitor, "clip.mp4", clip)[0]["failures"]


@pytest.mark.parametrize("path", ["finish", "start"])
def test_a_stop_ends_the_decoder(clip: bytes, path: str) -> None:
    photo_sets = PhotoSets(hosting(BrightFrames()))
    visitor = Visitor(photo_sets)
    visitor.call("video", clip, name="clip.mp4", place="0")
    video = open_video(visitor, photo_sets)
    visitor.call(path)
    assert open_video(visitor, photo_sets) is None
    assert video._video._process.returncode is not None
    assert video._file.closed
    assert visitor.call("next")["more"] is False


def test_who_leaves_ends_the_decoder(clip: bytes) -> None:
    photo_sets = PhotoSets(hosting(BrightFrames()))
    visitor = Visitor(photo_sets, "page")
    visitor.call("video", clip, name="clip.mp4", place="0")
    video = open_video(visitor, photo_sets)
    photo_sets.forget("page")
    assert video._video._process.returncode is not None


def test_so_many_videos_at_once(clip: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sets, "MAX_VIDEOS", 1)
    photo_sets = PhotoSets(hosting(BrightFrames()))
    first, second = Visitor(photo_sets, "one"), Visitor(photo_sets, "two")
    first.call("video", clip, name="clip.mp4", place="0")
    answer = second.call("video", clip, name="clip.mp4", place="0")
    assert (answer["code"], "problem" in answer) == (400, True)
    first.call("finish")
    assert second.call("video", clip, name="clip.mp4", place="0")["count"] == 1


def test_videos_are_offered_where_they_can_be_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ".webm" in views.frame()
    monkeypatch.setattr(views, "can_decode", lambda: False)
    assert ".webm" not in views.frame()
    assert "video" not in views.frame().replace("video.mp4", "").split("</p>")[1]
