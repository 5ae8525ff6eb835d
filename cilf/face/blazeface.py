"""MediaPipe's face detection model, BlazeFace short range, computed by ONNX Runtime for views of any size.

Bazarevsky et al., "BlazeFace: sub-millisecond neural face detection on mobile GPUs" (2019), arXiv:1907.05047. The
graph `blazeface.onnx` holds MediaPipe's own weights, by Google under Apache-2.0, from its file
`face_detection_short_range.tflite`; `python -m train blazeface` writes it. MediaPipe itself is not imported: that takes
seconds, and starts a compiler in search of PortAudio.
"""

from math import log
from pathlib import Path

import numpy as np
import onnxruntime

from cilf.errors import DetectorError
from cilf.face.detections import Detections
from cilf.face.idle_threads import IdleThreads

GRAPH = Path(__file__).with_name("blazeface.onnx")
VIEWS = "views"  # the graph's input: (n, height, width, 3) uint8 RGB
OUTPUTS = ("scores_8", "boxes_8", "scores_16", "boxes_16")

SIDE = 128  # pixels of the square views that the model was trained on
STRIDE = 16  # sides of views are multiples of it

# For each output pair: pixels from cell to cell, and anchors in each cell. All anchors of a cell are its centre
# (mediapipe/modules/face_detection/face_detection_short_range.pbtxt: fixed_anchor_size).
_GRIDS = ((8, 2), (16, 6))
_VALUES = (
    16  # of an anchor: x, y, width, height of the box, then x, y of six key points, in pixels from the anchor
)

onnxruntime.disable_telemetry_events()  # which on Windows the system may collect


class BlazeFace:
    """The model with its weights, on the CPU; may be shared between threads.

    One view is computed by one thread: two on one view were slower. Of several views another thread computes half.

    Args:
        threads: that may help.

    Raises:
        DetectorError: the package's copy of the graph is missing or damaged.
    """

    def __init__(self, threads: IdleThreads | None = None) -> None:
        self._threads = threads or IdleThreads(0)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4  # only what is fatal; errors are raised
        try:
            graph = GRAPH.read_bytes()
            self._session = onnxruntime.InferenceSession(graph, options, ["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime has a kind of exception for each fault
            raise DetectorError(
                f"the face detector's file '{GRAPH}' is missing or damaged; install the package again"
            ) from error

    def __call__(self, views: np.ndarray, min_confidence: float) -> Detections:
        """Every anchor that scores at least `min_confidence`: several for each face, in pixels of its view.

        Faces from about 20 pixels up to the side of the square view are seen.

        Args:
            views: (n, height, width, 3) uint8 RGB; sides are multiples of `STRIDE`.
            min_confidence: in (0, 1).
        """
        outputs = self._computed(views)
        threshold = log(min_confidence / (1 - min_confidence))
        return Detections.joined(
            [
                _decode(scores, boxes, stride, threshold)
                for scores, boxes, (stride, _) in zip(outputs[::2], outputs[1::2], _GRIDS, strict=True)
            ]
        )

    def _computed(self, views: np.ndarray) -> list[np.ndarray]:
        half = len(views) // 2
        second = self._threads.beside(lambda: self._run(views[half:])) if half else None
        if second is None:
            return self._run(views)
        return [np.concatenate(each) for each in zip(self._run(views[:half]), second(), strict=True)]

    def _run(self, views: np.ndarray) -> list[np.ndarray]:
        outputs: list[np.ndarray] = self._session.run(OUTPUTS, {VIEWS: views})
        return outputs


def _decode(scores: np.ndarray, boxes: np.ndarray, stride: int, threshold: float) -> Detections:
    """From maps of logits (n, anchors, rows, columns) and of values (n, anchors * 16, rows, columns).

    As `TensorsToDetectionsCalculator` of MediaPipe does it, in pixels.
    """
    view, anchor, row, column = np.nonzero(scores >= threshold)
    places = anchor[:, None] * _VALUES + np.arange(_VALUES)
    values = boxes[view[:, None], places, row[:, None], column[:, None]].astype(float).reshape(-1, 8, 2)
    centre = (np.stack([column, row], axis=1) + 0.5) * stride
    middle, half = values[:, 0] + centre, values[:, 1] / 2
    return Detections(
        view=view,
        box=np.concatenate([middle - half, middle + half], axis=1),
        keypoints=values[:, 2:] + centre[:, None],
        score=1 / (1 + np.exp(-scores[view, anchor, row, column].astype(float))),
    )
