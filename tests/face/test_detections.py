"""Non-maximum suppression over the detections of many views."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cilf.face import detections
from cilf.face.detections import Detections, iou


def some(seed: int, count: int, views: int) -> Detections:
    """Detections in clusters, as a detector sees each face several times."""
    chance = np.random.default_rng(seed)
    corner = 20 * chance.integers(0, 5, (count, 2)) + chance.uniform(-1, 1, (count, 2))
    return Detections(
        chance.integers(0, views, count),
        np.concatenate([corner, corner + 20], axis=1),
        chance.normal(0, 10, (count, 6, 2)),
        chance.uniform(0.1, 1, count),
    )


@given(st.integers(0, 2**32 - 1), st.integers(0, 80), st.integers(1, 7))
def test_a_crowd_is_suppressed_part_by_part_as_in_one_piece(seed: int, count: int, views: int) -> None:
    seen = some(seed, count, views)
    whole = seen.weighted_suppression(0.3)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(detections, "MANY", 5)
        parts = seen.weighted_suppression(0.3)
    for name, values in vars(whole).items():
        np.testing.assert_array_equal(getattr(parts, name), values)


@given(st.integers(0, 2**32 - 1), st.integers(0, 80), st.integers(1, 4))
def test_of_what_overlaps_in_a_view_the_best_stays_in_the_middle_of_all(
    seed: int, count: int, views: int
) -> None:
    seen = some(seed, count, views)
    kept = seen.weighted_suppression(0.3)
    apart = iou(kept.box, kept.box) <= 0.3
    clusters = {
        (int(view), *(corner // 20).tolist()) for view, corner in zip(seen.view, seen.centre, strict=True)
    }
    assert len(kept) == len(clusters)
    assert (apart | (kept.view[:, None] != kept.view) | np.eye(len(kept), dtype=bool)).all()
    for index in range(len(kept)):
        corner = kept.centre[index] // 20
        same = (seen.view == kept.view[index]) & (seen.centre // 20 == corner).all(axis=1)
        assert kept.score[index] == seen.score[same].max()
        weights = seen.score[same] / seen.score[same].sum()
        np.testing.assert_allclose(kept.box[index], weights @ seen.box[same])
        np.testing.assert_allclose(kept.keypoints[index], np.tensordot(weights, seen.keypoints[same], 1))
