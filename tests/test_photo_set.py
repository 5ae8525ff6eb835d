"""What a folder of photos becomes, and what the table promises its readers."""

import csv
import json
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cilf import photo_set
from cilf.errors import DetectorError, UsageError
from cilf.photo_set import COLUMNS, find_photos, partial_path, predict_paths, write_table
from cilf.prediction import WHOLE_PICTURE, FacePrediction
from tests.stand_in import CountingEstimator, picture

SUFFIXES = (".csv", ".json", ".parquet")


def names(paths: object) -> list[str]:
    return [name for name, _ in find_photos(paths)]


class TestFindPhotos:
    def test_a_folder_is_walked_in_the_order_of_names(self, tmp_path: Path) -> None:
        for name in ("b.jpg", "a/z.png", "a/B/1.webp", "c.HEIC", "a.JPG"):
            picture(tmp_path / "photos" / Path(name).with_suffix(".png")).rename(tmp_path / "photos" / name)
        folder = tmp_path / "photos"
        expected = ("a/B/1.webp", "a/z.png", "a.JPG", "b.jpg", "c.HEIC")
        assert names([folder]) == [str(folder / name) for name in expected]

    def test_names_start_with_the_folder_as_given(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        picture(tmp_path / "photos" / "in" / "a.png")
        monkeypatch.chdir(tmp_path)
        assert names(["./photos/"]) == ["./photos/in/a.png"]
        assert names(["."]) == ["./photos/in/a.png"]
        assert names(["photos/../photos/in/a.png"]) == ["photos/../photos/in/a.png"]

    def test_only_photos_are_taken_from_a_folder_and_nothing_hidden(self, tmp_path: Path) -> None:
        picture(tmp_path / "a.png")
        picture(tmp_path / ".hidden.png")
        picture(tmp_path / ".thumbnails" / "b.png")
        (tmp_path / "notes.txt").write_text("no photo")
        (tmp_path / "film.mp4").write_bytes(b"")
        (tmp_path / "folder.jpg").mkdir()
        assert names([tmp_path]) == [str(tmp_path / "a.png")]

    def test_a_named_file_is_taken_whatever_it_is(self, tmp_path: Path) -> None:
        (tmp_path / ".portrait").write_bytes(b"")
        assert names([tmp_path / ".portrait", "not there"]) == [str(tmp_path / ".portrait"), "not there"]

    def test_a_single_path_needs_no_list(self, tmp_path: Path) -> None:
        assert names(str(picture(tmp_path / "a.png"))) == [str(tmp_path / "a.png")]

    def test_rings_of_links_end(self, tmp_path: Path) -> None:
        picture(tmp_path / "a" / "1.png")
        (tmp_path / "a" / "up").symlink_to(tmp_path)
        (tmp_path / "a" / "self.png").symlink_to("self.png")
        (tmp_path / "a" / "other.png").symlink_to("1.png")
        listed = names([tmp_path])
        assert listed == [str(tmp_path / "a" / name) for name in ("1.png", "other.png", "self.png")]
        rows = list(predict_paths(CountingEstimator(), tmp_path))
        assert [row["status"] for row in rows] == ["no_face", "no_face", "unreadable"]

    def test_a_folder_that_is_itself_a_link_is_walked(self, tmp_path: Path) -> None:
        picture(tmp_path / "real" / "1.png")
        (tmp_path / "link").symlink_to("real")
        assert names([tmp_path / "link"]) == [str(tmp_path / "link" / "1.png")]

    def test_a_folder_that_may_not_be_listed_gives_a_row(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        picture(tmp_path / "a.png")
        picture(tmp_path / "locked" / "b.png")
        scandir = os.scandir

        def refuse_locked(folder: str) -> object:
            if folder.endswith("locked"):
                raise PermissionError(13, "Permission denied", folder)
            return scandir(folder)

        monkeypatch.setattr(os, "scandir", refuse_locked)
        rows = list(predict_paths(CountingEstimator(), tmp_path))
        assert [(row["path"], row["status"]) for row in rows] == [
            (str(tmp_path / "a.png"), "no_face"),
            (str(tmp_path / "locked"), "unreadable"),
        ]


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


def row(path: str = "a.jpg", **known: object) -> dict[str, object]:
    return dict.fromkeys(COLUMNS) | {"path": path, "status": "no_face", "error": "no face was found"} | known


def measured(path: str = "a.jpg", number: int = 0) -> dict[str, object]:
    numbers = {"x0": 1.5, "y0": 2.0, "x1": 100.25, "y1": 90.0, "detection_score": 0.875}
    ages = {"age": 30.0, "age_low": 21.23456, "age_high": 39.5, "initial_age": 31.0, "iterations": 2}
    return row(path, face=number, status="corrected", over_18="unsure", error=None, **numbers, **ages)


def read(path: Path) -> list[dict[str, object]]:
    """Read a table back with nothing of ours; what is empty is None."""
    if path.suffix.lower() == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return [{key: value or None for key, value in line.items()} for line in csv.DictReader(file)]
    if path.suffix.lower() == ".json":
        return json.loads(path.read_text(encoding="utf-8"))
    frame = pd.read_parquet(path)
    return frame.astype(object).where(frame.notna(), None).to_dict("records")


class TestTable:
    def test_csv_to_the_letter(self, tmp_path: Path) -> None:
        rows = [measured(), row("b, c.jpg", error='no face in "b, c.jpg"')]
        assert write_table(rows, tmp_path / "ages.csv") == 2
        assert (tmp_path / "ages.csv").read_bytes().decode() == (
            "path,face,x0,y0,x1,y1,detection_score,age,age_low,age_high,initial_age,iterations,status,"
            "over_18,caveat,error\r\n"
            "a.jpg,0,1.50,2.00,100.25,90.00,0.8750,30.0000,21.2346,39.5000,31.0000,2,corrected,unsure,,\r\n"
            '"b, c.jpg",,,,,,,,,,,,no_face,,,"no face in ""b, c.jpg"""\r\n'
        )

    @pytest.mark.parametrize("suffix", [".json", ".parquet"])
    def test_json_and_parquet_keep_numbers_as_they_are(self, tmp_path: Path, suffix: str) -> None:
        rows = [measured(), measured(number=1), row("b.jpg")]
        write_table(rows, tmp_path / f"ages{suffix}")
        assert read(tmp_path / f"ages{suffix}") == rows

    def test_parquet_types_stay_when_values_are_missing(self, tmp_path: Path) -> None:
        write_table([row("b.jpg")], tmp_path / "ages.parquet")
        types = pd.read_parquet(tmp_path / "ages.parquet").dtypes.astype(str)
        assert tuple(types.index) == COLUMNS
        assert set(types[["path", "status", "over_18", "caveat", "error"]]) == {"string"}
        assert set(types[["face", "iterations"]]) == {"Int64"}
        assert set(types[["x0", "y0", "x1", "y1", "detection_score", "age", "initial_age"]]) == {"Float64"}

    def test_parquet_of_several_groups(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(photo_set, "_PARQUET_GROUP", 3)
        rows = [measured(number=number) for number in range(7)]
        assert write_table(rows, tmp_path / "ages.parquet") == 7
        assert read(tmp_path / "ages.parquet") == rows

    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_no_rows_make_an_empty_table(self, tmp_path: Path, suffix: str) -> None:
        assert write_table([], tmp_path / f"ages{suffix}") == 0
        assert read(tmp_path / f"ages{suffix}") == []

    @settings(deadline=None)  # the first example waits for pyarrow to be imported
    @given(path=st.text(st.characters(exclude_characters="\0"), min_size=1), suffix=st.sampled_from(SUFFIXES))
    def test_any_name_comes_back(self, path: str, suffix: str) -> None:
        # Lone surrogates, by which Python names bytes that are not text, are shown in ASCII.
        expected = path.encode("utf-8", "backslashreplace").decode("utf-8")
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder, f"ages{suffix}")
            write_table([row(path)], output)
            assert [line["path"] for line in read(output)] == [expected]

    def test_a_name_that_is_not_utf8(self, tmp_path: Path) -> None:
        path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")
        picture(tmp_path / "a.png", faces=1).rename(path)
        write_table(predict_paths(CountingEstimator(), tmp_path), tmp_path / "ages.csv")
        (line,) = read(tmp_path / "ages.csv")
        assert line["path"] == str(tmp_path / "caf\\udce9.png")
        assert line["status"] == "corrected"

    @pytest.mark.parametrize("suffix", SUFFIXES)
    @pytest.mark.parametrize("reason", [KeyboardInterrupt, DetectorError("libGL is missing")])
    def test_what_was_done_before_a_stop_is_kept_beside_the_old_table(
        self, tmp_path: Path, suffix: str, reason: BaseException
    ) -> None:
        def rows() -> Iterator[dict[str, object]]:
            yield measured()
            yield row("b.jpg")
            raise reason

        output = tmp_path / f"ages{suffix}"
        write_table([measured("old.jpg")], output)
        with pytest.raises(type(reason) if isinstance(reason, Exception) else KeyboardInterrupt):
            write_table(rows(), output)
        assert [line["path"] for line in read(output)] == ["old.jpg"]
        assert [line["path"] for line in read(partial_path(output))] == ["a.jpg", "b.jpg"]

    def test_nothing_is_left_when_no_row_was_done(self, tmp_path: Path) -> None:
        def rows() -> Iterator[dict[str, object]]:
            raise DetectorError("libGL is missing")
            yield

        with pytest.raises(DetectorError):
            write_table(rows(), tmp_path / "ages.csv")
        assert list(tmp_path.iterdir()) == []

    def test_a_finished_table_stands_alone(self, tmp_path: Path) -> None:
        write_table([measured()], tmp_path / "ages.CSV")
        assert [path.name for path in tmp_path.iterdir()] == ["ages.CSV"]

    def test_rows_are_on_the_disk_as_they_come(self, tmp_path: Path) -> None:
        output = tmp_path / "ages.csv"

        def rows() -> Iterator[dict[str, object]]:
            yield measured()
            assert len(read(partial_path(output))) == 1
            yield measured(number=1)
            assert len(read(partial_path(output))) == 2

        assert write_table(rows(), output) == 2

    @pytest.mark.parametrize(
        ("output", "complaint"),
        [
            ("ages.xlsx", r"'ages\.xlsx' does not end in \.csv or \.json or \.parquet"),
            ("ages", "does not end in"),
            ("nowhere/ages.csv", "the folder 'nowhere' for the table does not exist"),
            ("folder.csv", "'folder.csv' is a folder"),
        ],
    )
    def test_outputs_that_cannot_be(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, complaint: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("folder.csv").mkdir()
        with pytest.raises(UsageError, match=complaint):
            write_table([measured()], output)

    def test_a_full_disk_is_one_sentence(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(self: Path, target: Path) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "replace", full)
        with pytest.raises(UsageError, match=r"cannot be written .*No space left"):
            write_table([measured()], tmp_path / "ages.csv")


def test_ages_in_csv_have_at_least_two_decimals(tmp_path: Path) -> None:
    write_table([measured()], tmp_path / "ages.csv")
    (line,) = read(tmp_path / "ages.csv")
    for column in ("age", "age_low", "age_high", "initial_age"):
        text = str(line[column])
        assert len(text.partition(".")[2]) >= 2
        assert math.isclose(float(text), float(str(measured()[column])), abs_tol=5e-5)
