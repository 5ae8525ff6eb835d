"""What the page shows and remembers, without a browser and without a trained model."""

import asyncio
import base64
import io
import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any, Literal

import gradio as gr
import numpy as np
import pytest
from fastapi.testclient import TestClient
from gradio.context import Context
from PIL import Image

import app
from cilf.demo import texts, theme
from cilf.demo.live.streams import Streams
from cilf.demo.photo import annotation as drawing
from cilf.demo.photo.tab import PhotoTab, charts, examples
from cilf.demo.photo_set.sets import PhotoSets
from cilf.demo.server import gradio_patches as gradio_changes
from cilf.demo.server.model_host import ModelHost
from cilf.demo.server.sessions import Visit, Visits
from cilf.demo.server.settings import Settings
from cilf.demo.uploads import folder as upload_folder
from cilf.demo.uploads import images as pictures
from cilf.demo.uploads.images import Sent
from cilf.errors import CilfError, PhotoError, WeightsError
from cilf.photo_set import PHOTO_SUFFIXES
from cilf.prediction import FacePrediction, TraceStep

ROOT = Path(app.__file__).parent

EPSILON = 4.5


def make_face(
    age: float = 40.0, box: tuple[float, float, float, float] = (100.0, 80.0, 200.0, 180.0)
) -> FacePrediction:
    distribution = np.zeros(101)
    distribution[round(age)] = 1.0
    return FacePrediction(
        box=box,
        detection_score=0.9,
        age=age,
        interval=(age - 8.0, age + 9.0),
        initial_age=age,
        trace=(TraceStep(0, age, 3.0, True),),
        status="accepted",
        distribution=distribution,
        similarities={},
        heatmap=np.eye(4, dtype=np.float32),
        crop=np.full((112, 112, 3), 128, np.uint8),
        embedding=np.ones(4, np.float32),
    )


class FakeEstimator:
    """Finds `faces` in every photo, or none in a plain one; the cosine of a prompt grows with its length."""

    epsilon = EPSILON
    kind = "cilf"
    compares_texts = True
    source = "a stand-in"
    sha256 = "0123456789abcdef"
    report = None
    card = ""

    def __init__(self, faces: Sequence[FacePrediction] = ()) -> None:
        self.faces = list(faces)
        self.photos: list[np.ndarray] = []

    def predict(
        self,
        photo: np.ndarray,
        prompts: None = None,
        *,
        no_face: Literal["skip", "whole"] = "skip",
        tiles: bool = True,
        max_faces: int | None = None,
        max_views: int | None = None,
    ) -> list[FacePrediction]:
        self.photos.append(photo)
        if np.ptp(photo, axis=(0, 1)).any():
            return self.faces
        return [make_face()] if no_face == "whole" else []

    def similarity(self, face: FacePrediction, prompts: Sequence[str]) -> dict[str, float]:
        return {prompt: min(1.0, len(prompt) / 100) for prompt in prompts}

    def softmax(self, similarities: dict[str, float]) -> dict[str, float]:
        return {prompt: 1 / len(similarities) for prompt in similarities}

    def unknown_words(self, prompts: Sequence[str]) -> dict[str, list[str]]:
        return {prompt: ["zebra"] for prompt in prompts if "zebra" in prompt}


@pytest.fixture
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)


class TestTexts:
    def test_an_accepted_guess_is_said_to_be_kept(self) -> None:
        story = texts.story(make_face(41.2), EPSILON)
        assert "41.2" in story
        assert "3.0" in story
        assert "kept" in story

    def test_a_correction_names_the_first_and_the_last_age(self) -> None:
        trace = (TraceStep(0, 41.0, 6.0, True), TraceStep(1, 30.0, 7.0, False), TraceStep(2, 36.0, 4.0, True))
        face = replace(make_face(36.0), initial_age=41.0, trace=trace, status="corrected")
        story = texts.story(face, EPSILON)
        assert story.index("41.0") < story.index("36.0")
        assert "30.0" not in story
        assert "One correction" in story

    def test_views_that_confirm_the_guess_are_no_correction(self) -> None:
        trace = (TraceStep(0, 41.0, 6.0, True), TraceStep(1, 41.5, 4.1, False, "mirrored", 4.2))
        face = replace(make_face(41.0), trace=trace, status="corrected")
        story = texts.story(face, EPSILON)
        assert "One further view confirmed it" in story
        assert "4.2" in story
        assert "with care" not in story

    def test_low_confidence_asks_for_care(self) -> None:
        trace = (TraceStep(0, 41.0, 6.0, True), TraceStep(1, 30.0, 7.0, False))
        face = replace(make_face(41.0), trace=trace, status="low_confidence")
        assert "with care" in texts.story(face, EPSILON)

    def test_prompts_are_the_lines_without_blanks_and_repetitions(self) -> None:
        assert texts.prompt_lines("a" * 32_000) == ["a" * 120]
        assert texts.prompt_lines("  a  child \n\na child\nan old man\n") == ["a child", "an old man"]

    def test_an_error_becomes_a_sentence(self) -> None:
        assert texts.sentence(PhotoError("nothing there")) == "Nothing there."


class TestCharts:
    def test_the_age_card_shows_rounded_age_and_interval(self) -> None:
        card = charts.age_card(make_face(41.6), 1, 3)
        assert ">42<" in card
        assert "34 to 51" in card
        assert "Face 2 of 3" in card

    def test_every_step_of_the_trace_stands_in_the_table(self) -> None:
        trace = tuple(TraceStep(step, 40.0 + step, 6.0 - step, step != 1) for step in range(4))
        table = charts.correction(replace(make_face(43.0), trace=trace, status="corrected"), EPSILON)
        assert re.findall(r"<th scope='row'>(\d)</th><td>([\d.]+)</td>", table) == [
            ("0", "40.0"),
            ("1", "41.0"),
            ("2", "42.0"),
            ("3", "43.0"),
        ]
        assert table.count("<td>not taken</td>") == 1

    def test_the_distribution_peaks_at_the_likeliest_age(self) -> None:
        chart = charts.distribution(make_face(30.0))
        points = re.search(r'<polyline class="cilf-line" points="([^"]+)"', chart)
        assert points is not None
        heights = [float(point.split(",")[1]) for point in points[1].split()]
        assert len(heights) == 101
        assert int(np.argmin(heights)) == 30  # heights count from the top

    def test_the_interval_stays_on_the_ruler(self) -> None:
        card = charts.age_card(replace(make_face(95.0), interval=(-4.0, 130.0)), 0, 1)
        assert "left:0.00%;width:100.00%" in card

    def test_what_a_visitor_writes_is_escaped(self) -> None:
        prompt = "<img src=x onerror=alert(1)>"
        table = charts.prompt_scores({prompt: 0.2}, {prompt: 1.0}, {prompt: ["<b>"]}, note="<i>")
        assert "<img" not in table
        assert "<b>" not in table
        assert "<i>" not in table.replace('<i class="', "")
        assert "<img" not in charts.message(prompt)
        assert "<img" not in charts.model_state("failed", prompt)

    def test_cosine_and_share_stand_beside_unknown_words(self) -> None:
        table = charts.prompt_scores(
            {"a": -0.25, "b zebra": 0.5}, {"a": 0.1, "b zebra": 0.9}, {"b zebra": ["zebra"]}
        )
        assert "−0.25" in table
        assert "0.50" in table
        assert "90 %" in table
        assert "Not seen in training: “zebra”" in table

    def test_every_prompt_can_be_removed(self) -> None:
        prompt = 'a "young" <b>man'
        table = charts.prompt_scores({prompt: 0.2, "b": 0.1}, {prompt: 0.6, "b": 0.4}, {})
        assert re.findall(r'data-prompt="([^"]*)"', table) == [escape(prompt), "b"]
        assert table.count("aria-label=") == 2

    def test_bars_of_negative_cosines_end_where_positive_ones_begin(self) -> None:
        table = charts.prompt_scores({"a": -0.2, "b": 0.2}, {"a": 0.4, "b": 0.6}, {})
        bars = re.findall(r'cilf-cosine" style="left:([\d.]+)%;width:([\d.]+)%', table)
        (left, width), (zero, _) = [(float(left), float(width)) for left, width in bars]
        assert left + width == pytest.approx(zero, abs=0.2)

    def test_no_prompt_asks_for_one(self) -> None:
        assert texts.NO_PROMPTS in charts.prompt_scores({}, {}, {})

    def test_the_heat_map_is_told_in_words(self) -> None:
        heat = np.zeros((6, 6), np.float32)
        heat[0, 5] = 1
        assert "upper part, right" in charts.heat_map(replace(make_face(), heatmap=heat))


class TestDrawing:
    def test_boxes_are_drawn_on_a_copy_at_full_size(self, photo: np.ndarray) -> None:
        before = photo.copy()
        drawn = drawing.annotate(photo, [make_face()])
        assert drawn.shape == photo.shape
        assert np.array_equal(photo, before)
        x0, _, x1, y1 = make_face().box
        edge = drawn[int(y1), int(x0) + 20 : int(x1) - 20]
        assert (edge == drawing.CHOSEN).all(axis=-1).mean() > 0.9

    def test_the_chosen_face_differs_from_the_others(self, photo: np.ndarray) -> None:
        faces = [make_face(30.0), make_face(50.0, box=(250.0, 80.0, 350.0, 180.0))]
        assert not np.array_equal(drawing.annotate(photo, faces, 0), drawing.annotate(photo, faces, 1))

    @pytest.mark.parametrize(
        "box", [(0.0, 0.0, 400.0, 300.0), (390.0, 290.0, 400.0, 300.0), (0.0, 0.0, 9.0, 9.0)]
    )
    def test_faces_at_the_edge_are_drawn(
        self, photo: np.ndarray, box: tuple[float, float, float, float]
    ) -> None:
        assert not np.array_equal(drawing.annotate(photo, [make_face(box=box)]), photo)

    @staticmethod
    def rows_of_faces(count: int, columns: int) -> list[FacePrediction]:
        """Faces spread evenly over a photo of 1600x900 pixels."""
        across, down = 1600 / columns, 900 / (count / columns)
        side = 0.45 * min(across, down)
        corners = [
            ((index % columns + 0.5) * across - side / 2, (index // columns + 0.5) * down - side / 2)
            for index in range(count)
        ]
        return [
            make_face(20.0 + index % 80, box=(x, y, x + side, y + side))
            for index, (x, y) in enumerate(corners)
        ]

    @staticmethod
    def shared(one: drawing.Box, other: drawing.Box) -> float:
        width = min(one[2], other[2]) - max(one[0], other[0])
        height = min(one[3], other[3]) - max(one[1], other[1])
        return max(width, 0.0) * max(height, 0.0)

    @pytest.mark.parametrize(
        ("count", "columns", "pixels"), [(1, 1, 12), (2, 2, 12), (6, 3, 11), (12, 6, 8), (50, 10, 8)]
    )
    def test_labels_can_be_read_on_a_phone_and_cover_nothing(
        self, count: int, columns: int, pixels: float
    ) -> None:
        faces = self.rows_of_faces(count, columns)
        labels = drawing.lay_out((1600, 900), faces, chosen=None)
        places = [each.place for each in labels.values()]
        assert len(places) == count
        # The photo is 330 pixels wide on a phone of 360.
        assert min(each.size for each in labels.values()) * 330 / 1600 >= pixels
        for index, place in enumerate(places):
            assert sum(self.shared(place, other) for other in places[:index]) < 1
            assert sum(self.shared(place, face.box) for face in faces) < 1

    def test_labels_shrink_where_they_would_cover_each_other(self) -> None:
        faces = self.rows_of_faces(50, 25)
        labels = list(drawing.lay_out((1600, 900), faces).values())
        roomy = drawing.lay_out((1600, 900), self.rows_of_faces(50, 10))
        assert max(each.size for each in labels) < min(each.size for each in roomy.values())
        covered = sum(
            self.shared(each.place, other.place)
            for index, each in enumerate(labels)
            for other in labels[:index]
        )
        assert covered < 0.01 * sum(self.shared(each.place, each.place) for each in labels)

    def test_every_label_of_a_crowd_is_drawn(self) -> None:
        photo, faces = np.zeros((900, 1600, 3), np.uint8), self.rows_of_faces(50, 10)
        drawn = drawing.annotate(photo, faces, chosen=None)
        for each in drawing.lay_out((1600, 900), faces, chosen=None).values():
            x0, y0, x1, y1 = map(round, each.place)
            patch = drawn[y0:y1, x0:x1]
            assert (patch == drawing.OTHER).all(axis=-1).mean() > 0.5

    def test_the_labels_of_a_great_crowd_take_no_seconds(self) -> None:
        faces = self.rows_of_faces(300, 25)
        start = time.thread_time()
        assert len(drawing.lay_out((1600, 900), faces)) == 300
        assert (
            time.thread_time() - start < 5
        )  # compared one by one they take three times as much, at once a tenth

    def test_a_click_hits_the_smallest_face_around_it(self) -> None:
        faces = [make_face(box=(0.0, 0.0, 100.0, 100.0)), make_face(box=(40.0, 40.0, 60.0, 60.0))]
        assert drawing.face_at(faces, 50.0, 50.0) == 1
        assert drawing.face_at(faces, 10.0, 10.0) == 0
        assert drawing.face_at(faces, 500.0, 10.0) is None

    def test_the_heat_map_runs_from_blue_to_yellow(self) -> None:
        crop = np.full((112, 112, 3), 128, np.uint8)
        cold = drawing.overlay_heat(crop, np.zeros((7, 7), np.float32), size=64)
        hot = drawing.overlay_heat(crop, np.ones((7, 7), np.float32), size=64)
        assert cold.shape == hot.shape == (64, 64, 3)
        assert cold[32, 32, 2] > cold[32, 32, 0]
        assert hot[32, 32, 0] > hot[32, 32, 2]


class TestPictures:
    def test_an_upload_is_read_and_removed(self, tmp_path: Path, photo: np.ndarray) -> None:
        file = tmp_path / "upload" / "me.png"
        file.parent.mkdir()
        Image.fromarray(photo).save(file)
        upload = pictures.Upload.from_payload(
            {"path": str(file), "orig_name": "me.png", "url": "/file=me.png"}
        )
        assert upload is not None
        assert np.array_equal(upload.take(), photo)
        assert not file.parent.exists()

    def test_a_broken_upload_is_removed_and_named_as_the_visitor_names_it(self, tmp_path: Path) -> None:
        file = tmp_path / "upload" / "3f2a.jpg"
        file.parent.mkdir()
        file.write_text("hello")
        upload = pictures.Upload("holiday.jpg", path=file)
        with pytest.raises(PhotoError, match="holiday") as caught:
            upload.take()
        assert str(tmp_path) not in str(caught.value)
        assert not file.parent.exists()

    def test_a_vanished_upload_gives_a_sentence(self, tmp_path: Path) -> None:
        with pytest.raises(PhotoError, match="me"):
            pictures.Upload("me.jpg", path=tmp_path / "gone" / "me.jpg").take()

    def test_what_is_shown_can_be_read_back(self, photo: np.ndarray) -> None:
        smooth = np.full_like(photo, 90)
        payload = pictures.shown(smooth)
        upload = pictures.Upload.from_payload(payload)
        assert upload is not None
        assert np.abs(upload.take().astype(int) - smooth).max() <= 2

    @pytest.mark.parametrize(
        "url",
        [
            "data:image/jpeg;base64,!!",
            "data:image/jpeg;base64,ü",
            "data:image/jpeg;base64,aGVsbG8=",
            "data:",
        ],
    )
    def test_an_address_without_a_picture_gives_a_sentence(self, url: str) -> None:
        upload = pictures.Upload.from_payload({"path": None, "url": url, "orig_name": "x"})
        assert upload is not None
        with pytest.raises(PhotoError):
            upload.take()

    def test_an_address_is_bounded_before_it_is_decoded(self) -> None:
        ten = "data:;base64," + base64.b64encode(b"0123456789").decode()
        assert pictures.decoded(ten, "x", 10) == b"0123456789"
        with pytest.raises(PhotoError, match="larger"):
            pictures.decoded(ten, "x", 9)
        with pytest.raises(PhotoError, match="larger"):
            pictures.decoded("data:;base64," + "!" * 20, "x", 9)

    def test_the_empty_area_is_no_upload(self) -> None:
        assert pictures.Upload.from_payload(None) is None
        assert pictures.shown(None) is None


class TestVisits:
    def test_a_page_sees_its_own_photo_alone(self, photo: np.ndarray) -> None:
        visits = Visits()
        mine = Visit(photo, (make_face(),), FakeEstimator(), "")
        assert visits.put("me", visits.begin("me"), mine)
        assert visits.get("me") is mine
        assert visits.get("you") is None
        visits.forget("me")
        assert visits.get("me") is None

    def test_photos_left_lying_are_forgotten(self, photo: np.ndarray) -> None:
        now = 0.0
        visits = Visits(seconds=60.0, clock=lambda: now)
        visits.put("me", visits.begin("me"), Visit(photo, (), FakeEstimator(), ""))
        now = 50.0
        assert visits.get("me") is not None  # used again: stays for another minute
        now = 100.0
        assert visits.get("me") is not None
        now = 200.0
        assert visits.get("me") is None

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
    def test_photos_left_lying_are_forgotten_though_nobody_comes(self) -> None:
        now = 0.0
        visits = Visits(seconds=60.0, clock=lambda: now)
        ticket = visits.begin("left")  # its file came when the page had been left
        sent = Sent("x", b"x")
        visits.arrive("left", ticket, sent)
        alive = weakref.ref(sent)
        del sent

        def end_when_forgotten() -> None:
            if alive() is None:
                raise SystemExit  # of the sweeping thread

        upload_folder.keep_swept(0.05, 300, visits.forget_old, end_when_forgotten)
        time.sleep(0.2)
        assert alive() is not None
        now = 61.0
        assert wait_until(lambda: alive() is None)

    def test_memory_is_bounded_and_the_newest_photo_stays(self, photo: np.ndarray) -> None:
        visits = Visits(max_bytes=2 * photo.nbytes)
        for page in ("a", "b", "c"):
            visits.put(page, visits.begin(page), Visit(photo, (), FakeEstimator(), ""))
        assert visits.get("a") is None
        assert visits.get("b") is not None
        tiny = Visits(max_bytes=1)
        tiny.put("a", tiny.begin("a"), Visit(photo, (), FakeEstimator(), ""))
        assert tiny.get("a") is not None

    def test_only_the_newest_photo_of_a_page_counts(self, photo: np.ndarray) -> None:
        visits = Visits()
        first, second = visits.begin("me"), visits.begin("me")
        newest = Visit(photo, (), FakeEstimator(), "")
        assert visits.put("me", second, newest)
        assert not visits.put("me", first, Visit(photo, (), FakeEstimator(), ""))
        assert visits.get("me") is newest

    def test_photos_that_wait_are_bounded_too(self) -> None:
        now = 0.0
        visits = Visits(seconds=60.0, max_bytes=10, clock=lambda: now)
        tickets = {page: visits.begin(page) for page in "abc"}
        for page, ticket in tickets.items():
            assert visits.arrive(page, ticket, Sent(page, bytes(5)))
            assert visits.claim(page) is ticket
        assert visits.collect("a", tickets["a"]) is not None  # who is nearest to the turn keeps it
        assert visits.collect("b", tickets["b"]) is None
        now = 100.0
        assert visits.collect("c", tickets["c"]) is None

    def test_a_waiting_photo_is_handed_out_once(self) -> None:
        visits = Visits()
        ticket = visits.begin("me")
        assert visits.claim("me") is None  # not there yet
        assert visits.arrive("me", ticket, Sent("x", b"x"))
        assert visits.claim("me") is ticket
        assert visits.claim("me") is None
        assert visits.collect("me", ticket) is not None
        assert visits.collect("me", ticket) is None

    @pytest.mark.parametrize(
        "forget", [lambda visits: visits.forget("me"), lambda visits: visits.begin("me")]
    )
    def test_a_waiting_photo_goes_with_its_page_or_comes_too_late(
        self, forget: Callable[[Visits], object]
    ) -> None:
        visits = Visits()
        ticket = visits.begin("me")
        assert visits.arrive("me", ticket, Sent("x", b"x"))
        forget(visits)
        assert visits.collect("me", ticket) is None
        assert not visits.arrive("me", ticket, Sent("x", b"x"))

    def test_a_photo_is_not_remembered_after_its_page_was_left(self, photo: np.ndarray) -> None:
        visits = Visits()
        ticket = visits.begin("me")
        visits.forget("me")
        assert not visits.put("me", ticket, Visit(photo, (), FakeEstimator(), ""))
        assert visits.get("me") is None


class TestModelHost:
    def test_the_state_follows_the_loading(self) -> None:
        gate = threading.Event()
        estimator = FakeEstimator()

        def load() -> FakeEstimator:
            gate.wait()
            return estimator

        host = ModelHost(load)
        host.start()
        assert host.state == "loading"
        with pytest.raises(CilfError, match="still loading"):
            host.get(timeout=0.0)
        gate.set()
        assert host.get() is estimator
        assert host.state == "ready"

    def test_why_the_model_is_missing_can_be_said(self) -> None:
        def load() -> FakeEstimator:
            raise WeightsError("the folder 'x' is empty")

        host = ModelHost(load)
        host.start()
        with pytest.raises(WeightsError, match="empty"):
            host.get()
        assert host.state == "failed"
        assert isinstance(host.error, WeightsError)

    def test_any_other_failure_ends_the_waiting_too(self, caplog: pytest.LogCaptureFixture) -> None:
        def load() -> FakeEstimator:
            raise MemoryError("boom")

        host = ModelHost(load)
        with caplog.at_level(logging.CRITICAL):
            host.start()
            with pytest.raises(CilfError, match="could not be loaded"):
                host.get()


class TestExamples:
    def test_both_portraits_are_there(self) -> None:
        portraits = examples.available()
        assert [example.key for example, _ in portraits] == ["hopper", "collins"]
        assert all(portrait.ndim == 3 and portrait.dtype == np.uint8 for _, portrait in portraits)

    def test_a_missing_portrait_is_left_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing() -> np.ndarray:
            raise FileNotFoundError

        monkeypatch.setattr(
            examples, "EXAMPLES", (replace(examples.EXAMPLES[0], load=missing), examples.EXAMPLES[1])
        )
        assert [example.key for example, _ in examples.available()] == ["collins"]


def request(page: str = "page") -> gr.Request:
    return gr.Request(session_hash=page)


def file_payload(file: Path) -> dict[str, Any]:
    return {"path": str(file), "orig_name": file.name, "url": f"/gradio_api/file={file}"}


def wait_until(true: Callable[[], bool]) -> bool:
    """Whether it comes true within some seconds."""
    end = time.monotonic() + 20
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return true()


def wait_for(work: Coroutine[Any, Any, Any]) -> Any:
    """Do asynchronous work in a thread of its own: while a browser is open, Playwright's event loop holds this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def look(tab: PhotoTab, file: Path, prompts: str, request: gr.Request) -> Iterator[dict[Any, Any]]:
    """A photo is sent; the answers when it is looked at."""
    wait_for(tab.on_arrived(file_payload(file), request))
    return tab.on_photo(prompts, request)


class TestPhotoTab:
    """The tab's answers to a visitor, called as Gradio calls them."""

    @pytest.fixture
    def estimator(self) -> FakeEstimator:
        return FakeEstimator([make_face(30.0), make_face(50.0, box=(250.0, 80.0, 350.0, 180.0))])

    @pytest.fixture
    def visits(self) -> Visits:
        return Visits()

    @pytest.fixture
    def tab(self, estimator: FakeEstimator, visits: Visits) -> Iterator[PhotoTab]:
        host = ModelHost(lambda: estimator)
        host.start()
        host.get()
        with gr.Blocks(analytics_enabled=False):
            yield PhotoTab(host, visits)

    @pytest.fixture
    def file(self, tmp_path: Path, photo: np.ndarray) -> Path:
        path = tmp_path / "upload" / "family.png"
        path.parent.mkdir()
        Image.fromarray(photo).save(path)
        return path

    @staticmethod
    def last(answers: Iterator[dict[Any, Any]]) -> dict[Any, Any]:
        return list(answers)[-1]

    def test_a_photo_is_answered_and_its_file_removed(self, tab: PhotoTab, file: Path) -> None:
        answer = self.last(look(tab, file, "a child\na zebra", request()))
        assert "Face 1 of 2" in answer[tab.age]
        assert "2 faces" in answer[tab.message]
        assert [index for _, index in answer[tab.picker].choices] == [0, 1]
        assert "zebra" in answer[tab.scores]
        drawn = Image.open(io.BytesIO(base64.b64decode(answer[tab.photo]["url"].partition(",")[2])))
        assert drawn.size == (400, 300)
        assert not file.exists()

    def test_a_click_and_the_picker_choose_the_face(self, tab: PhotoTab, file: Path) -> None:
        self.last(look(tab, file, "a child", request()))
        click = gr.SelectData(None, {"index": [300, 100], "value": None})
        assert "Face 2 of 2" in tab.on_click("a child", request(), click)[tab.age]
        assert "Face 1 of 2" in tab.on_pick(0, "a child", request())[tab.age]
        beside = gr.SelectData(None, {"index": [5, 5], "value": None})
        assert tab.age not in tab.on_click("a child", request(), beside)

    def test_a_click_and_the_picker_say_that_a_photo_is_forgotten(
        self, tab: PhotoTab, file: Path, visits: Visits
    ) -> None:
        click = gr.SelectData(None, {"index": [300, 100], "value": None})
        self.last(look(tab, file, "a child", request()))
        visits.begin("page")  # the next photo is being looked at
        assert tab.on_click("a child", request(), click) == {tab.message: gr.skip()}
        visits.forget("page")
        assert texts.FORGOTTEN in tab.on_click("a child", request(), click)[tab.message]
        assert texts.FORGOTTEN in tab.on_pick(0, "a child", request())[tab.message]

    def test_prompts_are_scored_without_the_photo(
        self, tab: PhotoTab, file: Path, estimator: FakeEstimator
    ) -> None:
        self.last(look(tab, file, "a child", request()))
        answer = tab.on_prompts("an old man\na zebra", 1, request())
        assert "an old man" in answer[tab.scores]
        assert "Not seen in training" in answer[tab.scores]
        assert len(estimator.photos) == 1

    def test_prompts_that_were_edited_during_the_look_are_scored_after_it(
        self, tab: PhotoTab, file: Path, estimator: FakeEstimator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        meanwhile: list[dict[Any, Any]] = []
        self.during_a_look(
            estimator, monkeypatch, lambda: meanwhile.append(tab.on_prompts("a zebra", 1, request()))
        )
        self.last(look(tab, file, "a child", request()))
        assert meanwhile == [{tab.message: gr.skip()}]
        assert tab.on_looked("a child", 0, request()) == {tab.message: gr.skip()}
        assert "zebra" in tab.on_looked("a zebra", 0, request())[tab.scores]

    def test_prompts_are_scored_after_every_look(self, tab: PhotoTab) -> None:
        assert Context.root_block is not None
        events = Context.root_block.fns.values()
        looks = {each._id for each in events if each.concurrency_id == "predict"}
        scorings = [each for each in events if each.name == "on_looked"]
        assert looks == {each.trigger_after for each in scorings}
        assert not any(each.preprocess for each in events if tab.picker in each.inputs)

    @pytest.mark.parametrize("choice", [2, -1])
    def test_a_face_that_the_photo_does_not_have_changes_nothing(
        self, tab: PhotoTab, file: Path, choice: int
    ) -> None:
        self.last(look(tab, file, "a child", request()))
        assert tab.on_pick(choice, "a child", request()) == {tab.message: gr.skip()}
        assert tab.on_prompts("a zebra", choice, request()) == {tab.message: gr.skip()}

    def test_more_prompts_than_are_scored_are_counted_out(self, tab: PhotoTab, file: Path) -> None:
        self.last(look(tab, file, "a child", request()))
        many = "\n".join(f"prompt {index}" for index in range(texts.MAX_PROMPTS + 5))
        scores = tab.on_prompts(many, 0, request())[tab.scores]
        assert scores.count('<th scope="row">') == texts.MAX_PROMPTS
        assert str(texts.MAX_PROMPTS) in scores
        assert texts.NO_PROMPTS in tab.on_prompts(" \n", 0, request())[tab.scores]

    def test_no_face_offers_the_whole_picture(self, tab: PhotoTab, tmp_path: Path) -> None:
        file = tmp_path / "plain.png"
        Image.new("RGB", (80, 60), "green").save(file)
        answer = self.last(look(tab, file, "a child", request()))
        assert texts.NO_FACE in answer[tab.message]
        assert answer[tab.whole].visible
        answer = self.last(tab.on_whole("a child", request()))
        assert "40" in answer[tab.age]

    def test_a_photo_of_another_page_is_not_shown(self, tab: PhotoTab, file: Path) -> None:
        self.last(look(tab, file, "a child", request("mine")))
        assert texts.FORGOTTEN in tab.on_pick(0, "a child", request("yours"))[tab.message]
        assert texts.FORGOTTEN in self.last(tab.on_whole("a child", request("yours")))[tab.message]

    @pytest.mark.parametrize("kind", ["empty", "text", "truncated", "one pixel", "vanished"])
    def test_bad_files_give_a_sentence_and_the_page_goes_on(
        self, tab: PhotoTab, file: Path, tmp_path: Path, photo: np.ndarray, kind: str
    ) -> None:
        bad = tmp_path / "bad.jpg"
        if kind == "empty":
            bad.touch()
        elif kind == "text":
            bad.write_text("no picture")
        elif kind == "truncated":
            Image.fromarray(photo).save(bad)
            bad.write_bytes(bad.read_bytes()[:2000])
        elif kind == "one pixel":
            Image.new("RGB", (1, 1)).save(bad)
        answer = self.last(look(tab, bad, "a child", request()))
        assert "bad.jpg" in answer[tab.message]
        assert str(tmp_path) not in answer[tab.message]
        assert answer[tab.photo] is None
        assert not bad.exists()
        assert "Face 1" in self.last(look(tab, file, "a child", request()))[tab.age]

    def test_the_unexpected_becomes_a_sentence_too(
        self,
        tab: PhotoTab,
        file: Path,
        estimator: FakeEstimator,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def broken(*_: object, **__: object) -> None:
            raise RuntimeError("out of order")

        monkeypatch.setattr(estimator, "predict", broken)
        answer = self.last(look(tab, file, "a child", request()))
        assert texts.UNEXPECTED in answer[tab.message]
        assert "family" not in caplog.text  # nothing of the visitor's in the log

    def test_an_emptied_area_empties_the_page_and_the_memory(
        self, tab: PhotoTab, file: Path, visits: Visits
    ) -> None:
        self.last(look(tab, file, "a child", request()))
        answer = wait_for(tab.on_empty(request()))
        assert not answer[tab.results].visible
        assert visits.get("page") is None

    @pytest.mark.parametrize("way", ["emptied", "replaced", "picked", "whole", "prompts"])
    def test_what_is_no_longer_in_view_is_not_kept_by_gradio(
        self, estimator: FakeEstimator, file: Path, photo: np.ndarray, way: str
    ) -> None:
        forgotten: list[str] = []
        host = ModelHost(lambda: estimator)
        host.start()
        visits = Visits()
        with gr.Blocks(analytics_enabled=False):
            tab = PhotoTab(host, visits, forgotten.append)
        self.last(look(tab, file, "a child", request()))
        forgotten.clear()
        if way == "emptied":
            wait_for(tab.on_empty(request()))
        elif way == "replaced":
            file.parent.mkdir()
            Image.fromarray(photo).save(file)
            wait_for(tab.on_arrived(file_payload(file), request()))
        else:
            visits.forget("page")  # as for its age
            ways: dict[str, Callable[[], object]] = {
                "picked": lambda: tab.on_pick(0, "a child", request()),
                "whole": lambda: list(tab.on_whole("a child", request())),
                "prompts": lambda: tab.on_prompts("a child", 0, request()),
            }
            ways[way]()
        assert forgotten == ["page"]

    @staticmethod
    def during_a_look(
        estimator: FakeEstimator, monkeypatch: pytest.MonkeyPatch, do: Callable[[], object]
    ) -> None:
        """Let the visitor `do` something while the next photo is being looked at."""
        look = estimator.predict

        def predict(*arguments: Any, **options: Any) -> list[FacePrediction]:
            monkeypatch.setattr(estimator, "predict", look)
            do()
            return look(*arguments, **options)

        monkeypatch.setattr(estimator, "predict", predict)

    @pytest.mark.parametrize("way", ["emptied", "left", "another"])
    def test_a_late_answer_does_not_override_what_the_visitor_did(
        self,
        tab: PhotoTab,
        file: Path,
        photo: np.ndarray,
        visits: Visits,
        estimator: FakeEstimator,
        monkeypatch: pytest.MonkeyPatch,
        way: str,
    ) -> None:
        another = tab._example_handler(photo[::2])
        ways: dict[str, Callable[[], object]] = {
            "emptied": lambda: wait_for(tab.on_empty(request())),
            "left": lambda: visits.forget("page"),
            "another": lambda: list(another("a child", request())),
        }
        self.during_a_look(estimator, monkeypatch, ways[way])
        answer = self.last(look(tab, file, "a child", request()))
        assert answer == {tab.message: gr.skip()}
        visit = visits.get("page")
        assert (visit is not None) == (way == "another")
        assert visit is None or visit.photo.shape == photo[::2].shape

    def test_a_second_upload_is_not_dropped(self, tab: PhotoTab) -> None:
        assert Context.root_block is not None
        modes = {
            event: each.trigger_mode for each in Context.root_block.fns.values() for _, event in each.targets
        }
        assert modes["upload"] == "multiple"
        then = next(each for each in Context.root_block.fns.values() if each.name == "on_photo")
        assert then.trigger_mode == "multiple"

    def test_a_second_choice_is_not_dropped(self, tab: PhotoTab) -> None:
        assert Context.root_block is not None
        modes = {each.name: each.trigger_mode for each in Context.root_block.fns.values()}
        assert modes["on_pick"] == modes["on_click"] == "multiple"

    def test_a_late_choice_does_not_override_a_newer_one(
        self, tab: PhotoTab, file: Path, estimator: FakeEstimator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.last(look(tab, file, "a child", request()))
        newer: list[dict[Any, Any]] = []
        score = estimator.similarity

        def similarity(face: FacePrediction, prompts: Sequence[str]) -> dict[str, float]:
            """While the first choice is answered, the visitor makes another one."""
            monkeypatch.setattr(estimator, "similarity", score)
            newer.append(tab.on_pick(1, "a child", request()))
            return score(face, prompts)

        monkeypatch.setattr(estimator, "similarity", similarity)
        click = gr.SelectData(None, {"index": [150, 100], "value": None})
        assert tab.on_click("a child", request(), click) == {tab.message: gr.skip()}
        assert newer[0][tab.picker].value == 1

    def test_a_photo_leaves_the_disk_before_its_turn_and_is_shown_meanwhile(
        self, tab: PhotoTab, file: Path, estimator: FakeEstimator
    ) -> None:
        content = file.read_bytes()
        answer = wait_for(tab.on_arrived(file_payload(file), request()))
        assert not file.parent.exists()
        assert base64.b64decode(answer[tab.photo]["url"].partition(",")[2]) == content
        assert estimator.photos == []

    @pytest.mark.parametrize("way", ["emptied", "left"])
    def test_a_waiting_photo_that_was_taken_away_is_not_looked_at(
        self, tab: PhotoTab, file: Path, visits: Visits, estimator: FakeEstimator, way: str
    ) -> None:
        answers = look(tab, file, "a child", request())
        if way == "emptied":
            wait_for(tab.on_empty(request()))
        else:
            visits.forget("page")
        assert list(answers) == [{tab.message: gr.skip()}]
        assert estimator.photos == []

    def test_of_two_photos_that_wait_the_newer_one_is_looked_at_once(
        self, tab: PhotoTab, file: Path, tmp_path: Path, photo: np.ndarray, estimator: FakeEstimator
    ) -> None:
        newer = tmp_path / "newer.png"
        Image.fromarray(photo[::2]).save(newer)
        turns = [look(tab, each, "a child", request()) for each in (file, newer)]
        first, second = (list(turn) for turn in turns)
        assert "Face 1 of 2" in first[-1][tab.age]
        assert second == [{tab.message: gr.skip()}]
        assert [each.shape for each in estimator.photos] == [photo[::2].shape]
        assert not newer.exists()

    def test_a_photo_that_had_to_make_room_is_said_to_be_forgotten(
        self, file: Path, tmp_path: Path, photo: np.ndarray, estimator: FakeEstimator
    ) -> None:
        other = tmp_path / "other.png"
        Image.fromarray(photo).save(other)
        host = ModelHost(lambda: estimator)
        host.start()
        with gr.Blocks(analytics_enabled=False):
            tab = PhotoTab(host, Visits(max_bytes=1))
        answers = look(tab, file, "a child", request())
        newest = look(tab, other, "a child", request("another"))
        assert texts.FORGOTTEN in self.last(answers)[tab.message]
        assert "Face 1 of 2" in self.last(newest)[tab.age]

    def test_emptying_and_arrival_do_not_stand_in_line(self, tab: PhotoTab) -> None:
        assert Context.root_block is not None
        queued = {each.name: each.queue for each in Context.root_block.fns.values()}
        assert not queued["on_arrived"]
        assert not queued["on_empty"]
        assert queued["on_photo"]

    def test_a_photo_that_the_full_line_refuses_leaves_nothing_behind(
        self, tab: PhotoTab, file: Path, tmp_path: Path, photo: np.ndarray, visits: Visits
    ) -> None:
        """Neither its bytes, nor beside its preview the result of the photo before."""
        other = tmp_path / "other.png"
        Image.fromarray(photo).save(other)
        self.last(look(tab, file, "a child", request()))
        wait_for(tab.on_arrived(file_payload(other), request()))  # and `on_photo` is refused
        answer = tab.on_refused(request())
        assert texts.REFUSED in answer[tab.message]
        assert answer[tab.photo] is None
        assert not answer[tab.results].visible
        assert not visits.has_begun("page")
        assert visits._bytes() == 0
        assert texts.FORGOTTEN in tab.on_pick(0, "a child", request())[tab.message]  # no longer silent

    def test_a_refusal_does_not_override_what_came_of_the_photo(self, tab: PhotoTab, file: Path) -> None:
        """A call that was in line already has looked at it."""
        answers = look(tab, file, "a child", request())
        assert "Face 1 of 2" in self.last(answers)[tab.age]
        assert tab.on_refused(request()) == {tab.message: gr.skip()}
        assert "Face 2 of 2" in tab.on_pick(1, "a child", request())[tab.age]

    def test_a_refused_photo_is_heard_of_where_the_line_is_full(self, tab: PhotoTab) -> None:
        assert Context.root_block is not None
        events = {each.name: each for each in Context.root_block.fns.values()}
        refused = events["on_refused"]
        assert refused.trigger_after == events["on_photo"]._id
        assert refused.trigger_only_on_failure
        assert not refused.queue
        assert refused.trigger_mode == "multiple"

    def test_a_photo_that_comes_before_the_model_waits_for_it(self, file: Path) -> None:
        gate = threading.Event()

        def load() -> FakeEstimator:
            gate.wait()
            return FakeEstimator([make_face()])

        host = ModelHost(load)
        host.start()
        with gr.Blocks(analytics_enabled=False):
            tab = PhotoTab(host, Visits())
        answers = look(tab, file, "a child", request())
        assert texts.MODEL_FIRST in next(answers)[tab.message]
        gate.set()
        assert "40" in next(answers)[tab.age]

    def test_a_missing_model_is_said_at_every_photo(self, file: Path) -> None:
        def load() -> FakeEstimator:
            raise WeightsError("the folder 'x' is empty")

        host = ModelHost(load)
        host.start()
        with gr.Blocks(analytics_enabled=False):
            tab = PhotoTab(host, Visits())
        assert "is empty" in self.last(look(tab, file, "a child", request()))[tab.message]


class TestUploadFolder:
    def test_what_nobody_writes_to_any_more_is_removed(self, tmp_path: Path) -> None:
        (tmp_path / "old").mkdir()
        left, coming = tmp_path / "old" / "left.jpg", tmp_path / "coming"
        for path in (left, coming):
            path.touch()
        an_hour_ago = time.time() - 3600
        os.utime(left, (an_hour_ago, an_hour_ago))
        upload_folder.sweep(tmp_path, age=300)
        assert not left.exists()
        assert coming.exists()
        os.utime(tmp_path / "old", (an_hour_ago, an_hour_ago))
        upload_folder.sweep(tmp_path, age=300)
        assert list(tmp_path.iterdir()) == [coming]

    def test_gradio_has_a_folder_of_ours_alone(self, tmp_path: Path) -> None:
        """In a process of its own: the folder is chosen when the page's program is imported."""
        environment = os.environ | {"TMPDIR": str(tmp_path)}
        environment.pop("GRADIO_TEMP_DIR", None)
        script = (
            "import app; from gradio.utils import get_upload_folder as folder; from pathlib import Path;"
            "assert Path(folder()).is_dir(); print(folder())"
        )
        command = [sys.executable, "-c", script]
        said = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
        folder = Path(said.stdout.splitlines()[-1])
        assert folder.parent == tmp_path
        assert folder.name != "gradio"
        assert not folder.exists()  # removed at the program's end


class TestPage:
    def test_who_leaves_is_forgotten_everywhere(self, photo: np.ndarray) -> None:
        visits, streams, sets = Visits(), Streams(), PhotoSets(ModelHost(FakeEstimator))
        visits.put("me", visits.begin("me"), Visit(photo, (), FakeEstimator(), ""))
        streams.tracker("me")
        token = sets.open("me")
        app.leave("me", visits, streams, sets)
        assert visits.get("me") is None
        assert len(streams) == 0
        assert sets.get(token) is None

    def test_gradio_keeps_nothing_of_an_emptied_photo(self, photo: np.ndarray, tmp_path: Path) -> None:
        """Over HTTP, as the page asks it."""
        host = ModelHost(lambda: FakeEstimator([make_face()]))
        sets = PhotoSets(host)
        page = app.build_page(host, lambda *_: FakeEstimator(), Settings(), sets, Visits(), Streams())
        client = TestClient(page.app)
        numbers = {each.name: number for number, each in page.fns.items()}
        buffer = io.BytesIO()
        Image.fromarray(photo).save(buffer, "PNG")
        address = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()

        def call(name: str, *data: Any) -> None:
            body = {"data": data, "fn_index": numbers[name], "session_hash": "me"}
            assert client.post("/gradio_api/run/predict", json=body).status_code == 200

        def kept() -> str:
            held = page.app.state_holder.session_data.get("me")
            shown = page.fns[numbers["on_photo"]].outputs[0]._id
            return "" if held is None else str(held.config_values[shown]["props"].get("value"))

        host.start()
        host.get()
        call("on_arrived", {"path": None, "url": address, "orig_name": "me.png"})
        list(page.fns[numbers["on_photo"]].fn("a child", request("me")))
        call("on_pick", 0, "a child")
        assert "data:image/jpeg" in kept()
        call("on_empty")
        assert "data:image" not in kept()
        held = page.app.state_holder
        assert held.time_last_used.keys() == held.session_data.keys()

    def test_gradio_keeps_nothing_of_a_program_that_was_answered(self) -> None:
        host = ModelHost(FakeEstimator)
        host.start()
        page = app.build_page(
            host, lambda *_: FakeEstimator(), Settings(), PhotoSets(host), Visits(), Streams()
        )
        (number,) = [number for number, each in page.fns.items() if each.api_name == "predict"]
        body = {"data": ["data:image/png;base64,aGVsbG8=", None], "fn_index": number, "session_hash": "me"}
        TestClient(page.app).post("/gradio_api/run/predict", json=body)
        assert page.app.state_holder.session_data == {}
        assert page.app.state_holder.time_last_used == {}

    def test_no_font_comes_from_elsewhere(self) -> None:
        look = theme.make_theme()
        assert not look._stylesheets
        addresses = re.findall(r"https?://[^\s\"'%]+", look._get_theme_css() + theme.HEAD)
        assert {address.split("/")[2] for address in addresses} == {
            "www.w3.org"
        }  # names a format, is never fetched

    def test_the_browser_tells_prompts_apart_as_the_server_does(self) -> None:
        """Else the cross beside a prompt could not find its line in the text box."""
        every = [chr(code) for code in range(sys.maxunicode + 1)]
        blank, ends = (
            re.compile(found[1])
            for name in ("blanks", "breaks")
            if (found := re.search(rf"const {name} = /(.+)/g?;", theme.HEAD))
        )
        assert [each for each in every if blank.fullmatch(each)] == [each for each in every if each.isspace()]
        assert [each for each in every if ends.fullmatch(each)] == [
            each for each in every if each.splitlines() != [each]
        ]

    def test_the_browser_knows_every_suffix_of_a_photo(self) -> None:
        assert all(f'"{suffix}"' in theme.HEAD for suffix in PHOTO_SUFFIXES)
        assert theme.HEAD.count("</script>") == theme.HEAD.count("<script") == 1

    def test_a_page_that_opens_while_the_line_is_full_lacks_nothing(self) -> None:
        """Over HTTP, as the page asks it."""
        host = ModelHost(FakeEstimator)
        page = app.build_page(
            host, lambda *_: FakeEstimator(), Settings(), PhotoSets(host), Visits(), Streams()
        )
        page.queue(max_size=0)  # full from the start
        host.start()
        host.wait()
        client = TestClient(page.app)
        opening = [each for each in page.fns.values() if "load" in {event for _, event in each.targets}]
        said = ""
        for each in opening:
            assert not each.queue
            body = {"data": ["" for _ in each.inputs], "fn_index": each._id, "session_hash": "me"}
            said += client.post("/gradio_api/run/predict", json=body).raise_for_status().text
        assert "a stand-in" in said  # the model in use
        assert "/predict_set" in said  # the way in for programs
        assert "data-token" in said  # the Photo set's

    def test_the_page_is_built_before_the_model_is_loaded(self) -> None:
        host = ModelHost(FakeEstimator)
        sets = PhotoSets(host)
        page = app.build_page(host, lambda *_: FakeEstimator(), Settings(), sets, Visits(), Streams())
        assert "Loading the model" in str(page.get_config_file()["components"])
        assert not page.analytics_enabled

    def test_a_taken_port_is_said_before_anything_is_loaded(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            with pytest.raises(SystemExit, match=f"port {port} is taken.*--port"):
                app.main(["--host", "127.0.0.1", "--port", str(port)])

    @pytest.mark.parametrize("wrong", [["--port", "70000"], ["--host", "192.0.2.1", "--port", "7860"]])
    def test_where_nobody_can_listen_is_said(self, wrong: list[str]) -> None:
        with pytest.raises(SystemExit, match="give"):
            app.main(wrong)

    @pytest.mark.parametrize(("visibility", "status"), [("private", 429), ("public", 503)])
    def test_a_full_queue_asks_the_visitor_to_come_back(
        self, visibility: Literal["private", "public"], status: int
    ) -> None:
        with gr.Blocks(analytics_enabled=False) as page:
            gr.Button().click(lambda: None, api_visibility=visibility)
        page.queue(max_size=0)  # full from the start
        gradio_changes.ask_to_come_back(page)
        body = {"data": [], "fn_index": 0, "session_hash": "me"}
        answer = TestClient(page.app).post("/gradio_api/queue/join", json=body)
        assert answer.status_code == status
        assert (answer.json()["detail"] == texts.BUSY) == (visibility == "private")
