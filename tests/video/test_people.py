"""The people in short videos: one row each, and the annotated video."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from cilf import AgeEstimator
from cilf.errors import PhotoError, UsageError
from cilf.face.boxes import Box
from cilf.photo_set.results import COLUMNS, with_faces
from cilf.prediction import FacePrediction
from cilf.tracking import Sightings
from cilf.video import annotated
from cilf.video.annotated import annotated_frames, write_video
from cilf.video.frames import SAMPLING, Frame
from cilf.video.people import VIDEO_COLUMNS, predict_video
from tests.stand_in import make_face
from tests.video.clips import RATE, SIZE, blank, panned, portraits, write_clip

SIDE = 64


class Brightness:
    """Sees a square face in every frame that is bright in its upper left corner, older where it is brighter."""

    def predict(
        self, photo: Any, prompts: Sequence[str] | None = None, *, max_views: int | None = None
    ) -> list[FacePrediction]:
        value = float(photo[:SIDE, :SIDE].mean())
        return [make_face(round(value / 4), (0.0, 0.0, SIDE, SIDE))] if value > 60 else []


@pytest.fixture(scope="module")
def estimator() -> AgeEstimator:
    return AgeEstimator.from_pretrained()


@pytest.fixture(scope="module")
def two_people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of two portraits."""
    return write_clip(tmp_path_factory.mktemp("clip") / "two.mp4", panned(portraits(), 2 * RATE))


class TestRows:
    @pytest.mark.slow
    def test_one_row_a_person(self, estimator: AgeEstimator, two_people: Path, tmp_path: Path) -> None:
        seen: list[tuple[int, int | None]] = []
        output = tmp_path / "annotated.mp4"
        result = estimator.predict_video(
            two_people, annotated=output, progress=lambda done, total: seen.append((done, total))
        )
        assert len(result.rows) == len(result.faces) == 2
        for row, face in zip(result.rows, result.faces, strict=True):
            assert tuple(row) == (*COLUMNS, *VIDEO_COLUMNS)
            assert (row["path"], row["frames"], row["first_second"]) == (str(two_people), 2 * SAMPLING, 0.0)
            assert row["last_second"] == pytest.approx(2 - 1 / SAMPLING, abs=0.02)
            assert row["age_low"] < row["age"] == face.age < row["age_high"]
            assert row["over_18"] == face.over(18)
            assert face.crop.any()
        lone = [estimator.predict(portrait, max_views=1)[0].age for portrait in portraits()]
        by_place = sorted(result.faces, key=lambda face: face.box[0])
        assert [face.age for face in by_place] == pytest.approx(lone, abs=8)
        assert seen == [
            *((count, 12) for count in range(1, 13)),
            *((count, 2 * RATE) for count in range(1, 2 * RATE + 1)),
        ]
        with av.open(str(output)) as container:
            stream = container.streams.video[0]
            assert (stream.width, stream.height, stream.average_rate) == (*SIZE, RATE)
            assert sum(1 for _ in container.decode(video=0)) == 2 * RATE
        assert list(tmp_path.iterdir()) == [output]

    @pytest.mark.slow
    def test_a_turned_video(self, estimator: AgeEstimator, tmp_path: Path) -> None:
        frames = (np.rot90(frame, -1) for frame in panned(portraits()[:1], RATE))
        clip = write_clip(tmp_path / "clip.mp4", frames, rotation=90, size=SIZE[::-1])
        [row] = estimator.predict_video(clip).rows
        assert row["frames"] == SAMPLING
        x, y = (row["x0"] + row["x1"]) / 2, (row["y0"] + row["y1"]) / 2
        assert 5 < x < 140
        assert 40 < y < 190

    def test_somebody_else_in_the_same_place_is_another_person(self, tmp_path: Path) -> None:
        clip = write_clip(tmp_path / "clip.mp4", chain(blank(2 * RATE, 100), blank(2 * RATE, 240)))
        young, old = predict_video(Brightness(), clip).rows
        assert (young["age"], old["age"]) == pytest.approx((25, 60), abs=1)
        assert (young["frames"], old["frames"]) == (12, 12)
        assert young["last_second"] < 2 <= old["first_second"] + 0.01

    def test_who_comes_back_after_a_while_is_counted_again(self, tmp_path: Path) -> None:
        clip = write_clip(tmp_path / "clip.mp4", chain(blank(RATE), blank(2 * RATE, 20), blank(RATE)))
        first, second = predict_video(Brightness(), clip).rows
        assert (first["face"], first["last_second"] < 1) == (0, True)
        assert (second["face"], second["first_second"] > 2.9) == (1, True)

    def test_a_face_in_a_single_frame_is_dropped(self, tmp_path: Path) -> None:
        clip = write_clip(tmp_path / "clip.mp4", chain(blank(RATE, 20), blank(3), blank(RATE, 20)))
        result = predict_video(Brightness(), clip)
        assert (result.rows[0]["status"], result.error) == ("no_face", f"no face was found in '{clip}'")
        assert result.rows[0]["frames"] is None

    @pytest.mark.parametrize("name", ["missing.mp4", "folder.mp4"])
    def test_what_cannot_be_opened(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "folder.mp4").mkdir()
        with pytest.raises(PhotoError, match=name):
            predict_video(Brightness(), tmp_path / name)


class TestSightings:
    def test_every_frame_counts_equally(self) -> None:
        sightings = Sightings.of(make_face(30), 0.0).add(make_face(40), 5.0).add(make_face(50), 60.0)
        person = sightings.prediction()
        assert (sightings.first, sightings.last, sightings.frames) == (0.0, 60.0, 3)
        assert person.age == pytest.approx(40)
        assert person.distribution[[30, 40, 50]] == pytest.approx(1 / 3)
        low, high = person.interval
        assert low <= person.age <= high


class TestAnnotated:
    def test_a_box_moves_evenly_between_two_frames(self) -> None:
        places = [(0.0, {1: Box(0, 0, 10, 10)}), (1.0, {1: Box(100, 0, 110, 10)}), (2.0, {})]
        frames = [Frame(at, np.zeros((120, 160, 3), np.uint8)) for at in (0.0, 0.5, 1.5, 2.5)]
        drawn = [frame.pixels.any(axis=(0, 2)) for frame in annotated_frames(frames, [make_face(30)], places)]
        assert drawn[0][0]
        assert not drawn[0][60:].any()
        assert drawn[1][50]
        assert not drawn[1][:30].any()
        assert drawn[2][100]
        assert not drawn[3].any()

    def test_a_person_has_the_number_of_their_row(self, monkeypatch: pytest.MonkeyPatch) -> None:
        drawn: list[Sequence[int]] = []

        def annotate(pixels: np.ndarray, faces: object, chosen: object, numbers: Sequence[int]) -> np.ndarray:
            drawn.append(numbers)
            return pixels

        monkeypatch.setattr(annotated, "annotate", annotate)
        places = [(0.0, {1: Box(0, 0, 10, 10), 2: Box(50, 0, 60, 10)}), (1.0, {2: Box(50, 0, 60, 10)})]
        frames = [Frame(at, np.zeros((120, 160, 3), np.uint8)) for at in (0.0, 1.0)]
        people = [make_face(30), make_face(40)]
        assert len(list(annotated_frames(frames, people, places))) == 2
        rows = with_faces("clip.mp4", people).rows
        assert drawn == [[row["face"] for row in rows], [rows[1]["face"]]]

    def test_odd_sides_and_uneven_times(self, tmp_path: Path) -> None:
        output = tmp_path / "out.mp4"
        times = [0.0, 0.04, 0.3, 0.3, 1.0]
        frames = (Frame(at, np.full((101, 99, 3), 90, np.uint8)) for at in times)
        write_video(frames, output, Fraction(25))
        with av.open(str(output)) as container:
            shown = [frame.time for frame in container.decode(video=0)]
            assert (container.streams.video[0].width, container.streams.video[0].height) == (98, 100)
        assert shown == pytest.approx(times, abs=1e-3)

    @pytest.mark.parametrize("name", ["out.avi", "no/out.mp4", "clip.mp4"])
    def test_where_it_cannot_be_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        clip = write_clip(Path("clip.mp4"), blank(2))
        content = clip.read_bytes()
        with pytest.raises(UsageError, match=name):
            predict_video(Brightness(), clip, annotated=name)
        assert clip.read_bytes() == content

    def test_nothing_is_left_where_drawing_breaks_off(self, tmp_path: Path) -> None:
        def stop(done: int, total: int | None) -> None:
            if total == RATE and done == 10:
                raise KeyboardInterrupt

        clip = write_clip(tmp_path / "clip.mp4", blank(RATE))
        with pytest.raises(KeyboardInterrupt):
            predict_video(Brightness(), clip, annotated=tmp_path / "out.mp4", progress=stop)
        assert list(tmp_path.iterdir()) == [clip]
