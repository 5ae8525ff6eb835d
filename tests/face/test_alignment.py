"""The similarity is the least-squares one, and the crop shows what the map promises."""

from collections.abc import Callable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cilf.face.alignment import TEMPLATE, Similarity, least_squares_similarity, smallest_square
from cilf.face.pyramid import Pyramid

SIZE = 64

turns = st.floats(-np.pi, np.pi)
shifts = st.floats(-200, 200)
coordinates = st.floats(-100, 100)


def similarity(turn: float, scale: float, x: float, y: float) -> Similarity:
    return np.array(scale * np.cos(turn)), np.array(scale * np.sin(turn)), np.array([x, y])


def resample(photo: np.ndarray, from_crop: Similarity, size: int, margin: int) -> np.ndarray:
    a, b, offset = from_crop
    [crop] = Pyramid(photo).crops((a[None], b[None], offset[None]), size, margin)
    return crop


def applied(to: Similarity, points: np.ndarray) -> np.ndarray:
    a, b, offset = to
    return points @ np.array([[a, b], [-b, a]]) + offset


@given(turns, st.floats(0.05, 20), shifts, shifts)
def test_a_similarity_is_found_again(turn: float, scale: float, x: float, y: float) -> None:
    expected = similarity(turn, scale, x, y)
    points = TEMPLATE * SIZE
    found = least_squares_similarity(points, applied(expected, points))
    np.testing.assert_allclose(found[:2], expected[:2], atol=1e-9)
    np.testing.assert_allclose(found[2], expected[2], atol=1e-6)


@given(st.lists(st.tuples(coordinates, coordinates), min_size=4, max_size=4))
def test_noisy_points_are_met_with_the_least_squared_error(target: list[tuple[float, float]]) -> None:
    source, goal = TEMPLATE * SIZE, np.array(target)
    # The same problem as a linear one in (a, b, x, y), solved by numpy.
    rows_x = np.stack([source[:, 0], -source[:, 1], np.ones(4), np.zeros(4)], axis=1)
    rows_y = np.stack([source[:, 1], source[:, 0], np.zeros(4), np.ones(4)], axis=1)
    system, sides = np.concatenate([rows_x, rows_y]), np.concatenate([goal[:, 0], goal[:, 1]])
    expected = np.linalg.lstsq(system, sides, rcond=None)[0]
    a, b, offset = least_squares_similarity(source, goal)
    np.testing.assert_allclose([a, b, *offset], expected, atol=1e-6)


def hills(points: np.ndarray) -> np.ndarray:
    """Three smooth pictures, (..., 3) from 40 to 215, of points (..., 2) in pixels of a crop of `SIZE`."""
    u, v = points[..., 0] / SIZE, points[..., 1] / SIZE
    waves = [np.sin(5 * u + 3 * v), np.cos(4 * u - 6 * v + 1), np.sin(7 * v) * np.cos(5 * u)]
    return 127.5 + 87.5 * np.stack(waves, axis=-1)


def pixel_centres(height: int, width: int) -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=-1)


def painted(height: int, width: int, colour: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    return np.round(colour(pixel_centres(height, width))).astype(np.uint8)


@given(turns, st.floats(0.4, 5))
@settings(max_examples=30, deadline=None)
def test_a_picture_turned_and_scaled_is_set_right_again(turn: float, scale: float) -> None:
    """Paint known hills into a photo through the map; the crop must show the hills as they were."""
    from_crop = similarity(turn, scale, 0, 0)
    height, width = 470, 490  # room for the largest crop in any turn
    middle = applied(from_crop, np.array([SIZE / 2, SIZE / 2]))
    from_crop = (*from_crop[:2], np.array([width / 2, height / 2]) - middle)
    a, b, offset = from_crop
    back = np.linalg.inv([[a, -b], [b, a]]).T

    photo = painted(height, width, lambda points: hills((points - offset) @ back))
    crop = resample(photo, from_crop, SIZE, 0)
    off = np.abs(crop.astype(float) - hills(pixel_centres(SIZE, SIZE)))
    assert off.max() < 7  # of 175 grey levels; the filter is a sharp one
    assert off.mean() < 1.5


@given(turns, st.floats(0.3, 9), shifts, shifts, st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_margin_adds_pixels_and_changes_none(
    turn: float, scale: float, x: float, y: float, margin: int
) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (90, 130, 3), dtype=np.uint8)
    from_crop = similarity(turn, scale, x, y)
    plain, wide = resample(photo, from_crop, SIZE, 0), resample(photo, from_crop, SIZE, margin)
    assert plain.shape == (SIZE, SIZE, 3)
    assert wide.shape == (SIZE + 2 * margin, SIZE + 2 * margin, 3)
    assert (wide[margin:-margin, margin:-margin] == plain).all()


@given(turns, st.floats(1.5, 9))
@settings(max_examples=20, deadline=None)
def test_fine_patterns_are_averaged_not_sampled(turn: float, scale: float) -> None:
    board = (np.indices((700, 700)).sum(axis=0) % 2 * 255).astype(np.uint8)
    crop = resample(np.repeat(board[:, :, None], 3, axis=2), similarity(turn, scale, 350, 350), 30, 0)
    # Sampled, the finest pattern there is would keep its contrast of 127.5; averaged, under a third is left.
    assert abs(crop.astype(float).mean() - 127.5) < 8
    assert crop.astype(float).std() < 127.5 / 3


def test_outside_is_the_photo_reflected() -> None:
    photo = np.random.default_rng(1).integers(0, 256, (80, 100, 3), dtype=np.uint8)
    reflected = np.pad(photo, ((60, 60), (60, 60), (0, 0)), mode="reflect")
    a, b, offset = similarity(0.4, 0.9, 60, -25)
    crop = resample(photo, (a, b, offset), SIZE, 0)
    assert (crop == resample(reflected, (a, b, offset + 60), SIZE, 0)).all()


def test_the_smallest_square_holds_the_whole_picture() -> None:
    photo = np.random.default_rng(2).integers(0, 256, (60, 100, 3), dtype=np.uint8)
    assert (resample(photo, smallest_square(60, 100, 100), 100, 0)[20:80] == photo).all()
    upright = np.ascontiguousarray(photo.transpose(1, 0, 2))
    assert (resample(upright, smallest_square(100, 60, 100), 100, 0)[:, 20:80] == upright).all()
