"""What photos become, one by one and through worker processes."""

import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import cilf
from cilf.errors import DetectorError, PhotoError, WeightsError
from cilf.face.crops import FaceCrops
from cilf.face.finder import FaceFinder
from cilf.photo_set import pipeline
from cilf.photo_set.pipeline import predict_many, predict_paths
from cilf.photo_set.results import COLUMNS
from cilf.photo_set.workers import Workers
from cilf.prediction import WHOLE_PICTURE, FacePrediction
from tests.photo_set.generated import generated_photos
from tests.stand_in import CountingEstimator, Cropping, picture


class TestRows:
    def test_a_row_per_face_with_the_columns_in_order(self, tmp_path: Path) -> None:
        rows = list(predict_paths(CountingEstimator(), [picture(tmp_path / "a.png", faces=3)]))
        assert [tuple(row) for row in rows] == [COLUMNS] * 3
        assert [(row["face"], row["x0"]) for row in rows] == [(0, 0.0), (1, 12.0), (2, 24.0)]
        assert rows[1] == {
            "path": str(tmp_path / "a.png"),
            "face": 1,
            "x0": 12.0,
            "y0": 2.0,
            "x1": 22.0,
            "y1": 12.0,
            "detection_score": 0.9,
            "age": 30.5,
            "age_low": 21.25,
            "age_high": 39.0,
            "initial_age": 31.0,
            "iterations": 2,
            "status": "corrected",
            "over_18": "unsure",
            "caveat": None,
            "error": None,
        }

    def test_no_face(self, tmp_path: Path) -> None:
        path = picture(tmp_path / "wall.png")
        (row,) = predict_paths(CountingEstimator(), [path])
        assert (row["path"], row["status"]) == (str(path), "no_face")
        assert "wall.png" in row["error"]
        assert all(row[column] is None for column in COLUMNS if column not in ("path", "status", "error"))

    def test_the_whole_picture_has_no_score(self, tmp_path: Path) -> None:
        (row,) = predict_paths(CountingEstimator(), [picture(tmp_path / "wall.png")], no_face="whole")
        assert (row["face"], row["status"], row["detection_score"]) == (0, "corrected", None)
        assert (row["over_18"], row["caveat"]) == ("unsure", WHOLE_PICTURE)

    def test_bad_files_give_rows_and_the_run_goes_on(self, tmp_path: Path) -> None:
        (tmp_path / "1_empty.jpg").write_bytes(b"")
        (tmp_path / "2_text.jpg").write_text("hello")
        whole = picture(tmp_path / "3_cut.png").read_bytes()
        (tmp_path / "3_cut.png").write_bytes(whole[: len(whole) // 2])
        picture(tmp_path / "4_good.png", faces=1)
        rows = list(predict_paths(CountingEstimator(), [tmp_path, tmp_path / "5_missing.jpg"]))
        assert [row["status"] for row in rows] == [
            "unreadable",
            "unreadable",
            "unreadable",
            "corrected",
            "unreadable",
        ]
        for row in rows:
            if row["status"] == "unreadable":
                assert Path(row["path"]).name in row["error"]
                assert row["face"] is row["age"] is row["iterations"] is None

    def test_a_failure_inside_is_a_row_too(self, tmp_path: Path) -> None:
        class Fragile(CountingEstimator):
            def predict(
                self, photo: Path, prompts: None = None, *, no_face: str = "skip"
            ) -> list[FacePrediction]:
                if photo.name == "a.png":
                    raise RuntimeError("tensor\nof the wrong shape")
                return super().predict(photo, no_face=no_face)

        picture(tmp_path / "a.png", faces=1)
        picture(tmp_path / "b.png", faces=1)
        first, second = predict_paths(Fragile(), tmp_path)
        assert first["status"] == "unreadable"
        assert "RuntimeError: tensor of the wrong shape" in first["error"]
        assert second["status"] == "corrected"

    @pytest.mark.parametrize(
        ("message", "shown"),
        [
            ("No such file: '/srv/cilf/models/x.onnx'", "No such file: 'x.onnx'"),
            (r"cannot read C:\Users\me\x.onnx here", "cannot read x.onnx here"),
            ("1/2 of https://example.org/a/b and/or 3 / 4", "1/2 of https://example.org/a/b and/or 3 / 4"),
        ],
    )
    def test_an_error_names_no_folder_of_the_program(self, tmp_path: Path, message: str, shown: str) -> None:
        class Fragile(CountingEstimator):
            def predict(self, photo: Path, *_: object, **__: object) -> list[FacePrediction]:
                raise RuntimeError(message)

        [line] = predict_paths(Fragile(), picture(tmp_path / "a.png"))
        assert f"(RuntimeError: {shown})" in line["error"]

    def test_a_broken_detector_stops_the_run(self, tmp_path: Path) -> None:
        class Blind(CountingEstimator):
            def predict(
                self, photo: Path, prompts: None = None, *, no_face: str = "skip"
            ) -> list[FacePrediction]:
                raise DetectorError("libGL is missing")

        with pytest.raises(DetectorError, match="libGL"):
            list(predict_paths(Blind(), picture(tmp_path / "a.png")))

    def test_photos_are_opened_one_at_a_time(self, tmp_path: Path) -> None:
        picture(tmp_path / "a.png", faces=2)
        picture(tmp_path / "b.png", faces=1)
        estimator = CountingEstimator()
        rows = predict_paths(estimator, tmp_path)
        next(rows)
        next(rows)
        assert estimator.opened == ["a.png"]


class Deadly(str):
    """A path that ends the process that reads it from a pipe."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[int]]:
        return os._exit, (9,)


@pytest.fixture
def cropping(finder: FaceFinder) -> Cropping:
    return Cropping(finder)


@pytest.fixture
def paths(tmp_path: Path, grace_hopper: np.ndarray) -> list[Path]:
    """A portrait, no face, no picture, nothing, a brighter portrait."""
    Image.fromarray(grace_hopper).save(tmp_path / "0.jpg")
    picture(tmp_path / "1.png")
    (tmp_path / "2.jpg").write_text("hello")
    Image.fromarray(np.maximum(grace_hopper, 60)).save(tmp_path / "4.jpg")
    return [tmp_path / name for name in ("0.jpg", "1.png", "2.jpg", "3.jpg", "4.jpg")]


@pytest.mark.slow
class TestWorkers:
    @pytest.fixture(autouse=True)
    def at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """No photo is predicted in this process."""
        monkeypatch.setattr(pipeline, "FEW", 0)

    @pytest.mark.parametrize("no_face", ["skip", "whole"])
    def test_results_are_those_of_this_process_in_the_order_of_the_photos(
        self, cropping: Cropping, paths: list[Path], no_face: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        many = list(predict_many(cropping, 3 * paths, no_face=no_face, count=2))
        monkeypatch.setattr(pipeline, "FEW", 100)
        alone = list(predict_many(cropping, 3 * paths, no_face=no_face))
        assert [result.rows for result in many] == [result.rows for result in alone]
        assert [result.name for result in many] == [str(path) for path in 3 * paths]

    def test_every_kind_of_photo(
        self, cropping: Cropping, paths: list[Path], grace_hopper: np.ndarray
    ) -> None:
        def gone() -> np.ndarray:
            raise PhotoError("'x.jpg' is gone; choose it again")

        content, bitmap = paths[0].read_bytes(), io.BytesIO()
        Image.fromarray(grace_hopper).save(bitmap, "BMP")
        photos: list[Any] = [
            str(paths[0]),
            Image.open(paths[0]),
            ("a", content),
            ("b", lambda: nullcontext(content)),
        ]
        photos += [grace_hopper, ("c", bitmap.getvalue()), ("x.jpg", gone), ("y.jpg", b"hello")]
        photos.append(np.zeros(7))
        results = list(predict_many(cropping, photos, count=1))
        names = [str(paths[0]), "photo 2", "a", "b", "photo 5", "c", "x.jpg", "y.jpg", "photo 9"]
        assert [result.name for result in results] == names
        assert [len(result.faces) for result in results] == [1] * 6 + [0] * 3
        assert len({result.faces[0].age for result in results[:4]}) == 1
        assert results[4].faces[0].age == results[5].faces[0].age
        assert results[6].error == "'x.jpg' is gone; choose it again"
        assert results[7].error is not None
        assert "'y.jpg' is not a picture" in results[7].error
        assert results[8].error is not None
        assert "an array of float64" in results[8].error

    def test_a_worker_that_dies_is_replaced_and_its_photo_tried_again(
        self, cropping: Cropping, paths: list[Path]
    ) -> None:
        config = cropping.crop_config()
        with Workers(config, lambda photo: cropping.crop(photo, config), count=1) as workers:
            workers._threads[-1].join(120)  # this process no longer does the work
            [worker] = workers._processes
            assert worker._process is not None
            worker._process.kill()
            assert workers.submit("a", paths[0]).result(120).faces
            with pytest.raises(PhotoError, match="'b' ended the process that opened it, twice"):
                workers.submit("b", Deadly(paths[0])).result(120)
            assert workers.submit("a", paths[0]).result(120).faces
            last = worker._process
        assert last.wait(60) != 0  # killed

    def test_no_more_photos_are_asked_for_than_are_under_way(
        self, cropping: Cropping, paths: list[Path]
    ) -> None:
        asked = 0

        def endless() -> Iterator[Path]:
            nonlocal asked
            while True:
                asked += 1
                yield paths[1]

        results = predict_many(cropping, endless(), count=1)
        for done in range(1, 20):
            next(results)
            assert asked - done <= 2 * (pipeline.AT_ONCE + 6)
        results.close()  # type: ignore[attr-defined]

    def test_an_estimate_that_fails_for_one_photo_spares_the_others(
        self, cropping: Cropping, paths: list[Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        predict_crops, bright = cropping.predict_crops, cropping.predict(paths[4])[0].age

        def fragile(photos: Sequence[FaceCrops], prompts: None = None) -> list[list[FacePrediction]]:
            faces = predict_crops(photos)
            if any(face.age == bright for each in faces for face in each):
                raise RuntimeError("tensor\nof the wrong shape")
            return faces

        monkeypatch.setattr(cropping, "predict_crops", fragile)
        dark, light = predict_many(cropping, [paths[0], paths[4]], count=1)
        assert dark.error is None
        assert light.error is not None
        assert "RuntimeError: tensor of the wrong shape" in light.error

    def test_broken_weights_stop_the_run(
        self, cropping: Cropping, paths: list[Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(photos: Sequence[FaceCrops], prompts: None = None) -> list[list[FacePrediction]]:
            raise WeightsError("the weights are damaged; load others")

        monkeypatch.setattr(cropping, "predict_crops", broken)
        with pytest.raises(WeightsError, match="damaged"):
            list(predict_many(cropping, paths, count=1))

    def test_where_no_process_can_be_started_this_one_does_the_work(
        self, cropping: Cropping, paths: list[Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("sys.executable", "/nowhere/python")
        results = list(predict_many(cropping, paths, count=2))
        assert [len(result.faces) for result in results] == [1, 0, 0, 0, 1]


@pytest.mark.slow
def test_ages_are_those_of_single_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "FEW", 0)
    estimator = cilf.AgeEstimator.from_pretrained()
    photos = list(generated_photos(12, broken=(7,)))
    for name, content in photos:
        (tmp_path / name).write_bytes(content)
    prompts = ["a child", "an old woman"]
    results = list(estimator.predict_many([tmp_path / name for name, _ in photos], prompts))
    assert sum(face.iterations > 0 for result in results for face in result.faces) > 0, "views are asked for"
    for number, ((name, _), result) in enumerate(zip(photos, results, strict=True)):
        if number == 7:
            assert result.error is not None
            continue
        faces = estimator.predict(tmp_path / name, prompts)
        assert len(faces) == len(result.faces)
        for face, alone in zip(result.faces, faces, strict=True):
            assert face.age == pytest.approx(alone.age, abs=1e-4)
            assert face.interval == pytest.approx(alone.interval, abs=1e-3)
            assert [step.view for step in face.trace] == [step.view for step in alone.trace]
            assert face.similarities == pytest.approx(alone.similarities, abs=1e-5)
            np.testing.assert_array_equal(face.crop, alone.crop)
            np.testing.assert_array_equal(face.further_crops, alone.further_crops)
