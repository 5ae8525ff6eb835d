"""Every face of a photo is found, once, and comes out upright on the template."""

import math
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cilf.errors import PhotoError
from cilf.face.alignment import TEMPLATE
from cilf.face.finder import Face, FaceFinder, align, whole_picture
from cilf.face.images import open_photo
from tests.face.group_photo import Box, Place, Portrait, compose


@pytest.fixture(scope="session", params=["grace_hopper", "eileen_collins"])
def portrait(request: pytest.FixtureRequest) -> np.ndarray:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def portraits(grace_hopper: np.ndarray, eileen_collins: np.ndarray, finder: FaceFinder) -> list[Portrait]:
    return [Portrait(photo, only(finder.find(photo)).box) for photo in (grace_hopper, eileen_collins)]


def only(faces: list[Face]) -> Face:
    assert len(faces) == 1, [(face.box, face.score) for face in faces]
    return faces[0]


def keypoints(face: Face) -> np.ndarray:
    assert face.keypoints is not None
    return face.keypoints


def eye_distance(face: Face) -> float:
    right, left = keypoints(face)[:2]
    return math.dist(right, left)


def resized(photo: np.ndarray, scale: float) -> np.ndarray:
    height, width = photo.shape[:2]
    return np.array(Image.fromarray(photo).resize((round(width * scale), round(height * scale))))


def union_share(one: Box, other: Box) -> float:
    """Intersection over union."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)


# Read off the portraits by eye, in pixels: the pupils and the middle of the mouth.
MARKS = {
    "grace_hopper": [(225, 196), (305, 194), (267, 283)],
    "eileen_collins": [(203, 107), (246, 106), (223, 151)],
}


@pytest.mark.parametrize("tiles", [False, True])
@pytest.mark.parametrize("name", MARKS)
def test_a_portrait_has_one_face_with_its_features_in_place(
    finder: FaceFinder, request: pytest.FixtureRequest, name: str, tiles: bool
) -> None:
    photo = request.getfixturevalue(name)
    face = only(finder.find(photo, tiles))
    assert face.score is not None
    assert 0.7 < face.score <= 1
    points = keypoints(face)
    assert points.shape == (6, 2)
    off = np.linalg.norm(points[[0, 1, 3]] - np.array(MARKS[name]), axis=1)
    assert off.max() < 0.15 * eye_distance(face)
    x0, y0, x1, y1 = face.box
    assert all(x0 < x < x1 and y0 < y < y1 for x, y in MARKS[name])


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.3, 0.6, 1.7])
def test_a_portrait_of_any_size_has_one_face(finder: FaceFinder, portrait: np.ndarray, scale: float) -> None:
    expected = only(finder.find(portrait))
    found = only(finder.find(resized(portrait, scale)))
    assert union_share(found.box, tuple(v * scale for v in expected.box)) > 0.8


def test_a_tight_crop_without_margin_is_found(finder: FaceFinder, portraits: list[Portrait]) -> None:
    for portrait in portraits:
        x0, y0, x1, y1 = (round(v) for v in portrait.box)
        for crop in (portrait.photo[y0:y1, x0:x1], portrait.photo[y0 - 20 : y1 + 5, x0 - 5 : x1 + 5]):
            height, width = crop.shape[:2]
            face = only(finder.find(np.ascontiguousarray(crop)))
            assert union_share(face.box, (0.0, 0.0, float(width), float(height))) > 0.6


@pytest.mark.parametrize("name", MARKS)
def test_of_a_tight_crop_that_cuts_the_face_the_features_are_in_place(
    finder: FaceFinder, request: pytest.FixtureRequest, name: str
) -> None:
    """A reflected border would show the detector two faces that touch, and their features as one face's."""
    photo = request.getfixturevalue(name)
    x0, y0, x1, y1 = only(finder.find(photo)).box
    for left, top, right in product((-0.05, 0.1, 0.2), (-0.1, 0.1), (-0.05, 0.1, 0.2)):
        x, y = round(x0 + left * (x1 - x0)), round(y0 + top * (y1 - y0))
        cut = np.ascontiguousarray(photo[y : round(y1), x : round(x1 - right * (x1 - x0))])
        points = keypoints(only(finder.find(cut, tiles=False)))[[0, 1, 3]] + [x, y]
        marks = np.array(MARKS[name])
        off = np.linalg.norm(points - marks, axis=1)
        assert off.max() < 0.15 * np.linalg.norm(marks[1] - marks[0]), (left, top, right)


@pytest.mark.parametrize("share", [0.35, 0.65])
def test_a_face_cut_by_the_edge_is_found_once_at_most(
    finder: FaceFinder, portraits: list[Portrait], share: float
) -> None:
    for portrait in portraits:
        x0, _, x1, _ = portrait.box
        cut = np.ascontiguousarray(portrait.photo[:, round(x0 + share * (x1 - x0)) :])
        faces = finder.find(cut)
        assert len(faces) <= 1
        for face in faces:
            left, top, right, bottom = face.box
            assert 0 <= left < right <= cut.shape[1]
            assert 0 <= top < bottom <= cut.shape[0]


def grid(widths: list[list[float]], left: float, top: float, step_x: float, step_y: float) -> list[Place]:
    return [
        Place(left + step_x * column, top + step_y * row, width)
        for row, line in enumerate(widths)
        for column, width in enumerate(line)
    ]


LAYOUTS = {
    "small faces beside large ones": (
        900,
        [Place(x, 450, 300) for x in (300, 1000)]
        + [Place(x, y, 40) for x in (110, 490, 810, 1190) for y in (380, 520)]
        + [Place(1400, y, 40) for y in (300, 600)],
    ),
    "two rows, every size": (
        700,
        grid([[40, 45, 50, 55, 60, 64], [70, 76, 82, 88, 94, 100]], 150, 200, 260, 300),
    ),
    "cheek to cheek": (1067, grid([[40] * 4] * 3, 800, 500, 46, 62)),
    "spread along the edges": (
        1200,
        [Place(x, y, 40) for x in (24, 550, 1070, 1576) for y in (30, 600, 1170)],
    ),
    "large and small": (
        1067,
        [Place(330, 420, 420), Place(1150, 480, 300)]
        + [Place(640 + 90 * i, 140 + i % 3 * 70, 40 + 6 * i) for i in range(5)]
        + [Place(900 + 130 * i, 800 + i % 2 * 80, 60 + 4 * i) for i in range(5)],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_twelve_of_a_group_are_found_once(
    finder: FaceFinder, portraits: list[Portrait], layout: str
) -> None:
    height, places = LAYOUTS[layout]
    photo, boxes = compose((1600, height), places, portraits)
    assert len(boxes) == 12
    assert min(place.width for place in places) == 40

    faces = finder.find(photo)
    owners = [max(range(12), key=lambda i: union_share(face.box, boxes[i])) for face in faces]
    assert sorted(owners) == list(range(12))
    assert min(union_share(face.box, boxes[i]) for face, i in zip(faces, owners, strict=True)) > 0.6
    centres = [face.box[0] + face.box[2] for face in faces]
    assert centres == sorted(centres)


@pytest.mark.parametrize("picture", ["brick", "grass", "coffee", "rocket", "coins"])
def test_no_faces_where_there_are_none(finder: FaceFinder, picture: str) -> None:
    assert finder.find(open_photo(getattr(skimage.data, picture)())) == []


@pytest.mark.parametrize("size", [(16, 16), (16, 900), (900, 16), (300, 200)])
def test_plain_pictures_of_any_shape_have_no_face(finder: FaceFinder, size: tuple[int, int]) -> None:
    assert finder.find(np.full((*size, 3), 128, np.uint8)) == []


def test_the_same_photo_gives_the_same_faces_from_every_thread(
    finder: FaceFinder, grace_hopper: np.ndarray, eileen_collins: np.ndarray
) -> None:
    photos = [grace_hopper, eileen_collins] * 6
    alone = [only(finder.find(photo, tiles=False)) for photo in photos[:2]]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda photo: only(finder.find(photo, tiles=False)), photos))
    for index, face in enumerate(together):
        assert face.box == alone[index % 2].box
        assert face.score == alone[index % 2].score
        assert (keypoints(face) == keypoints(alone[index % 2])).all()


def test_a_mirrored_photo_gives_the_mirrored_face(finder: FaceFinder, portraits: list[Portrait]) -> None:
    for portrait in portraits:
        face = only(finder.find(portrait.photo))
        mirrored = only(finder.find(portrait.mirrored().photo))
        expected = keypoints(face)[[1, 0, 2, 3, 5, 4]] * [-1, 1] + [portrait.photo.shape[1], 0]
        off = np.linalg.norm(keypoints(mirrored) - expected, axis=1)[:4]
        assert off.max() < 0.1 * eye_distance(face)


@pytest.mark.parametrize("confidence", [0.0, 0.3, 0.6, 0.9, 0.97])
def test_a_higher_confidence_finds_no_more(portraits: list[Portrait], confidence: float) -> None:
    least, most = FaceFinder(min_confidence=confidence), FaceFinder(min_confidence=0)
    for portrait in portraits:
        every = {face.box: face.score for face in most.find(portrait.photo)}
        kept = {face.box: face.score for face in least.find(portrait.photo)}
        assert kept == {box: score for box, score in every.items() if score and score >= confidence}


@pytest.mark.parametrize("shift", [(1, 0), (-1, 0), (0, 1), (0, -1)])
def test_a_shift_by_a_pixel_moves_the_features_by_a_pixel(
    finder: FaceFinder, portraits: list[Portrait], shift: tuple[int, int]
) -> None:
    for portrait in portraits:
        face = only(finder.find(portrait.photo))
        moved = only(finder.find(np.roll(portrait.photo, shift, axis=(0, 1))))
        off = np.abs(keypoints(moved) - keypoints(face) - shift[::-1])[:4]
        assert off.max() < 0.02 * eye_distance(face)


def test_an_aligned_crop_has_its_features_on_the_template(finder: FaceFinder, portrait: np.ndarray) -> None:
    face = only(finder.find(portrait))
    crop = align(portrait, face, 200, margin=60)
    points = (keypoints(only(finder.find(crop, tiles=False)))[:4] - 60) / 200
    np.testing.assert_allclose(points, TEMPLATE, atol=0.06)


@pytest.mark.parametrize("turn", [-20, 15])
def test_a_tilted_head_comes_out_upright(finder: FaceFinder, portrait: np.ndarray, turn: int) -> None:
    upright = only(finder.find(portrait, tiles=False))
    x0, y0, x1, y1 = upright.box
    middle = ((x0 + x1) / 2, (y0 + y1) / 2)
    tilted = np.array(Image.fromarray(portrait).rotate(turn, Image.Resampling.BICUBIC, center=middle))
    crops = [
        align(photo, face, 48).astype(float)
        for photo, face in ((portrait, upright), (tilted, only(finder.find(tilted, tiles=False))))
    ]
    assert np.corrcoef(crops[0].ravel(), crops[1].ravel())[0, 1] > 0.9


face_points = st.lists(st.tuples(st.floats(-50, 180), st.floats(-50, 180)), min_size=6, max_size=6)


@given(face_points, st.integers(1, 30), st.sampled_from([32, 112]))
@settings(max_examples=25, deadline=None)
def test_align_gives_its_size_and_a_margin_around_it(
    points: list[tuple[float, float]], margin: int, size: int
) -> None:
    photo = np.random.default_rng(3).integers(0, 256, (120, 140, 3), dtype=np.uint8)
    face = Face((0.0, 0.0, 10.0, 10.0), 0.9, np.array(points))
    crop = align(photo, face, size, margin)
    assert crop.shape == (size + 2 * margin, size + 2 * margin, 3)
    assert crop.dtype == np.uint8
    assert (crop[margin:-margin, margin:-margin] == align(photo, face, size)).all()


@pytest.mark.parametrize("shape", [(16, 16_000), (60_000, 16), (100, 401)])
def test_a_thin_picture_is_no_face(shape: tuple[int, int]) -> None:
    height, width = shape
    with pytest.raises(PhotoError, match=f"{width}x{height} pixels; .* at most 4 times"):
        whole_picture(np.zeros((*shape, 3), np.uint8))


def test_a_thin_picture_takes_little_memory(finder: FaceFinder) -> None:
    """A square around 16x60,000 pixels would be 10.8 GB."""
    photo = np.random.default_rng(0).integers(0, 256, (16, 60_000, 3), dtype=np.uint8)
    assert peak(lambda: finder.find(photo)) < 50e6


def test_a_face_larger_than_its_crop_takes_little_memory() -> None:
    """Cut out as it is, the square around this picture would be 108 MB."""
    photo = np.random.default_rng(0).integers(0, 256, (1500, 6000, 3), dtype=np.uint8)
    assert peak(lambda: align(photo, whole_picture(photo))) < 20e6


def peak(work: Callable[[], object]) -> int:
    """Bytes that Python and numpy had at once during the work; what C++ code takes for itself is not among them."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_the_whole_picture_as_a_face(grace_hopper: np.ndarray) -> None:
    face = whole_picture(grace_hopper)
    assert face.box == (0.0, 0.0, 512.0, 600.0)
    assert face.score is None
    assert face.keypoints is None
    beside = ((0, 0), (44, 44), (0, 0))  # from 512 to 600 pixels of width
    square = Image.fromarray(np.pad(grace_hopper, beside, mode="reflect")).resize(
        (120, 120), Image.Resampling.BOX
    )
    difference = align(grace_hopper, face, 120).astype(float) - np.array(square)
    assert np.abs(difference).mean() < 4
