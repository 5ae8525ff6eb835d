"""MediaPipe's own file of BlazeFace short range, where its installed wheel has one."""

from importlib.util import find_spec
from pathlib import Path

import pytest


def mediapipe_file() -> Path:
    """`face_detection_short_range.tflite`; skips the test where the wheel lacks it, as from 0.10.30 on."""
    spec = find_spec("mediapipe")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        file = Path(folder, "modules", "face_detection", "face_detection_short_range.tflite")
        if file.is_file():
            return file
    pytest.skip("needs a mediapipe below 0.10.30, whose wheels carry the detector's file")
