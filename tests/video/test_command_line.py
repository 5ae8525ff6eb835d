"""Short videos on the command line."""

import csv
from itertools import chain
from pathlib import Path
from typing import Any

import av
import pytest

import cilf
from cilf.cli import main
from cilf.prediction import FacePrediction
from cilf.video import frames
from tests.stand_in import FakeEstimator, make_face, picture
from tests.video.clips import RATE, blank, write_clip


class Loadable(FakeEstimator):
    """Sees a face in every bright frame, and in every photo none."""

    graph_sha256 = "0123"

    @classmethod
    def from_pretrained(cls, *_: Any, **__: Any) -> "Loadable":
        return cls()

    def predict(self, photo: Any, prompts: None = None, **options: Any) -> list[FacePrediction]:
        return [make_face(33.0)] if hasattr(photo, "mean") and photo.mean() > 60 else []


@pytest.fixture(autouse=True)
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In the working directory: two seconds with somebody in view, and one with nobody."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(vars(cilf), "AgeEstimator", Loadable)
    return write_clip(Path("clip.mp4"), chain(blank(2 * RATE), blank(RATE, 20)))


def rows(path: str) -> list[dict[str, str]]:
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_row_a_person_between_photos() -> None:
    picture(Path("a.png"))
    Path("broken.mov").write_text("hello")
    assert main(["predict", "a.png", "clip.mp4", "broken.mov", "--output", "ages.csv"]) == 0
    photo, person, broken = rows("ages.csv")
    assert (photo["status"], photo["frames"]) == ("no_face", "")
    assert (person["path"], person["age"], person["frames"]) == ("clip.mp4", "33.0000", "12")
    assert (person["first_second"], person["last_second"][:4]) == ("0.0000", "1.83")
    assert (broken["status"], broken["error"][:24]) == ("unreadable", "'broken.mov' is no video")


def test_photos_alone_have_no_columns_of_videos() -> None:
    picture(Path("a.png"))
    assert main(["predict", "a.png", "--output", "ages.csv"]) == 0
    assert "frames" not in rows("ages.csv")[0]


@pytest.mark.slow
def test_an_annotated_video_and_a_table_to_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "clip.mp4", "--annotated", "out.mp4"]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith("clip.mp4: 12 frames from 0.0 to 1.8 s")
    with av.open("out.mp4") as container:
        drawn = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(drawn) == 3 * RATE
    assert drawn[RATE].std() > 5 > drawn[-1].std()


def test_films_in_a_folder_are_passed_over(clip: Path) -> None:
    picture(Path("photos/a.png"))
    clip.rename("photos/clip.mp4")
    assert main(["predict", "photos", "--output", "ages.csv"]) == 0
    assert [row["path"] for row in rows("ages.csv")] == ["photos/a.png"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["a.png", "--annotated", "out.mp4"], "--annotated is for a single video"),
        (["clip.mp4", "clip.mp4", "--annotated", "out.mp4"], "--annotated is for a single video"),
        (["clip.mp4", "--annotated", "clip.mp4"], "'clip.mp4' is the video itself"),
        (["clip.mp4", "--annotated", "out.gif"], "'out.gif' does not end in .mp4"),
    ],
)
def test_usage_errors(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_without_pyav(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "find_spec", lambda name: None)
    assert main(["predict", "clip.mp4"]) == 2
    assert "which needs PyAV; install it with `pip install -e '.[video]'`" in capsys.readouterr().err


def test_a_run_goes_on_after_a_video_whose_path_is_written_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    picture(Path("a.png"))
    command = ["predict", "./clip.mp4", "a.png", "--output", "ages.csv"]
    with monkeypatch.context() as broken:
        broken.setattr("cilf.cli.write_table", interrupted)
        with pytest.raises(SystemExit):
            main(command)
    monkeypatch.setattr("cilf.cli.predict_video", interrupted)  # nothing is done twice
    assert main(command) == 0
    assert [row["path"] for row in rows("ages.csv")] == ["./clip.mp4", "a.png"]


def interrupted(*_: object, **__: object) -> None:
    raise SystemExit(1)
