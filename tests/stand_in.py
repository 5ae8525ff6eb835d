"""An estimator without a model, for tests of what stands round the real one."""

from pathlib import Path

import numpy as np
from PIL import Image

from cilf.face.images import open_photo
from cilf.prediction import FacePrediction, TraceStep


def picture(path: Path, faces: int = 0) -> Path:
    """A plain picture in which `CountingEstimator` sees so many faces."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 48), (faces, 0, 0)).save(path)
    return path


def face(left: float, score: float | None = 0.9) -> FacePrediction:
    return FacePrediction(
        box=(left, 2.0, left + 10.0, 12.0),
        detection_score=score,
        age=30.5,
        interval=(21.25, 39.0),
        initial_age=31.0,
        trace=(TraceStep(0, 31.0, 4.0, True), TraceStep(1, 30.5, 2.0, True), TraceStep(2, 30.0, 2.5, False)),
        status="corrected",
        distribution=np.full(101, 1 / 101),
        similarities={},
        heatmap=np.zeros((7, 7), np.float32),
        crop=np.zeros((112, 112, 3), np.uint8),
        embedding=np.zeros(8, np.float32),
    )


class CountingEstimator:
    """Sees as many faces as the first pixel's red says; opens photos as the real one does."""

    def __init__(self) -> None:
        self.opened: list[str] = []

    def predict(self, photo: Path, prompts: None = None, *, no_face: str = "skip") -> list[FacePrediction]:
        self.opened.append(photo.name)
        pixels = open_photo(photo)
        faces = [face(left=12.0 * number) for number in range(int(pixels[0, 0, 0]))]
        return faces or ([face(0.0, score=None)] if no_face == "whole" else [])
