"""Expression and pose of a synthetic mesh, turned about its axes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.data.attributes import MESH
from train.data.face_mesh import measures, mesh_attributes

COLUMN = {name: column for column, name in enumerate(MESH)}


def mesh(opening: float = 0.0, lift: float = 0.0, width: float = 0.6) -> np.ndarray:
    """A frontal face of which only the points that are measured are in their places, eye corners 1 apart."""
    points = np.zeros((478, 3))
    places = {
        33: (-0.5, 0), 133: (-0.2, 0), 362: (0.2, 0), 263: (0.5, 0), 234: (-0.75, 0.2), 454: (0.75, 0.2),
        127: (-0.75, 0), 356: (0.75, 0), 10: (0, -0.6), 168: (0, 0), 152: (0, 1.4), 17: (0, 0.95),
        61: (-width / 2, 0.8 - lift), 291: (width / 2, 0.8 - lift),
        13: (0, 0.8 - opening / 2), 14: (0, 0.8 + opening / 2),
    }  # fmt: skip
    for point, place in places.items():
        points[point, :2] = place
    for upper, x in zip((160, 159, 158, 385, 386, 387), (-0.4, -0.35, -0.3, 0.3, 0.35, 0.4), strict=True):
        points[upper, :2] = x, -0.05
    for lower, x in zip((144, 145, 153, 380, 374, 373), (-0.4, -0.35, -0.3, 0.3, 0.35, 0.4), strict=True):
        points[lower, :2] = x, 0.05
    return points


def turned(points: np.ndarray, yaw: float = 0.0, pitch: float = 0.0) -> np.ndarray:
    """The mesh turned by degrees to the picture's right, then downwards."""
    y, p = np.radians([yaw, pitch])
    about_y = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    return points @ (about_x @ about_y).T


def named(points: np.ndarray) -> dict[str, int]:
    row = mesh_attributes([list(measures(points))])[0]
    return {name: int(row[column]) for name, column in COLUMN.items()}


def test_expression_is_read_from_the_mouth() -> None:
    assert named(mesh())["mouth_open"] == -1
    assert named(mesh(opening=0.15))["mouth_open"] == 1
    assert named(mesh(opening=0.3))["mouth_wide_open"] == 1
    assert named(mesh(width=0.72, lift=0.08))["smiling"] == 1
    assert named(mesh(width=0.52, lift=-0.02))["smiling"] == -1
    assert named(mesh())["eyes_open"] == 1


@pytest.mark.parametrize(
    ("yaw", "pitch", "name"),
    [(25, 0, "turned_right"), (-25, 0, "turned_left"), (0, 28, "looking_down"), (0, -20, "looking_up")],
)
def test_pose_is_named_from_the_viewer(yaw: float, pitch: float, name: str) -> None:
    assert named(turned(mesh(), yaw, pitch))[name] == 1
    assert named(turned(mesh(), pitch=6))[name] == -1


@given(
    yaw=st.floats(-40, 40),
    scale=st.floats(0.1, 3),
    opening=st.floats(0, 0.4),
    width=st.floats(0.4, 0.8),
)
def test_expression_does_not_depend_on_pose_or_size(
    yaw: float, scale: float, opening: float, width: float
) -> None:
    points = mesh(opening=opening, width=width)
    moved = turned(points, yaw) * scale + 0.3
    assert measures(moved)[:3] == pytest.approx(measures(points)[:3], abs=1e-6)
    assert measures(moved)[3] == pytest.approx(yaw, abs=1e-6)


def test_a_mirrored_mesh_is_turned_the_other_way() -> None:
    points = turned(mesh(), 25)
    mirrored = points * [-1, 1, 1]
    for left, right in ((33, 263), (133, 362), (234, 454), (127, 356), (61, 291)):
        mirrored[[left, right]] = mirrored[[right, left]]
    assert measures(mirrored)[3] == pytest.approx(-measures(points)[3])


def test_a_crop_without_a_mesh_says_nothing() -> None:
    assert not mesh_attributes([None]).any()
    assert mesh_attributes([]).shape == (0, len(MESH))
