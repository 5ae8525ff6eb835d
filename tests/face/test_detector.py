"""A detector that cannot start says why in one sentence."""

import subprocess
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest

from cilf.errors import DetectorError
from cilf.face.finder import FaceFinder
from cilf.face.opencv import opencv


class Broken(MetaPathFinder):
    """Makes the import of OpenCV fail as the system's loader does."""

    def __init__(self, message: str) -> None:
        self.message = message

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == "cv2":
            raise ImportError(self.message)
        return None


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        ("libGL.so.1: cannot open shared object file: No such file or directory", "apt-get install libgl1`"),
        ("libgthread-2.0.so.0: cannot open shared object file: No such file or directory", "libglib2.0-0`"),
        ("No module named 'cv2'", "pip install opencv-contrib-python"),
    ],
)
def test_a_missing_library_is_named_with_its_package(
    monkeypatch: pytest.MonkeyPatch, message: str, advice: str
) -> None:
    opencv.cache_clear()
    monkeypatch.delitem(sys.modules, "cv2", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(message), *sys.meta_path])
    with pytest.raises(DetectorError) as raised:
        FaceFinder()
    assert message in str(raised.value)
    assert advice in str(raised.value)


SCRIPT = """
import sys
import numpy as np
import cilf.face.finder, cilf.face.images
assert "cv2" not in sys.modules, "OpenCV is loaded only when a detector is made"
finder = cilf.face.finder.FaceFinder()
assert finder.find(np.zeros((300, 400, 3), np.uint8)) == []
assert "mediapipe" not in sys.modules, "its model is computed without it"
"""


def test_it_starts_late_and_keeps_quiet() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
