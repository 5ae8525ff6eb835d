"""MediaPipe's face mesh, read as the box and the key points that BlazeFace gives.

Kartynnik et al., "Real-time facial surface geometry from monocular video on mobile GPUs" (2019), arXiv:1907.06724. The
graph `face_mesh.onnx` holds MediaPipe's own weights, by Google under Apache-2.0, from its file `face_landmark.tflite`.
A last matrix makes eight points of the 468 of the mesh, sums of them with weights that add up to 1: BlazeFace's six key
points and two corners of its box. `python -m train face-mesh` fits it on photos of UTKFace and All-Age-Faces, so that
crops lie as BlazeFace's would, but move less when the picture hardly changes; and writes the graph.
"""

from pathlib import Path

import numpy as np

from cilf.face.detections import Detections
from cilf.face.idle_threads import IdleThreads
from cilf.face.networks.graph import Graph

GRAPH = Path(__file__).with_name("face_mesh.onnx")
OUTPUTS = ("points", "presence")

SIDE = 192  # pixels of the views that the network was trained on
KEYPOINTS = 6

# The logit of presence that counts as a half. MediaPipe calls everything above 0 a face, but here come things that
# BlazeFace mistook for one: 1 % of a thousand of them have more than 1.3, one 8.6; faces have 12 to 25 (train/LOG.md).
_HALF = 6.0


class FaceMesh:
    """The network with its weights, on the CPU; may be shared between threads.

    Args:
        threads: that may help.

    Raises:
        DetectorError: the package's copy of the graph is missing or damaged.
    """

    def __init__(self, threads: IdleThreads | None = None) -> None:
        self._graph = Graph(GRAPH, OUTPUTS, threads)

    def __call__(self, views: np.ndarray) -> Detections:
        """One detection for each view, whether it shows a face or not: the score says which.

        Args:
            views: (n, SIDE, SIDE, 3) uint8 RGB: close-ups of upright faces that fill two thirds of them.
        """
        if not len(views):
            return Detections(np.zeros(0, int), np.zeros((0, 4)), np.zeros((0, KEYPOINTS, 2)), np.zeros(0))
        points, presence = self._graph(views)
        x_and_y = points[..., :2].astype(float)
        return Detections(
            view=np.arange(len(views)),
            box=x_and_y[:, KEYPOINTS:].reshape(-1, 4),
            keypoints=x_and_y[:, :KEYPOINTS],
            score=1 / (1 + np.exp(_HALF - presence.reshape(-1).astype(float))),
        )
