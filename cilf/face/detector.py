"""One look of MediaPipe's face detector at one view, and what it saw."""

import os
import sys
import threading
import weakref
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import numpy as np

from cilf.errors import DetectorError

# The six key points as they follow one another in a mirror image: right and left change places.
_MIRRORED_ORDER = [1, 0, 2, 3, 5, 4]

# Looks that are taken at the same time, where there are cores for them. A look itself keeps one core busy.
MOST_AT_ONCE = 4

_STDERR = threading.Lock()  # held by who redirects the error stream: two at once would put back the wrong one

# Which Debian or Ubuntu package brings a system library that MediaPipe asks for.
_SYSTEM_PACKAGES = {
    "libGL.so": "libgl1",
    "libEGL.so": "libegl1",
    "libGLESv2.so": "libgles2",
    "libgthread": "libglib2.0-0",
    "libglib": "libglib2.0-0",
}


@dataclass(frozen=True, eq=False)
class Detection:
    """A face as one look saw it.

    Attributes:
        box: (4,) x0, y0, x1, y1 in pixels; not clipped.
        keypoints: (6, 2) pixels: right eye, left eye, nose tip, mouth centre, right ear, left ear.
        score: the detector's confidence in (0, 1].
    """

    box: np.ndarray
    keypoints: np.ndarray
    score: float

    @property
    def centre(self) -> np.ndarray:
        return (self.box[:2] + self.box[2:]) / 2

    @property
    def side(self) -> float:
        return float(np.max(self.box[2:] - self.box[:2]))

    @property
    def area(self) -> float:
        return float(np.prod(self.box[2:] - self.box[:2]))

    def union_share(self, other: "Detection") -> float:
        """The area that both boxes cover, as a share of the area that either covers."""
        shared = self._shared_area(other)
        return shared / max(self.area + other.area - shared, 1.0)

    def contained_share(self, other: "Detection") -> float:
        """The area that both boxes cover, as a share of the smaller box."""
        return self._shared_area(other) / max(min(self.area, other.area), 1.0)

    def _shared_area(self, other: "Detection") -> float:
        sides = np.minimum(self.box[2:], other.box[2:]) - np.maximum(self.box[:2], other.box[:2])
        return float(np.prod(np.maximum(sides, 0.0)))

    def mirrored(self, width: int) -> "Detection":
        """The same in a view of this width that is mirrored left to right."""
        x0, y0, x1, y1 = self.box
        keypoints = self.keypoints[_MIRRORED_ORDER] * [-1.0, 1.0] + [width, 0.0]
        return Detection(np.array([width - x1, y0, width - x0, y1]), keypoints, self.score)

    def in_photo(self, left: int, top: int, factor: int) -> "Detection":
        """The same in the photo, for a view at left and top of the photo reduced by `factor`."""
        shift = np.array([left, top])
        box = (self.box + np.tile(shift, 2)) * factor
        return Detection(box, (self.keypoints + shift) * factor, self.score)


class Detector:
    """A few of MediaPipe's detectors, each of which takes one look at a time, for whichever thread asks.

    Args:
        model: content of the detector's `.tflite` file.
        min_confidence: what a look scores below this, in [0, 1], it does not report.

    Raises:
        DetectorError: MediaPipe cannot be loaded, or cannot run this model.
    """

    def __init__(self, model: bytes, min_confidence: float) -> None:
        count = min(MOST_AT_ONCE, os.cpu_count() or 1)
        self._idle: SimpleQueue[Any] = SimpleQueue()
        with _STDERR, _quiet_stderr():
            for _ in range(count):
                self._mediapipe, detector = _start(model, min_confidence)
                self._idle.put(detector)
                self.look(np.zeros((128, 128, 3), np.uint8))  # the first look is slow and talkative
        weakref.finalize(self, _close, self._idle, count)
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="look")

    def look_at_each(self, views: Iterable[np.ndarray]) -> list[list[Detection]]:
        """`look` at each view, several at the same time."""
        return list(self._threads.map(self.look, views))

    def look(self, view: np.ndarray) -> list[Detection]:
        """The faces in a view, HxWx3 uint8 RGB, in pixels of the view; from about a fifth of its longer side on."""
        image = self._mediapipe.Image(
            image_format=self._mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(view)
        )
        detector = self._idle.get()
        try:
            result = detector.detect(image)
        finally:
            self._idle.put(detector)
        height, width = view.shape[:2]
        detections = []
        for found in result.detections:
            box = found.bounding_box
            corners = [box.origin_x, box.origin_y, box.origin_x + box.width, box.origin_y + box.height]
            keypoints = np.array([[point.x * width, point.y * height] for point in found.keypoints])
            detections.append(
                Detection(np.array(corners, dtype=float), keypoints, float(found.categories[0].score))
            )
        return detections


def _start(model: bytes, min_confidence: float) -> tuple[Any, Any]:
    """The mediapipe module and its detector; imported only here, since that takes half a second."""
    try:
        import mediapipe
        from mediapipe.tasks.python.core.base_options import BaseOptions
        from mediapipe.tasks.python.vision import FaceDetector, FaceDetectorOptions

        options = FaceDetectorOptions(
            base_options=BaseOptions(model_asset_buffer=model), min_detection_confidence=min_confidence
        )
        return mediapipe, FaceDetector.create_from_options(options)
    except (ImportError, OSError) as error:
        raise DetectorError(_why_not_loaded(str(error))) from error
    except (RuntimeError, ValueError) as error:
        raise DetectorError(
            f"the face detector's model file ({len(model)} bytes) is not one that MediaPipe can run; "
            "give a copy of blaze_face_short_range.tflite"
        ) from error


def _why_not_loaded(message: str) -> str:
    for library, package in _SYSTEM_PACKAGES.items():
        if library in message:
            return (
                f"MediaPipe needs a system library that is missing ({message}); "
                f"install it, on Debian and Ubuntu with `apt-get install {package}`"
            )
    return f"MediaPipe cannot be loaded ({message}); install it again with `pip install mediapipe`"


def _close(idle: SimpleQueue[Any], count: int) -> None:
    for _ in range(count):
        detector = idle.get()  # once its look has ended
        try:
            detector.close()
        except RuntimeError:
            # At exit mediapipe 1.x finds the thread gone that it closes on, and would say so again in its __del__.
            detector._handle = None


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Hold back what MediaPipe's C++ code writes to the error stream; it heeds no setting for that.

    What other threads write there meanwhile, for some hundred milliseconds, is lost too; exceptions are not.
    """
    sys.stderr.flush()
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
