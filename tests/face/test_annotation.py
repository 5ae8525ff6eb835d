"""Boxes and labels on the photo, and the heat map over a face."""

import time

import numpy as np
import pytest

from cilf.face import annotation
from cilf.prediction import FacePrediction
from tests.stand_in import make_face


@pytest.fixture
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)


def test_boxes_are_drawn_on_a_copy_at_full_size(photo: np.ndarray) -> None:
    before = photo.copy()
    drawn = annotation.annotate(photo, [make_face()])
    assert drawn.shape == photo.shape
    assert np.array_equal(photo, before)
    x0, _, x1, y1 = make_face().box
    edge = drawn[int(y1), int(x0) + 20 : int(x1) - 20]
    assert (edge == annotation.CHOSEN).all(axis=-1).mean() > 0.9


def test_the_chosen_face_differs_from_the_others(photo: np.ndarray) -> None:
    faces = [make_face(30.0), make_face(50.0, box=(250.0, 80.0, 350.0, 180.0))]
    assert not np.array_equal(annotation.annotate(photo, faces, 0), annotation.annotate(photo, faces, 1))


@pytest.mark.parametrize(
    "box", [(0.0, 0.0, 400.0, 300.0), (390.0, 290.0, 400.0, 300.0), (0.0, 0.0, 9.0, 9.0)]
)
def test_faces_at_the_edge_are_drawn(photo: np.ndarray, box: tuple[float, float, float, float]) -> None:
    assert not np.array_equal(annotation.annotate(photo, [make_face(box=box)]), photo)


def rows_of_faces(count: int, columns: int) -> list[FacePrediction]:
    """Faces spread evenly over a photo of 1600x900 pixels."""
    across, down = 1600 / columns, 900 / (count / columns)
    side = 0.45 * min(across, down)
    corners = [
        ((index % columns + 0.5) * across - side / 2, (index // columns + 0.5) * down - side / 2)
        for index in range(count)
    ]
    return [
        make_face(20.0 + index % 80, box=(x, y, x + side, y + side)) for index, (x, y) in enumerate(corners)
    ]


def shared(box: annotation.Box, other: annotation.Box) -> float:
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    return max(width, 0.0) * max(height, 0.0)


@pytest.mark.parametrize(
    ("count", "columns", "pixels"), [(1, 1, 12), (2, 2, 12), (6, 3, 11), (12, 6, 8), (50, 10, 8)]
)
def test_labels_can_be_read_on_a_phone_and_cover_nothing(count: int, columns: int, pixels: float) -> None:
    faces = rows_of_faces(count, columns)
    labels = annotation.lay_out((1600, 900), faces, chosen=None)
    places = [each.place for each in labels.values()]
    assert len(places) == count
    # The photo is 330 pixels wide on a phone of 360.
    assert min(each.size for each in labels.values()) * 330 / 1600 >= pixels
    for index, place in enumerate(places):
        assert sum(shared(place, other) for other in places[:index]) < 1
        assert sum(shared(place, face.box) for face in faces) < 1


def test_labels_shrink_where_they_would_cover_each_other() -> None:
    faces = rows_of_faces(50, 25)
    labels = list(annotation.lay_out((1600, 900), faces).values())
    roomy = annotation.lay_out((1600, 900), rows_of_faces(50, 10))
    assert max(each.size for each in labels) < min(each.size for each in roomy.values())
    covered = sum(
        shared(each.place, other.place) for index, each in enumerate(labels) for other in labels[:index]
    )
    assert covered < 0.01 * sum(shared(each.place, each.place) for each in labels)


def test_every_label_of_a_crowd_is_drawn() -> None:
    photo, faces = np.zeros((900, 1600, 3), np.uint8), rows_of_faces(50, 10)
    drawn = annotation.annotate(photo, faces, chosen=None)
    for each in annotation.lay_out((1600, 900), faces, chosen=None).values():
        x0, y0, x1, y1 = map(round, each.place)
        patch = drawn[y0:y1, x0:x1]
        assert (patch == annotation.OTHER).all(axis=-1).mean() > 0.5


def test_the_labels_of_a_great_crowd_take_no_seconds() -> None:
    faces = rows_of_faces(300, 25)
    start = time.thread_time()
    assert len(annotation.lay_out((1600, 900), faces)) == 300
    assert (
        time.thread_time() - start < 5
    )  # compared one by one they take three times as much, at once a tenth


def test_a_click_hits_the_smallest_face_around_it() -> None:
    faces = [make_face(box=(0.0, 0.0, 100.0, 100.0)), make_face(box=(40.0, 40.0, 60.0, 60.0))]
    assert annotation.face_at(faces, 50.0, 50.0) == 1
    assert annotation.face_at(faces, 10.0, 10.0) == 0
    assert annotation.face_at(faces, 500.0, 10.0) is None


def test_the_heat_map_runs_from_blue_to_yellow() -> None:
    crop = np.full((112, 112, 3), 128, np.uint8)
    cold = annotation.overlay_heat(crop, np.zeros((7, 7), np.float32), size=64)
    hot = annotation.overlay_heat(crop, np.ones((7, 7), np.float32), size=64)
    assert cold.shape == hot.shape == (64, 64, 3)
    assert cold[32, 32, 2] > cold[32, 32, 0]
    assert hot[32, 32, 0] > hot[32, 32, 2]


def test_a_heat_is_laid_over_in_its_own_colour() -> None:
    """Within two levels of the colours between the anchors, mixed with the grey face."""
    heat = np.repeat(np.linspace(0, 1, 64, dtype=np.float32)[None], 64, axis=0)
    crop = np.full((64, 64, 3), 100, np.uint8)
    anchors = np.linspace(0, 1, len(annotation.HEAT_COLOURS))
    colour = np.stack([np.interp(heat, anchors, channel) for channel in annotation.HEAT_COLOURS.T], axis=-1)
    mixed = (1 - annotation.HEAT_COVER) * 100 + annotation.HEAT_COVER * colour
    assert np.abs(annotation.overlay_heat(crop, heat, size=64) - mixed).max() <= 2
