"""Finding the faces of a photo with MediaPipe, and cutting each one out, turned upright and scaled to one template."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cilf.errors import DetectorError
from cilf.face_model import face_model

# Where right eye, left eye, nose tip and mouth centre come to lie in an aligned crop, in fractions of its size.
TEMPLATE = np.array([[0.30, 0.30], [0.70, 0.30], [0.50, 0.525], [0.50, 0.7225]])

# The network scales what it is handed to 128 px without anti-aliasing; views of 256 to 511 px gave the same key points
# as views scaled to 128 px with it.
VIEW = 256

# Reflected border around the whole photo, as a share of its shorter side: 60 px on UTKFace's 200 px raised the found
# faces from 98.3 % to 99.7 %.
PADDING = 0.3

# Side of the square looked at for the final key points, in face boxes. Measured on 142 faces, no face is lost at 1.5
# and the key points wander least when the square is shifted a little: by 2.7 % of the eye distance in one look, by 1.9 %
# in the mean of a look and a mirrored one.
CLOSE_UP = 1.5

# What a face that only a tile shows must score over three looks. Measured: of 619 chance hits on pictures without faces
# the best scored 0.70; of 299 faces 22 to 70 px wide one scored less.
TILE_CONFIDENCE = 0.7

# The six key points as they follow one another in a mirror image.
MIRRORED_ORDER = [1, 0, 2, 3, 5, 4]

# The smallest face that is looked for: in pixels, and as a share of the tile that shows it.
SMALLEST_FACE = 20
SMALLEST_SHARE = 0.2

# Two looks show the same when they share this much of their union: then one close-up serves both.
SAME_LOOK = 0.5

# Two close-ups are one face when they share this much of their union, or this much of the smaller box. Cheek to cheek,
# two heads of one size share a seventh of their union at most.
SAME_FACE = 0.3
SAME_CONTAINED = 0.6


@dataclass(frozen=True, eq=False)
class Face:
    """One face in a photo.

    Attributes:
        box: x0, y0, x1, y1 in pixels of the upright photo, clipped to it.
        score: the detector's confidence in (0, 1]; None when the whole picture was taken as the face.
        keypoints: (6, 2) float pixels x, y: right eye, left eye, nose tip, mouth centre, right ear, left ear (the person's
            own right and left); None when the whole picture was taken as the face.
    """

    box: tuple[float, float, float, float]
    score: float | None
    keypoints: np.ndarray | None


def whole_picture(photo: np.ndarray) -> Face:
    """Take the whole picture as the face: for cut-out faces in which the detector sees none."""
    height, width = photo.shape[:2]
    return Face((0.0, 0.0, float(width), float(height)), None, None)


@dataclass(frozen=True, eq=False)
class _Detection:
    """What one look of the detector gave, in pixels of the photo: box (4,), keypoints (6, 2)."""

    box: np.ndarray
    keypoints: np.ndarray
    score: float

    @property
    def centre(self) -> np.ndarray:
        return (self.box[:2] + self.box[2:]) / 2

    @property
    def area(self) -> float:
        return float(np.prod(self.box[2:] - self.box[:2]))

    def shared_area(self, other: "_Detection") -> float:
        sides = np.minimum(self.box[2:], other.box[2:]) - np.maximum(self.box[:2], other.box[:2])
        return float(np.prod(np.maximum(sides, 0.0)))

    def union_share(self, other: "_Detection") -> float:
        shared = self.shared_area(other)
        return shared / max(self.area + other.area - shared, 1.0)

    def contained_share(self, other: "_Detection") -> float:
        return self.shared_area(other) / max(min(self.area, other.area), 1.0)

    def is_same_face(self, other: "_Detection") -> bool:
        """Whether the boxes agree, or one lies mostly within the other, as a chance hit on half a face does."""
        return self.union_share(other) > SAME_FACE or self.contained_share(other) > SAME_CONTAINED

    def mirrored(self, twice_axis: float) -> "_Detection":
        """The same seen in a mirror upright at x = twice_axis / 2: the person's right becomes the left."""
        x0, y0, x1, y1 = self.box
        box = np.array([twice_axis - x1, y0, twice_axis - x0, y1])
        return _Detection(box, self.keypoints[MIRRORED_ORDER] * [-1, 1] + [twice_axis, 0], self.score)


class FaceFinder:
    """MediaPipe's short-range face detector, made to see faces of every size.

    Safe to share between threads: looks are taken one at a time. The same photo always gives the same faces.

    Args:
        model_path: the detector's `.tflite` file; None looks for it (see `cilf.face_model`).
        min_confidence: detections scored below this, in [0, 1], are dropped.

    Raises:
        DetectorError: MediaPipe cannot be loaded, or its model file is missing or damaged.
    """

    def __init__(self, model_path: str | Path | None = None, min_confidence: float = 0.5) -> None:
        self._lock = threading.Lock()
        self._min_confidence = min_confidence
        self._mediapipe, self._detector = _start_detector(face_model(model_path), min_confidence)

    def find(self, photo: np.ndarray, tiles: bool = True) -> list[Face]:
        """Find the faces of one photo.

        Every face is looked at a second time, centred and well sized, so that its key points do not depend on where in
        the photo it was found.

        A look costs about a millisecond. Without tiles there are two, and one for each face: what a live picture can
        afford; faces down to a fifth of the photo's longer side are found. With tiles a photo of 200x200 pixels takes
        some 15 looks, one of 640x480 some 60, and one of 1600x1200 or more some 180, whatever its size; faces down to
        a fortieth of the longer side, and 20 pixels, are found.

        Args:
            photo: HxWx3 uint8 RGB, upright.
            tiles: also look for small faces in overlapping tiles.

        Returns:
            The faces, left to right by the centre of the box.
        """
        height, width = photo.shape[:2]
        found = self._confirm(photo, self._look_at_whole(photo), self._min_confidence)
        if tiles:
            sides = _tile_sides(height, width)
            small = [candidate for side in sides for candidate in self._look_at_tiles(photo, side)]
            new = [one for one in small if not any(one.union_share(known) > SAME_LOOK for known in found)]
            found += self._confirm(photo, new, max(self._min_confidence, TILE_CONFIDENCE))
        faces = []
        for face in _distinct(found, lambda one, kept: one.is_same_face(kept)):
            x, y = face.centre
            if 0 <= x < width and 0 <= y < height:  # else a mirror image in the reflected border
                x0, y0, x1, y1 = np.clip(face.box, 0, [width, height, width, height]).tolist()
                faces.append(Face((x0, y0, x1, y1), face.score, face.keypoints))
        return sorted(faces, key=lambda face: (face.box[0] + face.box[2], face.box[1] + face.box[3]))

    def _look_at_whole(self, photo: np.ndarray) -> list[_Detection]:
        """Look at the whole photo as it is, and again with a reflected border, which shows tight crops."""
        reduction = max(1, max(photo.shape[:2]) // VIEW)
        small = _reduced(photo, reduction)
        border = round(PADDING * min(small.shape[:2]))
        padded = np.pad(small, ((border, border), (border, border), (0, 0)), mode="reflect")
        return self._look(small, 0, 0, reduction) + self._look(padded, -border, -border, reduction)

    def _look_at_tiles(self, photo: np.ndarray, side: int) -> list[_Detection]:
        """Look at overlapping tiles of `side` photo pixels."""
        reduction = max(1, side // VIEW)
        small = _reduced(photo, reduction)
        tile = side // reduction
        height, width = small.shape[:2]
        return [
            found
            for top in _tile_starts(height, tile)
            for left in _tile_starts(width, tile)
            for found in self._look(small[top : top + tile, left : left + tile], left, top, reduction)
        ]

    def _confirm(
        self, photo: np.ndarray, candidates: list[_Detection], confidence: float
    ) -> list[_Detection]:
        """Look closely at each candidate, once where several looks agree, and keep those that score high enough."""
        looked_at = _distinct(candidates, lambda one, kept: one.union_share(kept) > SAME_LOOK)
        close_ups = (self._look_closely(photo, candidate) for candidate in looked_at)
        return [found for found in close_ups if found is not None and found.score >= confidence]

    def _look_closely(self, photo: np.ndarray, candidate: _Detection) -> _Detection | None:
        """Look at a candidate again, centred and well sized, as it is and mirrored.

        Box and key points are the means of the two; the score is the mean of all three looks, where one that sees no
        face here counts as 0: it tells faces from chance hits better than any single look.
        """
        side = CLOSE_UP * float(np.max(candidate.box[2:] - candidate.box[:2]))
        reduction = max(1, int(side) // VIEW)
        left, top = (int(v) for v in np.round((candidate.centre - side / 2) / reduction))
        extent = round(side / reduction)
        region = _cut(photo, *(v * reduction for v in (left, top, extent, extent)))
        view = _reduced(region, reduction)
        upright = self._look(view, left, top, reduction)
        mirrored = [
            one.mirrored((2 * left + extent) * reduction)
            for one in self._look(view[:, ::-1], left, top, reduction)
        ]
        seen = []
        for look in (upright, mirrored):
            nearest = max(look, key=lambda one: one.union_share(candidate), default=None)
            if nearest is not None and nearest.union_share(candidate) > SAME_FACE:
                seen.append(nearest)
        if not seen:
            return None
        return _Detection(
            np.mean([one.box for one in seen], axis=0),
            np.mean([one.keypoints for one in seen], axis=0),
            (candidate.score + sum(one.score for one in seen)) / 3,
        )

    def _look(self, view: np.ndarray, left: int, top: int, reduction: int) -> list[_Detection]:
        """Run the detector once on a part of the photo, reduced; left and top in pixels of the reduced photo."""
        image_format = self._mediapipe.ImageFormat.SRGB
        image = self._mediapipe.Image(image_format=image_format, data=np.ascontiguousarray(view))
        with self._lock:
            result = self._detector.detect(image)
        height, width = view.shape[:2]
        detections = []
        for found in result.detections:
            box = found.bounding_box
            corners = np.array([[0, 0], [box.width, box.height]]) + np.array([box.origin_x, box.origin_y])
            points = np.array([[point.x * width, point.y * height] for point in found.keypoints])
            to_photo = (np.concatenate([corners, points]) + np.array([left, top])) * reduction
            detections.append(
                _Detection(to_photo[:2].ravel(), to_photo[2:], float(found.categories[0].score))
            )
        return detections


def align(photo: np.ndarray, face: Face, size: int = 112, margin: int = 0) -> np.ndarray:
    """Cut a face out, turned and scaled so that eyes, nose and mouth come to lie on the template.

    The similarity is the least-squares one through the four points. What lies outside the photo is reflected into it; a
    face larger than the crop is averaged down, not sampled. A whole-picture face is the smallest square that holds the
    picture, centred, with the reflected picture in the strips outside.

    Args:
        photo: HxWx3 uint8 RGB, upright.
        face: a face of this photo.
        size: side of the crop in pixels.
        margin: further pixels on each side, at the same scale; `align(p, f, s, m)[m:-m, m:-m]` equals `align(p, f, s)`.

    Returns:
        (size + 2 margin) x (size + 2 margin) x 3 uint8 RGB.
    """
    height, width = photo.shape[:2]
    if face.keypoints is None:
        side = max(height, width) / size
        a, b, offset = side, 0.0, np.array([width, height]) / 2 - side * size / 2
    else:
        a, b, offset = _similarity(TEMPLATE * size, np.asarray(face.keypoints, dtype=float)[:4])
    return _resample(photo, a, b, offset, size, margin)


def _similarity(source: np.ndarray, target: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Least-squares similarity from source to target points, each (n, 2): p -> [[a, -b], [b, a]] p + offset.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns" (1991), in the plane,
    where rotation and scale together are one complex number and reflections are left out by construction.
    """
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    p, q = source - source_mean, target - target_mean
    power = float((p**2).sum())
    a = float((p * q).sum()) / power
    b = float((p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]).sum()) / power
    turned = np.array([a * source_mean[0] - b * source_mean[1], b * source_mean[0] + a * source_mean[1]])
    return a, b, target_mean - turned


def _resample(
    photo: np.ndarray, a: float, b: float, offset: np.ndarray, size: int, margin: int
) -> np.ndarray:
    """Sample the square crop whose point p lies at [[a, -b], [b, a]] p + offset in the photo."""
    scale = float(np.hypot(a, b))
    reduction = max(1, int(scale))  # photo pixels averaged beforehand, in blocks of reduction x reduction
    fine = 2 if scale > 1 else 1  # then fine x fine samples are averaged to one pixel
    # With coefficients in multiples of 2^-20 every coordinate below is exact in double precision, so that a crop with
    # margin agrees with the crop without to the last bit.
    a, b, x, y = (round(v * 2**20) / 2**20 for v in (a / reduction, b / reduction, *(offset / reduction)))
    corners = np.array([[i, j] for i in (-margin, size + margin) for j in (-margin, size + margin)])
    reach = np.stack(
        [a * corners[:, 0] - b * corners[:, 1] + x, b * corners[:, 0] + a * corners[:, 1] + y], axis=1
    )
    left, top = (int(v) - 3 for v in np.floor(reach.min(axis=0)))  # 3: reach of the bicubic filter
    right, bottom = (int(v) + 3 for v in np.ceil(reach.max(axis=0)))
    region = _cut(photo, *(v * reduction for v in (left, top, right - left, bottom - top)))
    image = Image.fromarray(_reduced(region, reduction))
    x, y = a * -margin - b * -margin + x - left, b * -margin + a * -margin + y - top
    matrix = (a / fine, -b / fine, x, b / fine, a / fine, y)
    side = (size + 2 * margin) * fine
    crop = image.transform((side, side), Image.Transform.AFFINE, matrix, resample=Image.Resampling.BICUBIC)
    return np.array(crop.reduce(fine) if fine > 1 else crop)


def _cut(photo: np.ndarray, left: int, top: int, width: int, height: int) -> np.ndarray:
    """A rectangle of the photo, reflected where it lies outside."""
    rows, columns = _reflected(top, height, photo.shape[0]), _reflected(left, width, photo.shape[1])
    return np.ascontiguousarray(photo[rows][:, columns])


def _reflected(start: int, count: int, length: int) -> slice | np.ndarray:
    """Index `count` places from `start` on, reflected at both ends of an axis of `length`."""
    if start >= 0 and start + count <= length:
        return slice(start, start + count)
    period = max(1, 2 * length - 2)
    index = np.arange(start, start + count) % period
    return np.minimum(index, period - index)


def _reduced(photo: np.ndarray, reduction: int) -> np.ndarray:
    """Average blocks of reduction x reduction pixels; block (0, 0) starts at the first pixel."""
    return np.asarray(Image.fromarray(photo).reduce(reduction)) if reduction > 1 else photo


def _tile_sides(height: int, width: int) -> list[int]:
    """A half, a quarter and an eighth of the longer side, as far as the faces sought in them are large enough.

    The detector finds 96 % of the faces of a fifth of its view and 99 % from a quarter on (measured on 142 faces on a
    plain background), so each halving takes over where the last one ends.
    """
    sides = [max(height, width) // parts for parts in (2, 4, 8)]
    return [side for side in sides if side >= SMALLEST_FACE / SMALLEST_SHARE]


def _tile_starts(length: int, tile: int) -> list[int]:
    """Where tiles start that cover an axis evenly and overlap by at least the largest face sought in them."""
    if length <= tile:
        return [0]
    steps = ceil((length - tile) / (tile * (1 - 2 * SMALLEST_SHARE)))
    return [round((length - tile) * step / steps) for step in range(steps + 1)]


def _distinct(
    detections: list[_Detection], is_same: Callable[[_Detection, _Detection], bool]
) -> list[_Detection]:
    """Keep, from the best score down, each detection that is not the same as one already kept."""
    kept: list[_Detection] = []
    for detection in sorted(detections, key=lambda found: -found.score):
        if not any(is_same(detection, other) for other in kept):
            kept.append(detection)
    return kept


def _start_detector(model: bytes, min_confidence: float) -> tuple[Any, Any]:
    """Give the mediapipe module and a detector made from the model."""
    with _quiet_stderr():
        try:
            import mediapipe
            from mediapipe.tasks.python.core.base_options import BaseOptions
            from mediapipe.tasks.python.vision import FaceDetector, FaceDetectorOptions
        except (ImportError, OSError) as error:
            raise DetectorError(_why_not_loaded(str(error))) from error
        try:
            options = FaceDetectorOptions(
                base_options=BaseOptions(model_asset_buffer=model), min_detection_confidence=min_confidence
            )
            return mediapipe, FaceDetector.create_from_options(options)
        except (ImportError, OSError) as error:
            raise DetectorError(_why_not_loaded(str(error))) from error
        except (RuntimeError, ValueError) as error:
            raise DetectorError(
                f"the face detector's model ({len(model)} bytes) is not one that MediaPipe can run; "
                "give a copy of blaze_face_short_range.tflite"
            ) from error


# The system library that a message of the loader names, and the Debian and Ubuntu package that brings it.
_SYSTEM_PACKAGES = {
    "libGL.so": "libgl1",
    "libEGL.so": "libegl1",
    "libGLESv2.so": "libgles2",
    "libgthread": "libglib2.0-0",
    "libglib": "libglib2.0-0",
}


def _why_not_loaded(message: str) -> str:
    for library, package in _SYSTEM_PACKAGES.items():
        if library in message:
            return (
                f"MediaPipe needs the system library {library}: install it with `apt-get install {package}`"
            )
    return f"MediaPipe cannot be loaded ({message}); install it with `pip install mediapipe`"


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Hold back what MediaPipe's C++ code writes to the error stream while it starts; Python's errors still pass."""
    sys.stderr.flush()
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
