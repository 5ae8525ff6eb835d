"""The face mesh gives BlazeFace's box and key points, and tells faces from what is none."""

from pathlib import Path

import numpy as np
import pytest

from cilf.errors import DetectorError
from cilf.face.alignment import TEMPLATE
from cilf.face.detector_views import CLOSE_UP, close_ups
from cilf.face.finder import FaceFinder
from cilf.face.idle_threads import IdleThreads
from cilf.face.networks import face_mesh as module
from cilf.face.networks.blazeface import SIDE as DETECTOR_SIDE
from cilf.face.networks.blazeface import BlazeFace
from cilf.face.networks.face_mesh import SIDE, FaceMesh
from cilf.face.pyramid import Pyramid


@pytest.fixture(scope="module", params=[0, 1])
def mesh(request: pytest.FixtureRequest) -> FaceMesh:
    return FaceMesh(IdleThreads(request.param))


@pytest.fixture(scope="module")
def faces(grace_hopper: np.ndarray, eileen_collins: np.ndarray) -> list[tuple[Pyramid, np.ndarray]]:
    """Each portrait and the key points of its face: (1, 6, 2)."""
    finder = FaceFinder()
    return [
        (
            Pyramid(photo),
            np.stack([face.keypoints for face in finder.find(photo) if face.keypoints is not None]),
        )
        for photo in (grace_hopper, eileen_collins)
    ]


@pytest.fixture(scope="module")
def views(faces: list[tuple[Pyramid, np.ndarray]]) -> np.ndarray:
    """A close-up of each portrait: (2, SIDE, SIDE, 3)."""
    return np.concatenate([close_ups(pyramid, keypoints, SIDE)[0] for pyramid, keypoints in faces])


def test_box_and_key_points_are_those_of_blazeface(
    mesh: FaceMesh, faces: list[tuple[Pyramid, np.ndarray]], views: np.ndarray
) -> None:
    eyes = (TEMPLATE[1] - TEMPLATE[0])[0] * SIDE / CLOSE_UP
    by_mesh = mesh(views)
    for row, (pyramid, keypoints) in enumerate(faces):
        small, _ = close_ups(pyramid, keypoints, DETECTOR_SIDE)
        by_detector = BlazeFace()(small, 0.5).weighted_suppression(0.3).best_first()
        scale = SIDE / DETECTOR_SIDE
        np.testing.assert_allclose(by_mesh.keypoints[row], by_detector.keypoints[0] * scale, atol=0.12 * eyes)
        np.testing.assert_allclose(by_mesh.box[row], by_detector.box[0] * scale, atol=0.2 * eyes)


def test_a_mirrored_view_gives_the_mirrored_points(mesh: FaceMesh, views: np.ndarray) -> None:
    mirrored = mesh(np.ascontiguousarray(views[:, :, ::-1])).mirrored(SIDE)
    np.testing.assert_allclose(mirrored.keypoints, mesh(views).keypoints, atol=0.05 * SIDE)


def test_each_view_gives_what_it_gives_in_a_batch(mesh: FaceMesh, views: np.ndarray) -> None:
    together = mesh(np.concatenate([views] * 20))
    assert together.view.tolist() == list(range(40))
    for row in range(40):
        alone = mesh(views[row % 2, None])
        np.testing.assert_allclose(together.keypoints[row], alone.keypoints[0], atol=1e-2)
    assert len(mesh(views[:0])) == 0


def test_the_score_tells_faces_from_what_is_none(mesh: FaceMesh, views: np.ndarray) -> None:
    noise = np.random.default_rng(0).integers(0, 256, views.shape).astype(np.uint8)
    assert mesh(views).score.min() > 0.99
    assert mesh(noise).score.max() < 0.01
    assert mesh(np.ascontiguousarray(views[:, ::-1])).score.max() < mesh(views).score.min()  # upside down


@pytest.mark.parametrize("kept", [None, 0, 1000, 200_000])
def test_a_missing_or_damaged_file_is_one_sentence(
    kept: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = tmp_path / "face_mesh.onnx"
    if kept is not None:
        part.write_bytes(module.GRAPH.read_bytes()[:kept])
    monkeypatch.setattr(module, "GRAPH", part)
    with pytest.raises(DetectorError, match=r"face_mesh\.onnx' is missing or damaged; install") as raised:
        FaceFinder()
    assert "\n" not in str(raised.value)
