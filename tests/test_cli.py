"""The command line: exit codes, the sentences on stderr, and the tables, as a shell sees them."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import cilf
from cilf import cli
from cilf.cli import main
from cilf.errors import DetectorError, WeightsError
from cilf.photo_set.pipeline import PhotoResult, predict_many
from cilf.prediction import WHOLE_PICTURE, FacePrediction
from tests.faults.disk import full_disk
from tests.stand_in import CountingEstimator, FakeEstimator, picture


class Loadable(CountingEstimator, FakeEstimator):
    """Records how it was loaded."""

    loaded: tuple[object, ...] = ()
    sha256 = graph_sha256 = "0123"

    @classmethod
    def from_pretrained(
        cls,
        source: str | None = None,
        *,
        revision: str | None = None,
        device: str = "cpu",
    ) -> "Loadable":
        Loadable.loaded = (source, revision, device)
        return cls()


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    # Into the dictionary, past the module's own way of importing the real one.
    monkeypatch.setitem(vars(cilf), "AgeEstimator", Loadable)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with `photos/`: two faces, none, and a file that is no photo."""
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "photos" / "a.png", faces=2)
    picture(tmp_path / "photos" / "b.png")
    (tmp_path / "photos" / "c.jpg").write_text("hello")
    return tmp_path


def read_csv(path: Path) -> list[tuple[str, str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [(line["path"], line["face"], line["status"]) for line in csv.DictReader(file)]


EXPECTED = [
    ("photos/a.png", "0", "corrected"),
    ("photos/a.png", "1", "corrected"),
    ("photos/b.png", "", "no_face"),
    ("photos/c.jpg", "", "unreadable"),
]


def left_in(partial: str) -> str:
    return f"; the 2 rows so far are in '{partial}', and the same command goes on from there"


def test_every_file_gets_its_row(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "photos", "--output", "ages.csv"]) == 0
    assert read_csv(photos / "ages.csv") == EXPECTED
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "cilf: 4 rows from 3 files in 'ages.csv'; without a face 1, unreadable 1\n"


def test_the_three_formats_hold_the_same(photos: Path) -> None:
    for suffix in ("csv", "json", "parquet"):
        assert main(["predict", "photos", "--output", f"ages.{suffix}"]) == 0
    from_csv = pd.read_csv("ages.csv", dtype_backend="numpy_nullable")
    from_json = pd.DataFrame(json.loads(Path("ages.json").read_text(encoding="utf-8")))
    from_parquet = pd.read_parquet("ages.parquet")
    from_csv["caveat"] = from_csv["caveat"].astype("string")  # CSV has no type for an empty column
    pd.testing.assert_frame_equal(from_csv, from_parquet, check_exact=False, atol=5e-5)
    pd.testing.assert_frame_equal(from_json.astype(from_parquet.dtypes), from_parquet)


def test_the_whole_picture_as_the_face(photos: Path) -> None:
    assert main(["predict", "photos/b.png", "--no-face", "whole", "--output", "ages.csv"]) == 0
    assert read_csv(photos / "ages.csv") == [("photos/b.png", "0", "corrected")]


def test_the_table_to_read_says_why_nothing_is_promised(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", "photos/b.png", "--no-face", "whole"]) == 0
    line = capsys.readouterr().out.splitlines()[1]
    assert " unsure " in line
    assert line.endswith(f"photos/b.png: {WHOLE_PICTURE}")


def test_a_path_that_does_not_exist_is_a_row(photos: Path) -> None:
    assert main(["predict", "nowhere.jpg", "photos/b.png", "--output", "ages.csv"]) == 0
    assert read_csv(photos / "ages.csv") == [
        ("nowhere.jpg", "", "unreadable"),
        ("photos/b.png", "", "no_face"),
    ]


def test_what_is_loaded_and_where(photos: Path) -> None:
    main(["predict", "photos"])
    assert Loadable.loaded == (None, None, "cpu")
    options = ["--weights", "user/repo", "--revision", "v2", "--device", "cuda"]
    main(["predict", "photos", *options])
    assert Loadable.loaded == ("user/repo", "v2", "cuda")


def test_a_table_to_read(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "photos"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines()[1:3] == [
        " 30.50     21.25-39.00    31.00      2  corrected       unsure          "
        "0  0 2 10 12                 photos/a.png",
        " 30.50     21.25-39.00    31.00      2  corrected       unsure          "
        "1  12 2 22 12                photos/a.png",
    ]
    assert out.splitlines()[3].endswith("no face was found in 'photos/b.png'")
    assert "unreadable" in out.splitlines()[4]
    assert "photos/c.jpg" in out.splitlines()[4]
    assert out.splitlines()[0].split()[0] == "age"
    assert out.splitlines()[0].index("status") == out.splitlines()[1].index("corrected")


def test_prompts_give_columns_in_every_format(photos: Path) -> None:
    for suffix in ("csv", "json", "parquet"):
        assert (
            main(["predict", "photos", "--output", f"ages.{suffix}", "--prompts", "a child", "an old man"])
            == 0
        )
    from_csv = pd.read_csv("ages.csv", dtype_backend="numpy_nullable")
    from_json = pd.DataFrame(json.loads(Path("ages.json").read_text(encoding="utf-8")))
    from_parquet = pd.read_parquet("ages.parquet")
    from_csv["caveat"] = from_csv["caveat"].astype("string")  # CSV has no type for an empty column
    pd.testing.assert_frame_equal(from_csv, from_parquet, check_exact=False, atol=5e-5)
    pd.testing.assert_frame_equal(from_json.astype(from_parquet.dtypes), from_parquet)
    assert from_csv["similarity: an old man"].tolist()[:2] == [0.10, 0.10]
    assert from_csv["above_neutral: an old man"][0] == pytest.approx(0.10 - 0.19)
    assert from_csv["share: a child"][0] == 0.5
    assert from_csv["scored_by"].tolist()[:2] == ["a stand-in's tower"] * 2
    assert from_csv["share: a child"].isna().tolist() == [False, False, True, True]


def test_prompts_are_printed_below_each_face(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "photos/a.png", "--prompts", "a child", "--prompts", "a zebra"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[2:4] == [
        "        fit -0.120  share  50%  a child",
        "        fit -0.120  share  50%  a zebra",
    ]
    assert len(out.splitlines()) == 1 + 2 * 3
    assert err == "cilf: the prompt 'a zebra' has words not seen in training: 'zebra' (try bearded)\n"


def test_a_prompt_without_words_is_refused_before_the_model_loads(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Loadable.loaded = ()
    assert main(["predict", "photos", "--prompts", " "]) == 2
    assert "a prompt is empty" in capsys.readouterr().err
    assert Loadable.loaded == ()


def test_names_cannot_play_tricks_on_the_terminal(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(photos / "x.png", faces=1).rename(photos / "caf\udce9 \x1b[31m\nno_face é.png")
    assert main(["predict", "caf\udce9 \x1b[31m\nno_face é.png"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1].endswith(r"caf\udce9 \x1b[31m\nno_face é.png")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["predict"], "cilf predict: the following arguments are required: PATH; see cilf predict --help"),
        ([], "cilf: the following arguments are required: COMMAND; see cilf --help"),
        (["predict", "photos", "--output", "ages.txt"], "cilf: 'ages.txt' does not end in .csv or .json"),
        (
            ["predict", "photos", "--output", "no/ages.csv"],
            "cilf: the folder 'no' for the table does not exist",
        ),
        (
            ["predict", "photos", "--engine", "ray"],
            "cilf: the engine ray writes a folder of Parquet files; name it with --output",
        ),
        (
            ["predict", "photos", "--engine", "ray", "--output", "ages", "--prompts", "a child"],
            "cilf: the engine ray compares no prompts",
        ),
        (
            ["predict", "photos", "--engine", "ray", "--output", "ages", "--annotated", "a.mp4"],
            "cilf: the engine ray reads no videos",
        ),
        (["predict", "photos", "--no-face", "maybe"], "cilf predict: argument --no-face: invalid choice"),
        (
            ["predict", "photos", "--workers", "0"],
            "cilf predict: argument --workers: '0' is not a whole number of at least 1",
        ),
        (["predict", "empty"], "cilf: no photo was found in 'empty'; name photos, or folders with photos"),
    ],
)
def test_usage_errors(
    photos: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    (photos / "empty").mkdir()
    Loadable.loaded = ()
    try:
        code: object = main(arguments)
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert err.startswith(sentence)
    assert err.count("\n") == 1
    assert Loadable.loaded == (), "the model was loaded for nothing"


def test_an_empty_folder_among_others_is_named(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "empty").mkdir()
    assert main(["predict", "empty", "photos", "--output", "ages.csv"]) == 0
    assert "cilf: no photo was found in 'empty'; going on with the others\n" in capsys.readouterr().err
    assert read_csv(photos / "ages.csv") == EXPECTED


def test_weights_that_cannot_be_loaded(
    photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def from_pretrained(source: str | None = None, **settings: object) -> Loadable:
        raise WeightsError(f"'{source}' holds no model.safetensors; give another folder")

    monkeypatch.setattr(Loadable, "from_pretrained", from_pretrained)
    assert main(["predict", "photos", "--weights", "w", "--output", "ages.csv"]) == 2
    assert capsys.readouterr().err == "cilf: 'w' holds no model.safetensors; give another folder\n"
    assert not list(photos.glob("ages*"))


@pytest.mark.parametrize(
    ("reason", "code", "sentence"),
    [(KeyboardInterrupt(), 130, "stopped"), (DetectorError("libGL is missing"), 2, "libGL is missing")],
)
def test_a_stop_leaves_what_was_done(
    photos: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    reason: BaseException,
    code: int,
    sentence: str,
) -> None:
    def stop_at_b(
        self: CountingEstimator, photo: Path, prompts: None = None, *, no_face: str = "skip"
    ) -> list[FacePrediction]:
        if photo.name == "b.png":
            raise reason
        return CountingEstimator.predict(self, photo, no_face=no_face)

    monkeypatch.setattr(Loadable, "predict", stop_at_b)
    assert main(["predict", "photos", "--output", "ages.csv"]) == code
    assert capsys.readouterr().err == f"cilf: {sentence}{left_in('ages.partial.csv')}\n"
    assert read_csv(photos / "ages.partial.csv") == EXPECTED[:2]
    assert not (photos / "ages.csv").exists()

    again: list[str] = []

    def predict(
        self: CountingEstimator, photo: Path, prompts: None = None, *, no_face: str = "skip"
    ) -> list[FacePrediction]:
        again.append(photo.name)
        return CountingEstimator.predict(self, photo, no_face=no_face)

    monkeypatch.setattr(Loadable, "predict", predict)
    assert main(["predict", "photos", "--output", "ages.csv"]) == 0
    assert again == ["b.png", "c.jpg"]
    assert read_csv(photos / "ages.csv") == EXPECTED
    assert sorted(path.name for path in photos.iterdir()) == ["ages.csv", "photos"]


def test_a_run_with_other_settings_does_not_go_on(
    photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop_at_b(self: Loadable, photo: Path, *_: object, **__: object) -> list[FacePrediction]:
        if photo.name == "b.png":
            raise KeyboardInterrupt
        return []

    monkeypatch.setattr(Loadable, "predict", stop_at_b)
    assert main(["predict", "photos", "--output", "ages.csv"]) == 130
    assert main(["predict", "photos", "--output", "ages.csv", "--no-face", "whole"]) == 2
    assert "'ages.partial.jsonl' holds the results of an earlier run" in capsys.readouterr().err


class Stuck(Loadable):
    """Gets no further than some photos."""

    left = 8

    def predict(self, photo: Path, prompts: None = None, *, no_face: str = "skip") -> list[FacePrediction]:
        while not self.left:
            time.sleep(0.01)
        self.left -= 1
        return super().predict(photo, no_face=no_face)


def start_stuck(output: str) -> subprocess.Popen[str]:
    """The command with such a stand-in in a process of its own, in the working directory."""
    program = "import cilf, cilf.cli, signal, tests.test_cli as t; vars(cilf)['AgeEstimator'] = t.Stuck; "
    program += (
        "signal.signal(signal.SIGINT, signal.default_int_handler); "  # a shell's background job ignores it
    )
    program += f"raise SystemExit(cilf.cli.main(['predict', 'photos', '--output', '{output}']))"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.Popen(
        [sys.executable, "-c", program], stderr=subprocess.PIPE, text=True, env=environment
    )


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_ended_from_outside_and_run_again_gives_the_same_table(
    photos: Path, suffix: str, stop: signal.Signals
) -> None:
    for number in range(20):
        picture(photos / "photos" / f"d{number:02}.png", faces=number % 3)
    assert main(["predict", "photos", "--output", f"undisturbed.{suffix}"]) == 0

    journal = photos / "ages.partial.jsonl"
    run = start_stuck(f"ages.{suffix}")
    while run.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") > 5):
        time.sleep(0.01)
    run.send_signal(stop)
    _, said = run.communicate()
    assert run.returncode == {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[stop]
    assert ("the same command goes on from there" in said) == (stop != signal.SIGKILL)
    kept = journal.read_bytes()
    assert kept.count(b"\n") < 23, "it was over before it was stopped"

    assert main(["predict", "photos", "--output", f"ages.{suffix}"]) == 0
    assert Path(f"ages.{suffix}").read_bytes() == Path(f"undisturbed.{suffix}").read_bytes()
    assert not journal.exists()


@pytest.mark.parametrize("suffix", ["csv", "json", "parquet"])
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_program_that_is_asked_to_end_writes_down_what_is_done(
    photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, suffix: str, name: str
) -> None:
    number = getattr(signal, name)

    def end_at_b(
        self: CountingEstimator, photo: Path, prompts: None = None, *, no_face: str = "skip"
    ) -> list[FacePrediction]:
        if photo.name == "b.png":
            os.kill(os.getpid(), number)
        return CountingEstimator.predict(self, photo, no_face=no_face)

    def unheeded(*_: object) -> None:
        raise AssertionError("the program would have ended at once")

    monkeypatch.setattr(Loadable, "predict", end_at_b)
    before = signal.signal(number, unheeded)
    try:
        assert main(["predict", "photos", "--output", f"ages.{suffix}"]) == 143
        assert signal.getsignal(number) is unheeded, "as it was"
    finally:
        signal.signal(number, before)
    partial = f"ages.partial.{suffix}"
    assert capsys.readouterr().err == f"cilf: stopped{left_in(partial)}\n"
    read = {"csv": pd.read_csv, "json": pd.read_json, "parquet": pd.read_parquet}[suffix]
    assert read(partial)[["path", "face"]].to_numpy().tolist() == [["photos/a.png", 0], ["photos/a.png", 1]]


@pytest.mark.parametrize("suffix", ["csv", "json", "parquet"])
def test_a_disk_that_fills_up_is_a_sentence(
    photos: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    for number in range(20):
        picture(photos / "photos" / f"d{number}.png", faces=20)
    Path(f"ages.{suffix}").write_text("an older table")
    with full_disk(after=2000):
        assert main(["predict", "photos", "--output", f"ages.{suffix}"]) == 2
    assert f"cilf: the table 'ages.{suffix}' cannot be written" in capsys.readouterr().err
    assert Path(f"ages.{suffix}").read_text() == "an older table"
    if suffix == "csv":
        assert read_csv(photos / "ages.partial.csv")[:2] == EXPECTED[:2]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["csv", "json", "parquet"])
def test_a_killed_program_leaves_its_rows_and_the_older_table(photos: Path, suffix: str) -> None:
    Path(f"ages.{suffix}").write_text("an older table")
    program = f"""
import os, signal, cilf, cilf.cli, tests.test_cli as t

class Killed(t.Loadable):
    def predict(self, photo, **options):
        if photo.name == "b.png":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().predict(photo, **options)

vars(cilf)["AgeEstimator"] = Killed
cilf.cli.main(["predict", "photos", "--output", "ages.{suffix}"])
"""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", program], check=False, env=environment)
    assert done.returncode == -signal.SIGKILL
    assert Path(f"ages.{suffix}").read_text() == "an older table"
    assert Path("ages.partial.jsonl").read_text(encoding="utf-8").count("photos/a.png") == 2


def cilf_command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the real command, away from the network."""
    command = [sys.executable, "-m", "cilf", *arguments]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.slow
def test_portraits_and_bad_files_through_the_bundled_model(
    tmp_path: Path, grace_hopper: np.ndarray, eileen_collins: np.ndarray
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(eileen_collins).save(photos / "collins.png")
    Image.fromarray(grace_hopper).save(photos / "hopper, grace.jpg")
    Image.fromarray(np.hstack([grace_hopper[:512], eileen_collins])).save(photos / "two.webp")
    (photos / "empty.jpg").write_bytes(b"")
    Image.new("RGB", (320, 240), "navy").save(photos / "wall.png")

    done = cilf_command("predict", photos, "--output", tmp_path / "ages.csv")

    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert done.stderr.splitlines()[0].startswith("cilf: 6 rows from 5 files in ")
    assert done.stderr.count("\n") == 1, "the libraries inside keep quiet"
    table = pd.read_csv(tmp_path / "ages.csv")
    assert [
        (Path(path).name, face) for path, face in zip(table["path"], table["face"].fillna(-1), strict=True)
    ] == [
        ("collins.png", 0),
        ("empty.jpg", -1),
        ("hopper, grace.jpg", 0),
        ("two.webp", 0),
        ("two.webp", 1),
        ("wall.png", -1),
    ]
    assert list(table["status"][[1, 5]]) == ["unreadable", "no_face"]
    faces = table.dropna(subset="face")
    assert set(faces["status"]) <= {"accepted", "corrected", "low_confidence"}
    assert (
        faces[["age_low", "age", "age_high"]].apply(lambda ages: ages.is_monotonic_increasing, axis=1).all()
    )
    assert faces["detection_score"].between(0, 1).all()
    left, right = table.loc[3], table.loc[4]
    assert left["x1"] < grace_hopper.shape[1] < right["x0"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [("--weights", "nobody/nothing", "'nobody/nothing'"), ("--device", "abacus", "'abacus'")],
)
def test_a_model_error_is_one_line_without_a_trace(
    tmp_path: Path, option: str, value: str, complaint: str
) -> None:
    done = cilf_command("predict", "photo.jpg", option, value, "--output", tmp_path / "ages.csv")
    assert (done.returncode, done.stdout) == (2, "")
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [[], ["predict"]])
def test_help_can_be_read(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    assert "usage: cilf" in capsys.readouterr().out


def test_so_many_workers_as_are_asked_for(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def recorded(*arguments: Any, count: int | None, **options: Any) -> Iterator[PhotoResult]:
        asked.append(count)
        return predict_many(*arguments, count=count, **options)

    monkeypatch.setattr(cli, "predict_many", recorded)
    assert main(["predict", "photos/a.png", "--workers", "1"]) == 0
    assert main(["predict", "photos/a.png"]) == 0
    assert asked == [1, None]


@pytest.mark.slow
def test_help_and_version_do_without_pytorch() -> None:
    probe = (
        "import sys, cilf.cli\n"
        "try: cilf.cli.main(['predict', '--help'])\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        "assert 'torch' not in sys.modules and 'mediapipe' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True)
    assert cilf_command("--version").stdout == f"cilf {cilf.__version__}\n"


def test_numpy_s_library_gets_one_thread_before_it_is_imported() -> None:
    probe = (
        "import os, sys, cilf\n"
        "assert 'numpy' not in sys.modules\n"
        "import cilf.__main__\n"
        "assert os.environ['OPENBLAS_NUM_THREADS'] == '1'"
    )
    without = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, env=without)


def test_an_error_is_one_line_without_a_trace() -> None:
    done = cilf_command("predict", "photo.jpg", "--output", "ages.doc")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("cilf: 'ages.doc' does not end in")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_reader_that_has_enough(photos: Path) -> None:
    """`cilf predict … | head -0` ends without a complaint from Python."""
    program = "import cilf, cilf.cli, tests.test_cli as t; vars(cilf)['AgeEstimator'] = t.Loadable; "
    program += "raise SystemExit(cilf.cli.main(['predict', 'photos']))"
    reading, writing = os.pipe()
    os.close(reading)
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", program],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(root)},
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")
