"""MediaPipe's own files of its networks, where its installed wheel has them."""

from importlib.util import find_spec
from pathlib import Path

import pytest

DETECTOR = "face_detection/face_detection_short_range.tflite"
FACE_MESH = "face_landmark/face_landmark.tflite"


def mediapipe_file(name: str = DETECTOR) -> Path:
    """The file; skips the test where the wheel lacks it, as from 0.10.30 on."""
    spec = find_spec("mediapipe")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        file = Path(folder, "modules", name)
        if file.is_file():
            return file
    pytest.skip("needs a mediapipe below 0.10.30, whose wheels carry its networks' files")
