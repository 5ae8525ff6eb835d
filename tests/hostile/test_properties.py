"""What holds for every picture: finite numbers, an age in its range and interval, and no face that changes another."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cilf import AgeEstimator, FacePrediction
from cilf.checkpoint import Checkpoint, load, tensors_of
from cilf.face.finder import Face, FaceFinder
from cilf.face.pyramid import Pyramid
from tests import tiny
from tests.hostile.targets import require_sound

SIDE = 160
KEYPOINTS = np.array(
    [[0.35, 0.4], [0.65, 0.4], [0.5, 0.55], [0.5, 0.75], [0.2, 0.45], [0.8, 0.45]], np.float32
)

few = settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


class GivenFaces(FaceFinder):
    """Finds the faces that it is given, whatever the picture shows."""

    def __init__(self, faces: Sequence[Face] = ()) -> None:
        self.faces = list(faces)

    def find(self, photo: np.ndarray | Pyramid, tiles: bool = True) -> list[Face]:
        return self.faces


def picture(seed: int, contrast: float = 255.0) -> np.ndarray:
    """Coarse noise, SIDE x SIDE x 3."""
    coarse = np.random.default_rng(seed).random((10, 10, 3)) * contrast
    return np.kron(coarse, np.ones((SIDE // 10, SIDE // 10, 1))).astype(np.uint8)


@st.composite
def face_places(draw: st.DrawFn) -> Face:
    side = draw(st.integers(24, 120))
    x, y = draw(st.integers(0, SIDE - side)), draw(st.integers(0, SIDE - side))
    keypoints = (KEYPOINTS * side + (x, y)).astype(np.float32)
    return Face((float(x), float(y), float(x + side), float(y + side)), 0.9, keypoints)


@pytest.fixture(scope="module")
def estimator() -> AgeEstimator:
    checkpoint = Checkpoint(tensors_of(tiny.model(), tiny.ensemble()), tiny.SEEKING, "tiny")
    return AgeEstimator(checkpoint, GivenFaces())


@pytest.fixture(scope="module")
def bundled() -> AgeEstimator:
    return AgeEstimator(load(), GivenFaces())


def predict(estimator: AgeEstimator, photo: np.ndarray, faces: Sequence[Face]) -> list[FacePrediction]:
    estimator._finder.faces = list(faces)
    return estimator.predict(photo, ["a child"] if estimator.compares_texts else None)


def assert_same(one: FacePrediction, other: FacePrediction) -> None:
    assert one.box == other.box
    assert one.age == pytest.approx(other.age, abs=1e-3)
    assert one.interval == pytest.approx(other.interval, abs=1e-2)
    assert [step.view for step in one.trace] == [step.view for step in other.trace]
    np.testing.assert_allclose(one.distribution, other.distribution, atol=1e-4)
    np.testing.assert_array_equal(one.crop, other.crop)


@pytest.mark.slow
@few
@given(seed=st.integers(0, 2**31), contrast=st.sampled_from([0.0, 8.0, 255.0]), face=face_places())
def test_every_number_is_finite_and_in_range(
    estimator: AgeEstimator, seed: int, contrast: float, face: Face
) -> None:
    [prediction] = predict(estimator, picture(seed, contrast), [face])
    require_sound(prediction)


@pytest.mark.slow
@settings(few, max_examples=3)
@given(seed=st.integers(0, 2**31), contrast=st.sampled_from([0.0, 255.0]), face=face_places())
def test_so_it_is_with_the_bundled_model(
    bundled: AgeEstimator, seed: int, contrast: float, face: Face
) -> None:
    [prediction] = predict(bundled, picture(seed, contrast), [face])
    require_sound(prediction)


@pytest.mark.slow
@settings(few, max_examples=6)
@given(seed=st.integers(0, 2**31), faces=st.lists(face_places(), min_size=2, max_size=20), data=st.data())
def test_a_face_s_age_depends_on_no_other_face_and_no_order(
    estimator: AgeEstimator, seed: int, faces: list[Face], data: st.DataObject
) -> None:
    photo = picture(seed)
    together = predict(estimator, photo, faces)
    order = data.draw(st.permutations(range(len(faces))))
    shuffled = predict(estimator, photo, [faces[place] for place in order])
    for result, place in zip(shuffled, order, strict=True):
        assert_same(result, together[place])
    chosen = data.draw(st.integers(0, len(faces) - 1))
    [alone] = predict(estimator, photo, [faces[chosen]])
    assert_same(alone, together[chosen])


@pytest.mark.slow
def test_nor_does_it_with_the_bundled_model(bundled: AgeEstimator) -> None:
    photo = picture(1)
    faces = [
        Face((float(x), 20.0, x + 60.0, 80.0), 0.9, (KEYPOINTS * 60 + (x, 20)).astype(np.float32))
        for x in (0, 40, 95)
    ]
    for result, face in zip(predict(bundled, photo, faces), faces, strict=True):
        [alone] = predict(bundled, photo, [face])
        assert_same(result, alone)
