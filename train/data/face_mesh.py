"""Expression and head pose from MediaPipe's face mesh, once per photo.

The mesh with refined lips and eyes (478 points) comes with the wheels of MediaPipe below 0.10.30. Measured points are
turned to a frontal view and scaled to a distance of 1 between the outer corners of the eyes.

Closed eyes are never measured: of the hundred photos with the smallest eye opening most show narrow or squinting eyes.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int8, UInt8

from cilf.errors import CilfError
from cilf.face.alignment import TEMPLATE
from train.data.attributes import MESH, Rule


class FaceMeshError(CilfError):
    """Expressions cannot be measured with what is installed."""


Points = Float[np.ndarray, "point 3"]

# Numbers of mesh points: mediapipe/python/solutions/face_mesh_connections.py
EYES = (33, 133, 362, 263)  # corners, from the picture's left to its right
LEFT_SIDE, RIGHT_SIDE = (33, 234, 127), (263, 454, 356)  # of the face, in the picture
TOP, BOTTOM = (10, 168), (152, 17)
BETWEEN_EYES = 168
UPPER_LIDS, LOWER_LIDS = (160, 159, 158, 385, 386, 387), (144, 145, 153, 380, 374, 373)
UPPER_LIP, LOWER_LIP = 13, 14  # inner edge
MOUTH_CORNERS = (61, 291)

# Largest distance of the mesh's eyes from the template's, as a share of the crop: beyond it the mesh lies on something
# else than the face that the crop was aligned to.
EYE_TOLERANCE = 0.06


RULES = {
    "smiling": Rule("smile", 0.76, 0.57),
    "mouth_open": Rule("mouth_opening", 0.085, 0.02),
    "mouth_wide_open": Rule("mouth_opening", 0.24, 0.14),
    "eyes_open": Rule("eye_opening", 0.27, -1.0),
    "turned_left": Rule("yaw", -17.0, -8.0),
    "turned_right": Rule("yaw", 17.0, 8.0),
    "looking_up": Rule("pitch", -11.5, 0.0),
    "looking_down": Rule("pitch", 24.0, 12.0),
}

MEASURES = ("smile", "mouth_opening", "eye_opening", "yaw", "pitch")


class FaceMesh:
    """Measure aligned crops one by one. Not safe to share between threads.

    Raises FaceMeshError where the installed MediaPipe has no face mesh.
    """

    def __init__(self) -> None:
        # Imported only here, since that takes a second.
        try:
            from mediapipe.python.solutions import face_mesh
        except ImportError as error:
            raise FaceMeshError(
                "The installed MediaPipe has no face mesh, which measures expressions for captions; "
                'install it with `pip install "mediapipe<0.10.30"` on Python 3.12 or older.'
            ) from error
        self._mesh = face_mesh.FaceMesh(
            static_image_mode=True, max_num_faces=1, refine_landmarks=True, min_detection_confidence=0.3
        )

    def measure(self, crop: UInt8[np.ndarray, "side side 3"], margin: int) -> list[float] | None:
        """The values of `MEASURES` for one crop with `margin` pixels of context; None where no mesh fits its face."""
        result = self._mesh.process(np.ascontiguousarray(crop)).multi_face_landmarks
        if not result:
            return None
        points = np.array([(point.x, point.y, point.z) for point in result[0].landmark])
        if not _fits(points, margin / len(crop)):
            return None
        return [round(float(value), 4) for value in measures(points)]


def mesh_attributes(rows: Sequence[Sequence[float] | None]) -> Int8[np.ndarray, "photo mesh_attribute"]:
    """Rows of measures, or None → three-valued table in the order of `MESH`."""
    missing = [float("nan")] * len(MEASURES)
    values = torch.tensor([missing if row is None else row for row in rows]).view(-1, len(MEASURES))
    columns = dict(zip(MEASURES, values.unbind(1), strict=True))
    decided = [RULES[name].decide(columns[RULES[name].measure]) for name in MESH]
    return torch.stack(decided, dim=1).numpy()


def measures(points: Points) -> tuple[float, float, float, float, float]:
    """Smile, mouth opening, eye opening, yaw and pitch of a mesh in shares of the crop's side.

    smile: width of the mouth between its corners plus twice how far they lie above the middle of the lips, as a share
    of that width; mouth opening: distance of the lips' inner edges. Both in distances between the outer eye corners.
    eye opening: of both eyes' mean height over their mean width.
    yaw: degrees, positive to the picture's right; pitch: degrees, positive downwards, about 6 in a level portrait.
    """
    across = _unit(points[list(RIGHT_SIDE)].mean(axis=0) - points[list(LEFT_SIDE)].mean(axis=0))
    down = points[list(BOTTOM)].mean(axis=0) - points[list(TOP)].mean(axis=0)
    down = _unit(down - (down @ across) * across)
    frontal = (points - points[BETWEEN_EYES]) @ np.stack([across, down, np.cross(across, down)]).T
    frontal /= np.linalg.norm(frontal[EYES[3], :2] - frontal[EYES[0], :2])
    left, right = frontal[list(MOUTH_CORNERS)]
    upper, lower = frontal[UPPER_LIP], frontal[LOWER_LIP]
    width = float(np.linalg.norm(right - left))
    lift = ((upper + lower) / 2 - (left + right) / 2)[1] / width
    yaw = np.degrees(np.arctan2(across[2], across[0]))
    pitch = np.degrees(np.arctan2(down[2], down[1]))
    opening = float(np.linalg.norm(lower - upper))
    return width + 2 * float(lift), opening, _eye_opening(frontal), float(yaw), float(pitch)


def _eye_opening(points: Points) -> float:
    """Eye aspect ratio (Soukupova and Cech, CVWW 2016) of both eyes together."""
    height = np.linalg.norm(points[list(UPPER_LIDS)] - points[list(LOWER_LIDS)], axis=1).mean()
    width = np.linalg.norm(points[[EYES[0], EYES[2]]] - points[[EYES[1], EYES[3]]], axis=1).mean()
    return float(height / width)


def _unit(vector: Float[np.ndarray, " 3"]) -> Float[np.ndarray, " 3"]:
    return vector / np.linalg.norm(vector)


def _fits(points: Points, margin: float) -> bool:
    """Whether the mesh's eyes lie where alignment put the face's; `margin` as a share of the crop's side."""
    eyes = points[list(EYES), :2].reshape(2, 2, 2).mean(axis=1)
    expected = margin + TEMPLATE[:2] * (1 - 2 * margin)
    return bool(np.abs(eyes - expected).max() < EYE_TOLERANCE)
