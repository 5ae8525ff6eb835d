"""The folder of uploads is the page's own, and swept."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import app
from cilf.demo.uploads import folder as upload_folder

ROOT = Path(app.__file__).parent


def test_what_nobody_writes_to_any_more_is_removed(tmp_path: Path) -> None:
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


def start(temporary: Path) -> tuple[subprocess.Popen[str], Path]:
    """A program with a folder of uploads, which ends with its input; and the folder."""
    script = "from cilf.demo.uploads import folder; print(folder.ours(), flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        env=os.environ | {"TMPDIR": str(temporary)},
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


@pytest.mark.slow
def test_a_start_removes_what_a_killed_program_left(tmp_path: Path) -> None:
    living, in_use = start(tmp_path)
    killed, left = start(tmp_path)
    (left / "upload").mkdir()
    for folder in (left / "upload", in_use):
        (folder / "me.jpg").write_text("a photo")
    (tmp_path / "cilf-uploads-link").symlink_to(tmp_path)  # no folder of ours
    other = tmp_path / "other"
    other.mkdir()
    killed.kill()
    killed.wait()
    assert (left / "upload" / "me.jpg").exists()
    next_one, folder = start(tmp_path)
    assert folder.is_dir()
    assert not left.exists()
    assert (in_use / "me.jpg").exists(), "its program lives"
    assert other.exists()
    for process in (living, next_one):
        process.communicate("")
    assert {path.name for path in tmp_path.iterdir()} == {"cilf-uploads-link", "other"}


@pytest.mark.parametrize("jump", [+7200.0, -7200.0])
def test_a_clock_that_is_set_costs_no_upload_and_keeps_none(tmp_path: Path, jump: float) -> None:
    clock, steady = 1_000_000.0, 50.0
    sweeper = upload_folder.Sweeper(tmp_path, 300, lambda: clock, lambda: steady)
    upload = tmp_path / "me.jpg"
    upload.touch()
    os.utime(upload, (clock, clock))
    clock, steady = clock + 10 + jump, steady + 10
    sweeper.sweep()
    assert upload.exists()
    clock, steady = clock + 299, steady + 299
    sweeper.sweep()
    assert upload.exists()
    clock, steady = clock + 2, steady + 2
    sweeper.sweep()
    assert not upload.exists()


@pytest.mark.slow
def test_gradio_has_a_folder_of_ours_alone(tmp_path: Path) -> None:
    """In a process of its own: the folder is chosen when the page's program is imported."""
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    environment.pop("GRADIO_TEMP_DIR", None)
    script = (
        "import app; from gradio.utils import get_upload_folder as folder; from pathlib import Path;"
        "assert Path(folder()).is_dir(); print(folder())"
    )
    command = [sys.executable, "-c", script]
    output = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
    folder = Path(output.stdout.splitlines()[-1])
    assert folder.parent == tmp_path
    assert folder.name != "gradio"
    assert not folder.exists()  # removed at the program's end
