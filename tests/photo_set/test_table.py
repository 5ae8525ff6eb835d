"""What the table of a photo set promises its readers."""

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

from cilf.errors import DetectorError, UsageError
from cilf.photo_set import table
from cilf.photo_set.pipeline import predict_paths
from cilf.photo_set.results import COLUMNS
from cilf.photo_set.table import partial_path, write_table
from tests.stand_in import CountingEstimator, picture

SUFFIXES = (".csv", ".json", ".parquet")


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
        monkeypatch.setattr(table, "_PARQUET_GROUP", 3)
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
