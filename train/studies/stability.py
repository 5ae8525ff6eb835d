"""How much an age changes when the picture hardly does: shifts, compression, scale, mirror, brightness, key points.

Each change leaves the person as old as before, so whatever the age moves by is noise. Measured through
`AgeEstimator.predict`, on photos of the validation part and on the page's two example portraits.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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


def _jpeg(picture: Picture, quality: int) -> Picture:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file).convert("RGB"))


def _scaled(picture: Picture, factor: float) -> Picture:
    kind = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, None, fx=factor, fy=factor, interpolation=kind), dtype=np.uint8)


def _brighter(picture: Picture, factor: float) -> Picture:
    return np.clip(picture * factor, 0, 255).round().astype(np.uint8)


CHANGES: Mapping[str, Sequence[Callable[[Picture], Picture]]] = {
    "shift by 1 px": [
        lambda p: np.roll(p, 1, 0),
        lambda p: np.roll(p, -1, 0),
        lambda p: np.roll(p, 1, 1),
        lambda p: np.roll(p, -1, 1),
    ],
    "JPEG 75 to 95": [lambda p: _jpeg(p, 95), lambda p: _jpeg(p, 85), lambda p: _jpeg(p, 75)],
    "scale 0.96 to 1.04": [lambda p: _scaled(p, 0.96), lambda p: _scaled(p, 1.04)],
    "mirror": [lambda p: np.ascontiguousarray(p[:, ::-1])],
    "brightness 0.7 to 1.3": [lambda p: _brighter(p, 0.7), lambda p: _brighter(p, 1.3)],
}
KEYPOINTS = "key points ± 0.25 px"


class OffsetFinder(FaceFinder):
    """Finds faces and moves each coordinate of their key points by `OFFSET` pixels up or down."""

    def __init__(self) -> None:
        super().__init__()
        self.signs = np.zeros((6, 2))

    def find(self, photo: Pyramid, *, tiles: bool = True) -> list[Face]:
        """See `FaceFinder.find`."""
        faces = super().find(photo, tiles=tiles)
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

    def largest(changed: Picture) -> FacePrediction:
        return estimator.predict(changed, no_face="whole", max_faces=1)[0]

    offset.signs = np.zeros((6, 2))
    first = largest(picture)
    faces = {kind: [largest(change(picture)) for change in changes] for kind, changes in CHANGES.items()}
    random = np.random.default_rng(0)
    faces[KEYPOINTS] = []
    for _ in range(DRAWS):
        offset.signs = random.choice([-1.0, 1.0], (6, 2))
        faces[KEYPOINTS].append(largest(picture))
    answer = first.over(LIMIT)
    turned = tuple(
        kind for kind, each in faces.items() if {answer, *(f.over(LIMIT) for f in each)} >= {"yes", "no"}
    )
    return Stability(first.age, {kind: [face.age for face in each] for kind, each in faces.items()}, turned)


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
