"""An estimator whose checkpoint seeks further views; on a tiny model with random weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cilf import AgeEstimator, UsageError, WeightsError
from cilf.checkpoint import CheckpointConfig
from cilf.distribution import distribution_at
from cilf.face.finder import FaceFinder
from cilf.inference.correction import CorrectionConfig
from cilf.inference.familiarity import Familiarity, FamiliarityConfig
from cilf.inference.predictive import PredictiveConfig
from tests import tiny


def estimator(
    finder: FaceFinder, config: CheckpointConfig, familiarity: Familiarity | None = None
) -> AgeEstimator:
    if familiarity is not None:
        config = replace(config, familiarity=familiarity.config)
    return AgeEstimator(tiny.checkpoint(tiny.model(), tiny.ensemble(), config, familiarity), finder)


def strict() -> Familiarity:
    """To which everything is strange."""
    return Familiarity(FamiliarityConfig(3, 16, limit=-1.0), np.eye(16, dtype=np.float32)[:3])


def test_every_view_is_told_and_shown(finder: FaceFinder, grace_hopper: np.ndarray) -> None:
    [face] = estimator(finder, tiny.SEEKING).predict(grace_hopper)
    assert [step.view for step in face.trace] == ["first crop", "mirrored", "closer", "wider"]
    assert len(face.further_crops) == face.iterations == 3
    np.testing.assert_array_equal(face.further_crops[0][:, ::-1], face.crop)
    assert face.status == "low_confidence"
    assert np.linalg.norm(face.embedding) == pytest.approx(1, abs=1e-4)


def test_age_distribution_and_interval_agree(finder: FaceFinder, grace_hopper: np.ndarray) -> None:
    [face] = estimator(finder, tiny.SEEKING).predict(grace_hopper)
    assert face.distribution.sum() == pytest.approx(1, abs=1e-4)
    assert distribution_at(face.distribution, face.age) == pytest.approx(0.5, abs=0.01)
    ends = [face.interval_at(level) for level in (0.5, 0.9)]
    assert ends[1] == face.interval
    assert ends[1][0] <= ends[0][0] <= face.age <= ends[0][1] <= ends[1][1]
    for wrong in (0.0, 1.0, 90, float("nan")):
        with pytest.raises(UsageError, match="give a share between 0 and 1"):
            face.interval_at(wrong)


def test_one_view_is_all_that_is_taken_where_no_more_are_wanted(
    finder: FaceFinder, grace_hopper: np.ndarray
) -> None:
    seeking = estimator(finder, tiny.SEEKING)
    [face] = seeking.predict(grace_hopper, max_views=1)
    assert len(face.trace) == 1
    assert face.further_crops == ()
    [again] = seeking.predict(grace_hopper)
    assert again.initial_age == pytest.approx(face.age, abs=1e-4)
    with pytest.raises(UsageError, match="max_views is 0"):
        seeking.predict(grace_hopper, max_views=0)


def test_the_same_photo_gives_the_same(finder: FaceFinder, grace_hopper: np.ndarray) -> None:
    one, other = (estimator(finder, tiny.SEEKING).predict(grace_hopper)[0] for _ in range(2))
    assert one.trace == other.trace
    assert one.interval == other.interval


def test_a_face_that_is_good_enough_costs_one_view(
    finder: FaceFinder, grace_hopper: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    easy = replace(tiny.SEEKING, correction=CorrectionConfig(epsilon=1000.0, max_views=4))
    seeking, calls = estimator(finder, easy), []
    network = seeking._network
    monkeypatch.setattr(seeking, "_network", lambda *given: calls.append(1) or network(*given))
    [face] = seeking.predict(grace_hopper)
    assert face.status == "accepted"
    assert len(calls) == 1


def test_a_strange_picture_has_no_promise_and_a_wider_interval(
    finder: FaceFinder, grace_hopper: np.ndarray
) -> None:
    narrow = replace(tiny.CHECKPOINT, predictive=PredictiveConfig(0.05, "median"))
    [known] = estimator(finder, narrow).predict(grace_hopper)
    [strange] = estimator(finder, narrow, strict()).predict(grace_hopper)
    assert strange.age == pytest.approx(known.age, abs=1e-3)
    assert not strange.familiar
    assert strange.status == "low_confidence"
    assert strange.over(1) == strange.over(99) == "unsure"
    width = strange.interval[1] - strange.interval[0]
    assert width > known.interval[1] - known.interval[0]


@pytest.mark.parametrize("shade", [0, 255])
def test_nothing_is_sure_of_a_picture_without_a_face(finder: FaceFinder, shade: int) -> None:
    picture = np.full((90, 120, 3), shade, np.uint8)
    [face] = estimator(finder, tiny.SEEKING).predict(picture, no_face="whole")
    assert all(face.over(limit) == "unsure" for limit in (1, 18, 99))


def test_what_is_no_number_is_an_error(finder: FaceFinder, grace_hopper: np.ndarray) -> None:
    broken = tiny.model()
    torch.nn.init.constant_(broken.head.log_scale, float("nan"))
    made = AgeEstimator(tiny.checkpoint(broken, tiny.ensemble(), tiny.CHECKPOINT), finder)
    with pytest.raises(WeightsError, match="no numbers"):
        made.predict(grace_hopper)
