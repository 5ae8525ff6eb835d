"""The detection model gives what MediaPipe gives, for views of any number and size."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cilf.errors import DetectorError
from cilf.face import blazeface as module
from cilf.face.blazeface import SIDE, STRIDE, BlazeFace
from cilf.face.detections import Detections
from cilf.face.idle_threads import IdleThreads
from tests.face.mediapipe_file import mediapipe_file

MEDIAPIPE_SUPPRESSION = 0.3


@pytest.fixture(scope="module", params=[0, 1])
def blazeface(request: pytest.FixtureRequest) -> BlazeFace:
    return BlazeFace(IdleThreads(request.param))


@pytest.fixture(scope="module")
def views(grace_hopper: np.ndarray, eileen_collins: np.ndarray) -> np.ndarray:
    """The two portraits, whole and closer, turned and mirrored: (n, 128, 128, 3)."""
    pictures = [Image.fromarray(grace_hopper), Image.fromarray(eileen_collins)]
    closer = [pictures[0].crop((120, 80, 420, 380)), pictures[1].crop((130, 30, 310, 210))]
    turned = [picture.rotate(12, Image.Resampling.BICUBIC) for picture in closer]
    small = [np.array(each.resize((SIDE, SIDE), Image.Resampling.BOX)) for each in pictures + closer + turned]
    return np.stack([*small, *(view[:, ::-1] for view in small)])


def by_mediapipe(view: np.ndarray) -> list[Any]:
    import mediapipe
    from mediapipe.tasks.python.core.base_options import BaseOptions
    from mediapipe.tasks.python.vision import FaceDetector, FaceDetectorOptions

    model = BaseOptions(model_asset_buffer=mediapipe_file().read_bytes())
    options = FaceDetectorOptions(model, min_detection_confidence=0.5)
    with FaceDetector.create_from_options(options) as detector:
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(view))
        return list(detector.detect(image).detections)


def detect(blazeface: BlazeFace, views: np.ndarray) -> Detections:
    return blazeface(views, 0.5).weighted_suppression(MEDIAPIPE_SUPPRESSION)


def test_detections_are_those_of_mediapipe(blazeface: BlazeFace, views: np.ndarray) -> None:
    detections = detect(blazeface, views)
    for index, view in enumerate(views):
        expected = by_mediapipe(view)
        mine = detections[detections.view == index].best_first()
        assert len(mine) == len(expected) == 1
        for each, box, keypoints, score in zip(expected, mine.box, mine.keypoints, mine.score, strict=True):
            assert score == pytest.approx(each.categories[0].score, abs=1e-3)
            points = np.array([[point.x, point.y] for point in each.keypoints]) * SIDE
            np.testing.assert_allclose(keypoints, points, atol=0.05)
            corner = each.bounding_box  # in whole pixels
            given = [corner.origin_x, corner.origin_y, corner.width, corner.height]
            np.testing.assert_allclose([*box[:2], *(box[2:] - box[:2])], given, atol=1.01)


def test_a_batch_gives_what_each_view_gives(blazeface: BlazeFace, views: np.ndarray) -> None:
    together = detect(blazeface, views)
    for index, view in enumerate(views):
        alone, here = detect(blazeface, view[None]), together[together.view == index]
        np.testing.assert_allclose(here.keypoints, alone.keypoints, atol=1e-3)
        np.testing.assert_allclose(here.score, alone.score, atol=1e-4)


def test_a_larger_view_shows_the_same_face(blazeface: BlazeFace, views: np.ndarray) -> None:
    large = np.full((1, SIDE + 6 * STRIDE, SIDE + 3 * STRIDE, 3), 128, np.uint8)
    large[0, 4 * STRIDE : 4 * STRIDE + SIDE, STRIDE : STRIDE + SIDE] = views[0]
    [expected], [there] = detect(blazeface, views[:1]).box, detect(blazeface, large).box
    np.testing.assert_allclose(there - np.array([1, 4, 1, 4]) * STRIDE, expected, atol=4)


@pytest.mark.parametrize("kept", [None, 0, 1000, 200_000])
def test_a_missing_or_damaged_file_is_one_sentence(
    kept: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = tmp_path / "blazeface.onnx"
    if kept is not None:
        part.write_bytes(module.GRAPH.read_bytes()[:kept])
    monkeypatch.setattr(module, "GRAPH", part)
    with pytest.raises(DetectorError, match=r"blazeface\.onnx' is missing or damaged; install") as raised:
        BlazeFace()
    assert "\n" not in str(raised.value)
