"""Boxes: areas and overlaps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cilf.face.boxes import Box

numbers = st.floats(-1000, 1000)
boxes = st.builds(Box, numbers, numbers, numbers, numbers)


def test_overlaps_of_two_boxes() -> None:
    left, right = Box(0, 0, 2, 2), Box(1, 0, 3, 4)
    assert (left.area, right.area, left.intersection(right)) == (4, 8, 2)
    assert left.iou(right) == pytest.approx(2 / 10)
    assert left.ios(right) == pytest.approx(2 / 4)
    assert left == (0, 0, 2, 2)


@given(boxes, boxes)
def test_overlaps_are_shares_and_the_same_from_both_sides(first: Box, second: Box) -> None:
    for overlap in (Box.iou, Box.ios):
        assert 0 <= overlap(first, second) <= 1 + 1e-9
        assert overlap(first, second) == pytest.approx(overlap(second, first))
    assert first.iou(first) == (pytest.approx(1) if first.area > 0 else 0)


def test_a_box_holds_its_edges() -> None:
    assert Box(0, 0, 2, 2).holds(2, 0)
    assert not Box(0, 0, 2, 2).holds(2.1, 0)
