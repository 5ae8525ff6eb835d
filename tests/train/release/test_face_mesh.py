"""The packaged graph of the face mesh holds MediaPipe's own weights, and gives MediaPipe's points."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from PIL import Image

from cilf.face.alignment import apply
from cilf.face.detector_views import close_ups, in_photo
from cilf.face.finder import FaceFinder
from cilf.face.networks.face_mesh import GRAPH, SIDE, FaceMesh
from cilf.face.networks.graph import VIEWS
from cilf.face.pyramid import Pyramid
from tests.face.mediapipe_file import DETECTOR, FACE_MESH, mediapipe_file
from train.data.datasets import DatasetError
from train.release.face_mesh import POINTS, graph
from train.release.mesh_points import fit, weights_of_sums


@pytest.fixture(scope="module")
def model() -> bytes:
    return mediapipe_file(FACE_MESH).read_bytes()


@pytest.fixture(scope="module")
def packaged() -> onnx.GraphProto:
    return onnx.load(GRAPH).graph


def weights_of(packaged: onnx.GraphProto) -> np.ndarray:
    [stored] = [each for each in packaged.initializer if each.name == "weights"]
    return numpy_helper.to_array(stored)


def test_the_packaged_graph_is_written_from_mediapipes_file(model: bytes, packaged: onnx.GraphProto) -> None:
    written = onnx.load_from_string(graph(model, weights_of(packaged))).graph
    assert list(packaged.node) == list(written.node)
    assert list(packaged.initializer) == list(written.initializer)


def test_the_weights_of_each_point_add_up_to_one(packaged: onnx.GraphProto) -> None:
    weights = weights_of(packaged)
    assert weights.shape == (8, POINTS)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)


def by_mediapipe(photo: np.ndarray) -> np.ndarray:
    """(POINTS, 2) of the one face, in pixels of the photo."""
    from mediapipe.python.solutions import face_mesh

    with face_mesh.FaceMesh(static_image_mode=True, refine_landmarks=False) as solution:
        [face] = solution.process(photo).multi_face_landmarks
    sides = [photo.shape[1], photo.shape[0]]
    return np.array([[point.x, point.y] for point in face.landmark]) * sides


def test_the_points_are_those_of_mediapipe(
    model: bytes, grace_hopper: np.ndarray, eileen_collins: np.ndarray
) -> None:
    session = onnxruntime.InferenceSession(graph(model, np.eye(POINTS)), providers=["CPUExecutionProvider"])
    for photo in (grace_hopper, eileen_collins):
        [face] = FaceFinder().find(photo)
        assert face.keypoints is not None
        views, (a, b, offset) = close_ups(Pyramid(photo), face.keypoints[None], SIDE)
        [points] = session.run(["points"], {VIEWS: views})
        there = apply((a, b, offset), points[0, :, :2])
        eyes = float(np.linalg.norm(face.keypoints[1] - face.keypoints[0]))
        apart = np.linalg.norm(there - by_mediapipe(photo), axis=1)
        assert np.median(apart) < 0.03 * eyes
        assert apart.max() < 0.15 * eyes


@pytest.mark.slow
def test_fitted_points_lie_where_the_packaged_ones_do(
    model: bytes,
    tmp_path: Path,
    grace_hopper: np.ndarray,
    eileen_collins: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    photos = []
    for index, picture in enumerate((grace_hopper, eileen_collins)):
        photos.append(tmp_path / f"{index}.png")
        Image.fromarray(picture).save(photos[-1])
    weights = fit(model, photos)
    np.testing.assert_allclose(weights.sum(axis=1), 1)

    [face] = FaceFinder().find(eileen_collins)
    assert face.keypoints is not None
    views, from_view = close_ups(Pyramid(eileen_collins), face.keypoints[None], SIDE)
    fitted = tmp_path / "face_mesh.onnx"
    fitted.write_bytes(graph(model, weights))
    packaged = in_photo(FaceMesh()(views), from_view)
    monkeypatch.setattr("cilf.face.networks.face_mesh.GRAPH", fitted)
    here = in_photo(FaceMesh()(views), from_view)
    eyes = float(np.linalg.norm(face.keypoints[1] - face.keypoints[0]))
    np.testing.assert_allclose(here.keypoints, packaged.keypoints, atol=0.15 * eyes)
    np.testing.assert_allclose(here.box, packaged.box, atol=0.3 * eyes)


def test_the_regression_gives_back_the_weights_that_made_its_targets() -> None:
    random = np.random.default_rng(0)
    points = random.normal(64, 20, (400, POINTS, 2))
    weights = random.normal(0, 1, (8, POINTS))
    weights += (1 - weights.sum(axis=1, keepdims=True)) / POINTS
    np.testing.assert_allclose(weights_of_sums(points, weights @ points), weights, atol=1e-2)
    moved = weights_of_sums(points + 50, weights @ points + 50)
    np.testing.assert_allclose(moved, weights_of_sums(points, weights @ points), atol=1e-6)


def test_photos_without_a_face_are_one_sentence(model: bytes, tmp_path: Path) -> None:
    grey = tmp_path / "grey.png"
    Image.new("RGB", (200, 200), "grey").save(grey)
    for photos in ([], [grey]):
        with pytest.raises(DatasetError, match="None of the photos shows a face"):
            fit(model, photos)


@pytest.mark.parametrize("content", [b"", b"not a model", bytes(1000)])
def test_a_file_that_is_no_tflite_model_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="not a TensorFlow Lite model"):
        graph(content, np.eye(POINTS))


@pytest.mark.parametrize(
    "name",
    [DETECTOR, "hand_landmark/hand_landmark_lite.tflite", "pose_landmark/pose_landmark_full.tflite"],
)
def test_another_model_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not MediaPipe's face mesh"):
        graph(mediapipe_file(name).read_bytes(), np.eye(POINTS))


def test_the_command_takes_training_photos_alone(
    model: bytes, tmp_path: Path, grace_hopper: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    from train.__main__ import main

    folder = tmp_path / "UTKFace"
    folder.mkdir()
    names = [f"{age}_1_0_2017010917{age}.jpg" for age in (30, 40, 50)]
    for name in names:
        Image.fromarray(grace_hopper).save(folder / name)
    split = tmp_path / "split.csv"
    split.write_text(
        "filename,split\n"
        + "\n".join(f"{n},{p}" for n, p in zip(names, ("train", "tune", "test"), strict=True))
    )
    used: list[Any] = []

    def noted(_: bytes, photos: Any) -> np.ndarray:
        used.extend(photos)
        return np.full((8, POINTS), 1 / POINTS)

    monkeypatch.setattr("train.release.mesh_points.fit", noted)
    output = tmp_path / "face_mesh.onnx"
    monkeypatch.setattr("cilf.face.networks.face_mesh.GRAPH", output)
    assert (
        main(
            [
                "face-mesh",
                str(mediapipe_file(FACE_MESH)),
                "--data",
                f"utkface={folder}",
                "--split",
                str(split),
            ]
        )
        == 0
    )
    assert [path.name for path in used] == names[:1]
    assert output.read_bytes() == graph(model, np.full((8, POINTS), 1 / POINTS))
