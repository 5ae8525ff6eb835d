"""Non-maximum suppression over the detections of many views."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cilf.face import detections
from cilf.face.detections import Detections


def some(seed: int, count: int, views: int) -> Detections:
    """Detections in clusters, as a detector sees each face several times."""
    chance = np.random.default_rng(seed)
    corner = 20 * chance.integers(0, 5, (count, 2)) + chance.normal(0, 1, (count, 2))
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
