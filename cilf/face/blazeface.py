"""MediaPipe's face detection model, BlazeFace short range, computed by ONNX Runtime for views of any size.

Bazarevsky et al., "BlazeFace: sub-millisecond neural face detection on mobile GPUs" (2019), arXiv:1907.05047. The
weights come from MediaPipe's own `.tflite` file. The operations stand without weights in `blazeface.onnx`, which
`python -m train blazeface` writes.
"""

from math import log
from pathlib import Path

import numpy as np
import onnxruntime

from cilf.errors import DetectorError
from cilf.face.detections import Detections
from cilf.face.tflite import convolution_weights

GRAPH = Path(__file__).with_name("blazeface.onnx")
VIEWS = "views"  # the graph's input: (n, height, width, 3) uint8 RGB
OUTPUTS = ("scores_8", "boxes_8", "scores_16", "boxes_16")

SIDE = 128  # pixels of the square views that the model was trained on
STRIDE = 16  # sides of views are multiples of it

# Channels of all layers are filled up with zeros to a multiple of this, for which ONNX Runtime has its fastest
# convolutions: 1.1 ms instead of 1.8 for one view of 128 x 128.
CHANNEL_BLOCK = 16

# For each output pair: pixels from cell to cell, and anchors in each cell. All anchors of a cell are its centre
# (mediapipe/modules/face_detection/face_detection_short_range.pbtxt: fixed_anchor_size).
_GRIDS = ((8, 2), (16, 6))
_VALUES = (
    16  # of an anchor: x, y, width, height of the box, then x, y of six key points, in pixels from the anchor
)
_HEADS = 4  # convolutions that give the outputs, the last ones in the file: scores, then boxes

onnxruntime.disable_telemetry_events()  # which on Windows the system may collect


class BlazeFace:
    """The model with its weights, on the CPU; may be shared between threads.

    Each call computes on the thread that makes it. Two threads on one view were slower than one.

    Args:
        model: content of MediaPipe's `.tflite` file of BlazeFace short range.

    Raises:
        DetectorError: the content is not that model.
    """

    def __init__(self, model: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4  # only what is fatal; errors are raised
        try:
            weights = named_weights(model)
            values = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in weights.values()]
            options.add_external_initializers(list(weights), values)
            self._session = onnxruntime.InferenceSession(
                GRAPH.read_bytes(), options, ["CPUExecutionProvider"]
            )
        except (
            Exception
        ) as error:  # ONNX Runtime has a kind of exception for everything that it may find wrong
            raise DetectorError(
                f"the face detector's model file ({len(model)} bytes) is not MediaPipe's BlazeFace short range; "
                "give a copy of blaze_face_short_range.tflite"
            ) from error

    def __call__(self, views: np.ndarray, min_confidence: float) -> Detections:
        """Every anchor that scores at least `min_confidence`: several for each face, in pixels of its view.

        Faces from about 20 pixels up to the side of the square view are seen.

        Args:
            views: (n, height, width, 3) uint8 RGB; sides are multiples of `STRIDE`.
            min_confidence: in (0, 1).
        """
        outputs = self._session.run(OUTPUTS, {VIEWS: views})
        threshold = log(min_confidence / (1 - min_confidence))
        return Detections.joined(
            [
                _decode(scores, boxes, stride, threshold)
                for scores, boxes, (stride, _) in zip(outputs[::2], outputs[1::2], _GRIDS, strict=True)
            ]
        )


def named_weights(model: bytes) -> dict[str, np.ndarray]:
    """The graph's weights by name, with channels filled up to `CHANNEL_BLOCK`.

    `kernel_i` and `bias_i` are those of the i-th convolution; `widen_c` maps c channels to themselves and CHANNEL_BLOCK
    more, which stay zero.

    Raises:
        ValueError: `model` is not a `.tflite` file.
    """
    weights: dict[str, np.ndarray] = {}
    convolutions = convolution_weights(model)
    for index, (kernel, bias) in enumerate(convolutions):
        outputs, inputs = kernel.shape[:2]
        if index < len(convolutions) - _HEADS:
            outputs = _filled_up(outputs)
        if index > 0 and inputs > 1:  # neither the picture's three channels nor a depthwise kernel's one
            inputs = _filled_up(inputs)
        missing = (outputs - kernel.shape[0], inputs - kernel.shape[1])
        weights[f"kernel_{index}"] = np.pad(kernel, ((0, missing[0]), (0, missing[1]), (0, 0), (0, 0)))
        weights[f"bias_{index}"] = np.pad(bias, (0, missing[0]))
    for channels in (32, 48, 64, 80):
        identity = np.eye(channels + CHANNEL_BLOCK, channels, dtype=np.float32)
        weights[f"widen_{channels}"] = identity[:, :, None, None]
    return weights


def _filled_up(channels: int) -> int:
    return -(-channels // CHANNEL_BLOCK) * CHANNEL_BLOCK


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
