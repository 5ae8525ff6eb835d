"""Finding the faces of a photo with MediaPipe, and cutting each one out, turned upright and scaled to one template."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cilf.errors import DetectorError

# Where right eye, left eye, nose tip and mouth centre come to lie in an aligned crop, in fractions of its size.
TEMPLATE = np.array([[0.30, 0.30], [0.70, 0.30], [0.50, 0.525], [0.50, 0.7225]])

# The network looks at 128 px; handing it 256 px keeps its own (not anti-aliased) halving harmless.
VIEW = 256

# Reflected border around the whole photo, as a share of its shorter side: 60 px on UTKFace's 200 px raised the found
# faces from 98.3 % to 99.7 %.
PADDING = 0.3

# Side of the square looked at for the final key points, in face boxes. Measured on 142 faces, the key points wander
# least (2.6 % of the eye distance when the square is shifted a little) and no face is lost at 1.5.
CLOSE_UP = 1.5

# Two boxes are one face when they share this much of their union, or this much of the smaller box.
SAME_UNION = 0.3
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


class FaceFinder:
    """MediaPipe's short-range face detector, made to see faces of every size.

    The detector may be shared between threads; looks are taken one at a time. The same photo always gives the same faces.

    Args:
        model_path: the detector's `.tflite` file; None looks for it.
        min_confidence: detections scored below this, in [0, 1], are dropped.

    Raises:
        DetectorError: MediaPipe cannot be loaded, or its model file is missing or damaged.
    """

    def __init__(self, model_path: str | Path | None = None, min_confidence: float = 0.5) -> None:
        self._lock = threading.Lock()
        self._mediapipe, self._detector = _load_detector(_model_file(model_path), min_confidence)

    def find(self, photo: np.ndarray, tiles: bool = True) -> list[Face]:
        """Find the faces of one photo.

        Args:
            photo: HxWx3 uint8 RGB, upright.
            tiles: also look for small faces in overlapping tiles; without it only faces of at least about a tenth of the
                photo are found, in a few milliseconds.

        Returns:
            The faces, left to right by the centre of the box.
        """
        candidates = self._whole_photo(photo)
        close_ups = (self._close_up(photo, candidate) for candidate in _distinct(candidates))
        height, width = photo.shape[:2]
        faces = []
        for found in _distinct([found for found in close_ups if found is not None]):
            x, y = _centre(found.box)
            if 0 <= x < width and 0 <= y < height:  # else a mirror image in the reflected border
                x0, y0, x1, y1 = np.clip(found.box, 0, [width, height, width, height]).tolist()
                faces.append(Face((x0, y0, x1, y1), found.score, found.keypoints))
        return sorted(faces, key=lambda face: (face.box[0] + face.box[2], face.box[1] + face.box[3]))

    def _whole_photo(self, photo: np.ndarray) -> list[_Detection]:
        height, width = photo.shape[:2]
        small = _shrink(photo, VIEW / max(height, width))
        scale = width / small.shape[1], height / small.shape[0]
        border = round(PADDING * min(small.shape[:2]))
        padded = np.pad(small, ((border, border), (border, border), (0, 0)), mode="reflect")
        return self._look(small, (0, 0), scale) + self._look(padded, (-border, -border), scale)

    def _close_up(self, photo: np.ndarray, candidate: _Detection) -> _Detection | None:
        """Look at one candidate again, centred and well sized: its key points become exact, a chance hit vanishes."""
        side = max(16, round(CLOSE_UP * float(np.max(candidate.box[2:] - candidate.box[:2]))))
        left, top = np.round(_centre(candidate.box) - side / 2).astype(int)
        view = _shrink(_cut(photo, left, top, left + side, top + side), VIEW / side)
        scale = side / view.shape[1]
        found = self._look(view, (left / scale, top / scale), (scale, scale))
        found = [other for other in found if _overlap(other.box, candidate.box)[0] > SAME_UNION]
        return max(found, key=lambda other: _overlap(other.box, candidate.box)[0], default=None)

    def _look(
        self, view: np.ndarray, origin: tuple[float, float], scale: tuple[float, float]
    ) -> list[_Detection]:
        """Run the detector once; `origin` of the view in view pixels, `scale` in photo pixels per view pixel (x, y)."""
        image = self._mediapipe.Image(
            image_format=self._mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(view)
        )
        with self._lock:
            result = self._detector.detect(image)
        size = np.array(view.shape[1::-1], dtype=float)
        shift, stretch = np.array(origin, dtype=float), np.array(scale, dtype=float)
        detections = []
        for found in result.detections:
            corner = np.array([found.bounding_box.origin_x, found.bounding_box.origin_y], dtype=float)
            extent = np.array([found.bounding_box.width, found.bounding_box.height], dtype=float)
            points = np.array([[point.x, point.y] for point in found.keypoints]) * size
            box = np.concatenate([(corner + shift) * stretch, (corner + extent + shift) * stretch])
            detections.append(_Detection(box, (points + shift) * stretch, float(found.categories[0].score)))
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
    left, top = np.floor(reach.min(axis=0)).astype(int) - 3  # 3: support of the bicubic filter
    right, bottom = np.ceil(reach.max(axis=0)).astype(int) + 3
    region = _cut(photo, left * reduction, top * reduction, right * reduction, bottom * reduction)
    image = Image.fromarray(region)
    if reduction > 1:
        image = image.reduce(reduction)
    x, y = a * -margin - b * -margin + x - left, b * -margin + a * -margin + y - top
    matrix = (a / fine, -b / fine, x, b / fine, a / fine, y)
    side = (size + 2 * margin) * fine
    crop = image.transform((side, side), Image.Transform.AFFINE, matrix, resample=Image.Resampling.BICUBIC)
    return np.array(crop.reduce(fine) if fine > 1 else crop)


def _cut(photo: np.ndarray, left: int, top: int, right: int, bottom: int) -> np.ndarray:
    """The rectangle of the photo, reflected where it lies outside; C-contiguous."""
    height, width = photo.shape[:2]
    rows, columns = _reflected(top, bottom, height), _reflected(left, right, width)
    return np.ascontiguousarray(photo[rows][:, columns])


def _reflected(start: int, stop: int, length: int) -> slice | np.ndarray:
    if start >= 0 and stop <= length:
        return slice(start, stop)
    if length == 1:
        return np.zeros(stop - start, dtype=int)
    index = np.arange(start, stop) % (2 * length - 2)
    return np.minimum(index, 2 * length - 2 - index)


def _shrink(photo: np.ndarray, scale: float) -> np.ndarray:
    """Resize by a factor below 1, anti-aliased; a picture that need not shrink is handed back as it is."""
    if scale >= 1:
        return photo
    width, height = (max(1, round(side * scale)) for side in photo.shape[1::-1])
    image = Image.fromarray(photo)
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0))


def _centre(box: np.ndarray) -> np.ndarray:
    return (box[:2] + box[2:]) / 2


def _overlap(box: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """The shared area as a share of the union and as a share of the smaller box."""
    shared = float(np.prod(np.maximum(0.0, np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2]))))
    area, other_area = float(np.prod(box[2:] - box[:2])), float(np.prod(other[2:] - other[:2]))
    return shared / max(area + other_area - shared, 1e-9), shared / max(min(area, other_area), 1e-9)


def _distinct(detections: list[_Detection]) -> list[_Detection]:
    """Keep, from the best score down, each detection that is not a face already kept."""
    kept: list[_Detection] = []
    for detection in sorted(detections, key=lambda found: -found.score):
        overlaps = [_overlap(detection.box, other.box) for other in kept]
        if all(union < SAME_UNION and part < SAME_CONTAINED for union, part in overlaps):
            kept.append(detection)
    return kept


def _model_file(model_path: str | Path | None) -> Path:
    if model_path is not None:
        return Path(model_path)
    import mediapipe

    return Path(mediapipe.__file__).parent / "modules/face_detection/face_detection_short_range.tflite"


def _load_detector(model_file: Path, min_confidence: float) -> tuple[Any, Any]:
    """Give the mediapipe module and a detector made from the model file."""
    try:
        import mediapipe
        from mediapipe.tasks.python.core.base_options import BaseOptions
        from mediapipe.tasks.python.vision import FaceDetector, FaceDetectorOptions
    except (ImportError, OSError) as error:
        raise DetectorError(f"MediaPipe cannot be loaded ({error}); install it with `pip install mediapipe`") from error
    options = FaceDetectorOptions(
        base_options=BaseOptions(model_asset_buffer=model_file.read_bytes()),
        min_detection_confidence=min_confidence,
    )
    with _quiet_stderr():
        return mediapipe, FaceDetector.create_from_options(options)


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
