"""Further crops of a face: each shows the part of the photo that its view names."""

import numpy as np
import pytest
from PIL import Image

from cilf.face.alignment import TEMPLATE
from cilf.face.finder import Face, align, whole_picture
from cilf.face.views import FIRST, View, crop_views

SIZE = 64


def crop_view(picture: np.ndarray, shown: Face, view: View, size: int) -> np.ndarray:
    return crop_views(picture, [shown], view, size)[0]


def photo() -> np.ndarray:
    """Smooth colours by which every place is known: red grows to the right, green downwards."""
    x, y = np.meshgrid(np.arange(240), np.arange(240))
    return np.stack([x, y, np.full_like(x, 90)], axis=2).astype(np.uint8)


def face(side: float = 100.0) -> Face:
    """In the middle of the photo, with a first crop of `side` pixels."""
    points = TEMPLATE * side + (240 - side) / 2
    return Face((70.0, 70.0, 170.0, 170.0), 0.9, np.concatenate([points, points[:2]]))


def extent(crop: np.ndarray) -> tuple[float, float]:
    """Pixels of the photo from the first to the last column, and the middle of the shown part."""
    red = crop[..., 0].astype(float).mean(axis=0)
    return abs(red[-1] - red[0]) * SIZE / (SIZE - 1), float((red[0] + red[-1]) / 2)


def test_the_first_view_is_the_aligned_crop() -> None:
    np.testing.assert_array_equal(crop_view(photo(), face(), FIRST, SIZE), align(photo(), face(), SIZE))


@pytest.mark.parametrize(
    ("zoom", "whole"),
    [(0.5, False), (0.8, False), (1.0, False), (1.2, False), (0.5, True), (0.8, True), (1.0, True)],
)
def test_a_zoom_shows_so_much_of_the_first_crop(zoom: float, whole: bool) -> None:
    picture, shown = (photo()[:100, :100], whole_picture(photo()[:100, :100])) if whole else (photo(), face())
    width, middle = extent(crop_view(picture, shown, View(zoom=zoom), SIZE))
    assert width == pytest.approx(100 * zoom, abs=2)
    assert middle == pytest.approx(50 if whole else 120, abs=1)


def test_a_shift_moves_it() -> None:
    _, middle = extent(crop_view(photo(), face(), View(shift=(0.1, 0.0)), SIZE))
    assert middle == pytest.approx(130, abs=1)


def test_a_flip_is_a_mirror_image() -> None:
    flipped = crop_view(photo(), face(), View(flip=True), SIZE)
    np.testing.assert_array_equal(flipped[:, ::-1], crop_view(photo(), face(), FIRST, SIZE))


def test_a_reduction_leaves_coarse_shape() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (240, 240, 3), dtype=np.uint8)
    first, coarse = (crop_view(noise, face(), view, SIZE) for view in (FIRST, View(reduction=4)))
    assert coarse.shape == first.shape
    assert coarse.std() < 0.6 * first.std()


def test_eyes_alone_decide_where_the_nose_is_off() -> None:
    points = face().keypoints
    assert points is not None
    moved = points + np.array([[0, 0], [0, 0], [0, 25], [0, 30], [0, 0], [0, 0]])
    bent = Face(face().box, 0.9, moved)
    by_eyes = crop_view(photo(), bent, View(eyes_only=True), SIZE)
    straight = np.array(Image.fromarray(align(photo(), face(), SIZE)))
    assert np.abs(by_eyes.astype(int) - straight).max() <= 2


def test_a_turn_keeps_the_middle() -> None:
    turned = crop_view(photo(), face(), View(turn=90), SIZE)
    assert turned[32, 32, 0] == pytest.approx(120, abs=3)
    assert abs(float(turned[0, 32, 0]) - float(turned[-1, 32, 0])) > 80  # what lay beside now lies above
