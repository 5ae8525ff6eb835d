"""The stability study through a tiny estimator: what leaves a picture as it was is told as no change."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from cilf.checkpoint import load, save
from cilf.estimator import AgeEstimator
from cilf.face.pyramid import Pyramid
from tests import tiny
from tests.train.made_up import photos
from train.studies import stability
from train.studies.stability import KEYPOINTS, OFFSET, Change, OffsetFinder, measure, table


@pytest.mark.slow
def test_even_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stability, "available", list)
    save(tmp_path / "weights", tiny.model(), tiny.ensemble(), tiny.CHECKPOINT)
    finder = OffsetFinder()
    estimator = AgeEstimator(load(tmp_path / "weights"), finder)
    report = measure(estimator, finder, photos(tmp_path, 3).tune)
    assert report["photos"] == 3
    changes = report["changes"]
    for kind in ("shift by 1 px", "mirror", KEYPOINTS):
        assert changes[kind]["largest"] == pytest.approx(0, abs=1e-3)
    assert changes["brightness 0.7 to 1.3"]["largest"] > 0
    assert len(table(report).splitlines()) == 2 + len(changes)


@pytest.mark.slow
def test_the_same_face_is_compared_where_another_becomes_larger(
    monkeypatch: pytest.MonkeyPatch, grace_hopper: np.ndarray, eileen_collins: np.ndarray
) -> None:
    def beside(side: int) -> np.ndarray:
        """Grace Hopper on the left, Eileen Collins in a square of `side` pixels on the right."""
        picture = np.full((500, 900, 3), 200, dtype=np.uint8)
        picture[:300, :256] = cv2.resize(grace_hopper, (256, 300))
        picture[:side, 400 : 400 + side] = cv2.resize(eileen_collins[:256, 96:352], (side, side))
        return picture

    kinds = {"company": [Change(lambda _: beside(480))]}
    monkeypatch.setattr(stability, "CHANGES", kinds)
    finder = OffsetFinder()
    row = stability.stability(AgeEstimator(load("compact"), finder), finder, beside(200))
    assert row.age > 60
    assert row.changed["company"] == [pytest.approx(row.age, abs=3)]


def test_key_points_move_by_the_offset(grace_hopper: np.ndarray) -> None:
    finder = OffsetFinder()
    [before] = finder.find(Pyramid(grace_hopper), tiles=False)
    finder.signs = np.ones((6, 2))
    [after] = finder.find(Pyramid(grace_hopper), tiles=False)
    assert before.keypoints is not None
    assert after.keypoints is not None
    np.testing.assert_allclose(after.keypoints - before.keypoints, OFFSET)
