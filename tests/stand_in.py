"""An estimator without a model, for tests of what stands round the real one."""

import io
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from cilf.face.crops import CropConfig, FaceCrops, crop_faces
from cilf.face.finder import FaceFinder
from cilf.face.images import open_photo, open_pyramid
from cilf.face.pyramid import Pyramid
from cilf.face.views import View
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


def png(faces: int = 0) -> bytes:
    """A plain picture in which the stand-in sees so many faces."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), (faces, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def packed(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> io.BytesIO:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, content in members.items():
            file.writestr(zipfile.ZipInfo(name), content, method)  # without the time of day
    return buffer


class InHalves:
    """Makes the two halves of a prediction, which photo sets ask for, of a stand-in's `predict`."""

    def crop_config(self, no_face: str = "skip") -> Any:
        return no_face

    def crop(self, photo: Any, config: Any) -> Any:
        return self.predict(photo, no_face=config)  # type: ignore[attr-defined]

    def predict_crops(self, photos: Sequence[Any], prompts: None = None) -> list[list[FacePrediction]]:
        return list(photos)


class CountingEstimator(InHalves):
    """Sees as many faces as the first pixel's red says; opens photos as the real one does."""

    def __init__(self) -> None:
        self.opened: list[str] = []

    def predict(self, photo: Path, prompts: None = None, *, no_face: str = "skip") -> list[FacePrediction]:
        self.opened.append(photo.name)
        pixels = open_photo(photo)
        faces = [face(left=12.0 * number) for number in range(int(pixels[0, 0, 0]))]
        return faces or ([face(0.0, score=None)] if no_face == "whole" else [])


EPSILON = 4.5


def make_face(
    age: float = 40.0, box: tuple[float, float, float, float] = (100.0, 80.0, 200.0, 180.0)
) -> FacePrediction:
    distribution = np.zeros(101)
    distribution[round(age)] = 1.0
    return FacePrediction(
        box=box,
        detection_score=0.9,
        age=age,
        interval=(age - 8.0, age + 9.0),
        initial_age=age,
        trace=(TraceStep(0, age, 3.0, True),),
        status="accepted",
        distribution=distribution,
        similarities={},
        heatmap=np.eye(4, dtype=np.float32),
        crop=np.full((112, 112, 3), 128, np.uint8),
        embedding=np.ones(4, np.float32),
    )


class FakeEstimator(InHalves):
    """Finds `faces` in every photo, or none in a plain one; the cosine of a prompt grows with its length."""

    epsilon = EPSILON
    kind = "cilf"
    compares_texts = True
    source = "a stand-in"
    scored_by = "a stand-in's tower"
    by_published_clip = False
    sha256 = "0123456789abcdef"
    report = None
    card = ""

    def __init__(self, faces: Sequence[FacePrediction] = ()) -> None:
        self.faces = list(faces)
        self.photos: list[np.ndarray] = []

    def predict(
        self,
        photo: np.ndarray | Pyramid,
        prompts: None = None,
        *,
        no_face: Literal["skip", "whole"] = "skip",
        tiles: bool = True,
        max_faces: int | None = None,
        max_views: int | None = None,
    ) -> list[FacePrediction]:
        pixels = open_pyramid(photo).pixels
        self.photos.append(pixels)
        if np.ptp(pixels, axis=(0, 1)).any():
            return self.faces
        return [make_face()] if no_face == "whole" else []

    def comparer(self, prompts: Sequence[str]) -> Callable[[FacePrediction], dict[str, float]]:
        return lambda face: {prompt: min(1.0, len(prompt) / 100) for prompt in prompts}

    def softmax(self, similarities: dict[str, float]) -> dict[str, float]:
        return {prompt: 1 / len(similarities) for prompt in similarities}

    def unknown_words(self, prompts: Sequence[str]) -> dict[str, list[str]]:
        return {prompt: ["zebra"] for prompt in prompts if "zebra" in prompt}

    def nearest_words(self, prompts: Sequence[str]) -> dict[str, dict[str, list[str]]]:
        return {prompt: {"zebra": ["bearded"]} for prompt in prompts if "zebra" in prompt}


class Documented(FakeEstimator):
    def __init__(self, source: str, report: dict[str, Any] | None = None, card: str = "") -> None:
        super().__init__([make_face()])
        self.source, self.report, self.card = source, report, card  # type: ignore[misc]


class StandIn(FakeEstimator):
    """Sees as many faces as the first pixel's red says, in photos as the page hands them over."""

    def predict(self, photo: np.ndarray | Pyramid, prompts: None = None, **_: Any) -> list[FacePrediction]:
        return [face(left=12.0 * number) for number in range(int(open_pyramid(photo).pixels[0, 0, 0]))]


class Cropping:
    """Finds and crops faces as the real estimator does; a face's age is a third of its crop's mean pixel."""

    def __init__(self, finder: FaceFinder | None = None) -> None:
        self.finder = finder or FaceFinder()

    def crop_config(self, no_face: Any = "skip") -> CropConfig:
        return CropConfig(32, (View("mirrored", flip=True), View("wider", zoom=1.25)), no_face)

    def crop(self, photo: Any, config: CropConfig) -> FaceCrops:
        return crop_faces(photo, self.finder, config)

    def predict_crops(
        self, photos: Sequence[FaceCrops], prompts: Sequence[str] | None = None
    ) -> list[list[FacePrediction]]:
        return [[make_face(float(crop.mean()) / 3) for crop in photo.first] for photo in photos]

    def predict(
        self, photo: Any, prompts: Sequence[str] | None = None, *, no_face: Any = "skip"
    ) -> list[FacePrediction]:
        return self.predict_crops([self.crop(photo, self.crop_config(no_face))])[0]
