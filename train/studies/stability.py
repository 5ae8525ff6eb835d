"""How much an age changes when the picture hardly does: shifts, compression, scale, mirror, brightness, key points.

Each change leaves the person as old as before, so whatever the age moves by is noise. Measured through
`AgeEstimator.predict`, on photos of the validation part and on the page's two example portraits: of a photo its largest
face, and after each change the face that lies where that one lay. (Of two faces of one size a pixel decides which is
the larger, and the difference of two people's ages would be counted.)
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image
from tqdm import tqdm

from cilf.demo.photo.examples import available
from cilf.estimator import AgeEstimator
from cilf.face.finder import Face, FaceFinder
from cilf.face.images import open_photo
from cilf.face.pyramid import Pyramid
from cilf.prediction import FacePrediction
from train.data.datasets import Sample

Picture = UInt8[np.ndarray, "height width 3"]
Ages = dict[str, list[float]]  # kind of change → one age a change

LIMIT = 18.0  # years, of the answer that no change may turn from yes to no
OFFSET = 0.25  # pixels by which each key point is moved
DRAWS = 4  # of offsets


def _unmoved(x: float, width: float) -> float:
    return x


@dataclass(frozen=True)
class Change:
    """One change of a picture that makes nobody older.

    Attributes:
        picture: makes the changed picture.
        x: (x, width) of the original picture → where that x lies in the changed one, in pixels; a face is found again
            by it.
        scale: pixels of the changed picture for each of the original.
    """

    picture: Callable[[Picture], Picture]
    x: Callable[[float, float], float] = _unmoved
    scale: float = 1.0


def _jpeg(picture: Picture, quality: int) -> Picture:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


def _scaled(picture: Picture, factor: float) -> Picture:
    kind = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, None, fx=factor, fy=factor, interpolation=kind), dtype=np.uint8)


def _brighter(picture: Picture, factor: float) -> Picture:
    return np.clip(picture * factor, 0, 255).round().astype(np.uint8)


CHANGES: Mapping[str, Sequence[Change]] = {
    "shift by 1 px": [
        Change(lambda p: np.roll(p, 1, 0)),
        Change(lambda p: np.roll(p, -1, 0)),
        Change(lambda p: np.roll(p, 1, 1)),
        Change(lambda p: np.roll(p, -1, 1)),
    ],
    "JPEG 75 to 95": [Change(partial(_jpeg, quality=quality)) for quality in (95, 85, 75)],
    "scale 0.96 to 1.04": [Change(partial(_scaled, factor=factor), scale=factor) for factor in (0.96, 1.04)],
    "mirror": [Change(lambda p: np.ascontiguousarray(p[:, ::-1]), x=lambda x, width: width - x)],
    "brightness 0.7 to 1.3": [Change(partial(_brighter, factor=factor)) for factor in (0.7, 1.3)],
}
KEYPOINTS = "key points ± 0.25 px"


class OffsetFinder(FaceFinder):
    """Finds faces and moves each coordinate of their key points by `OFFSET` pixels up or down."""

    def __init__(self) -> None:
        super().__init__()
        self.signs = np.zeros((6, 2))

    def find(self, photo: np.ndarray | Pyramid, tiles: bool = True) -> list[Face]:
        """See `FaceFinder.find`."""
        faces = super().find(photo, tiles)
        return [
            face if face.keypoints is None else replace(face, keypoints=face.keypoints + OFFSET * self.signs)
            for face in faces
        ]


@dataclass(frozen=True)
class Stability:
    """One picture's ages.

    Attributes:
        age: of the picture as it is, in years.
        changed: kind of change → ages of the changed pictures.
        turned: kinds of change that turn "18 or over?" from yes to no or back.
    """

    age: float
    changed: Ages
    turned: tuple[str, ...]


def stability(estimator: AgeEstimator, offset: OffsetFinder, picture: Picture) -> Stability:
    """Estimate the largest face of a picture as it is and under every change.

    Args:
        estimator: made with `offset` as its finder.
        offset: moves key points only while those are the change.
    """
    offset.signs = np.zeros((6, 2))
    [first] = estimator.predict(picture, no_face="whole", max_faces=1)
    x, y = _middle(first)

    def again(change: Change) -> FacePrediction:
        """The first picture's face in the changed picture."""
        place = np.array([change.x(x, picture.shape[1]), y]) * change.scale
        faces = estimator.predict(change.picture(picture), no_face="whole")
        return min(faces, key=lambda face: float(np.linalg.norm(_middle(face) - place)))

    faces = {kind: [again(change) for change in changes] for kind, changes in CHANGES.items()}
    random = np.random.default_rng(0)
    faces[KEYPOINTS] = []
    for _ in range(DRAWS):
        offset.signs = random.choice(np.array([-1.0, 1.0]), (6, 2))
        faces[KEYPOINTS].append(again(Change(lambda p: p)))
    answer = first.over(LIMIT)
    turned = tuple(
        kind for kind, each in faces.items() if {answer, *(f.over(LIMIT) for f in each)} >= {"yes", "no"}
    )
    return Stability(first.age, {kind: [face.age for face in each] for kind, each in faces.items()}, turned)


def _middle(face: FacePrediction) -> np.ndarray:
    """(2,) x and y of the middle of a face's box in pixels."""
    return np.array(face.box).reshape(2, 2).mean(axis=0)


def measure(estimator: AgeEstimator, offset: OffsetFinder, samples: Sequence[Sample]) -> dict[str, Any]:
    """Changes of the age in years over the photos, and each example portrait's own, as JSON values."""
    rows = [
        stability(estimator, offset, open_photo(sample.path)) for sample in tqdm(samples, desc="stability")
    ]
    portraits = {example.name: stability(estimator, offset, picture) for example, picture in available()}
    return {
        "weights_sha256": estimator.sha256,
        "photos": len(rows),
        "changes": {kind: _spread(rows, kind) for kind in (*CHANGES, KEYPOINTS)},
        "turned": sum(bool(row.turned) for row in rows),
        "portraits": {
            name: {"age": row.age, "turned": list(row.turned), "changes": row.changed}
            for name, row in portraits.items()
        },
    }


def _spread(rows: Sequence[Stability], kind: str) -> dict[str, float]:
    moves = np.array([abs(age - row.age) for row in rows for age in row.changed[kind]])
    return {
        "median": float(np.median(moves)),
        "p95": float(np.quantile(moves, 0.95)),
        "largest": float(moves.max()),
    }


def table(report: Mapping[str, Any]) -> str:
    """Markdown: a row for each kind of change."""
    names = list(report["portraits"])
    head = ["change", "median", "95th percentile", "largest", *names]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for kind, spread in report["changes"].items():
        cells = [f"{spread[name]:.2f}" for name in ("median", "p95", "largest")]
        cells += [_range(report["portraits"][name], kind) for name in names]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _range(portrait: Mapping[str, Any], kind: str) -> str:
    moves = [age - portrait["age"] for age in portrait["changes"][kind]]
    return f"{min(moves):+.1f} to {max(moves):+.1f}"
