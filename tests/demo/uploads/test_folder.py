"""The folder of uploads is the page's own, and swept."""

import os
import subprocess
import sys
import time
from pathlib import Path

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
