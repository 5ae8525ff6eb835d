"""Finding the faces of a photo, large and small, and cutting each one out on one template."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from math import ceil
from pathlib import Path

import numpy as np

from cilf.errors import PhotoError
from cilf.face.alignment import TEMPLATE, apply, largest_square, least_squares_similarity, resample
from cilf.face.detector import Detection, Detector
from cilf.face.detector_weights import face_model
from cilf.face.regions import cut, cut_reduced, reduced

# The network scales what it is handed to 128 px without anti-aliasing; views of 256 to 511 px gave key points as steady
# as views scaled to 128 px with it.
VIEW = 256

# Reflected border around the whole photo, as a share of its shorter side: 60 px on UTKFace's 200 px raised the found
# faces from 98.3 % to 99.7 %.
PADDING = 0.3

# Side of the square of a close-up, in face boxes. Measured on 142 faces, no face is lost at 1.5, and the key points
# wander least when the square is shifted a little: by 2.7 % of the eye distance in one look, by 1.9 % in the mean of a
# look and a mirrored one.
CLOSE_UP = 1.5

# Sides in pixels of the aligned face and of the view of it in which its key points are looked for once more, and how
# far a key point may lie there from where it was, in face boxes: further off stands somebody else.
ALIGNED = 128
UPRIGHT = 192
NEAR = 0.3

# The smallest face that tiles show: in pixels, and as a share of the tile. Of faces that fill a fifth of its view the
# detector finds 96 %, from a quarter on 99 % (142 faces pasted on a picture without faces).
SMALLEST_FACE = 20
SMALLEST_SHARE = 0.2

# What a face that only tiles show must score over three looks. Of 619 chance hits on pictures without faces the best
# scored 0.70; of 299 faces 22 to 70 px wide one scored less.
TILE_CONFIDENCE = 0.7

# Two looks show the same when their boxes share this much of their union: then one close-up serves both.
SAME_LOOK = 0.5

# The longest picture that is taken as a face: a cut-out face is hardly ever twice as long as wide, and the square that
# holds the picture grows with this times its pixels.
MAX_RATIO = 4

# Two close-ups show one face when their boxes share this much of their union, or this much of the smaller box, as a
# chance hit within a face does. Heads side by side, even cheek to cheek, share far less.
SAME_FACE = 0.3
SAME_CONTAINED = 0.6


@dataclass(frozen=True, eq=False)
class Face:
    """One face in a photo.

    Attributes:
        box: x0, y0, x1, y1 in pixels of the upright photo, clipped to it.
        score: the detector's confidence in (0, 1]; None when the whole picture was taken as the face.
        keypoints: (6, 2) float pixels x, y: right eye, left eye, nose tip, mouth centre, right ear, left ear (the
            person's own right and left); None when the whole picture was taken as the face.
    """

    box: tuple[float, float, float, float]
    score: float | None
    keypoints: np.ndarray | None


def whole_picture(photo: np.ndarray) -> Face:
    """Take the whole picture as the face: for cut-out faces in which the detector sees none.

    Raises:
        PhotoError: its longer side is more than `MAX_RATIO` times the shorter one.
    """
    height, width = photo.shape[:2]
    if max(height, width) > MAX_RATIO * min(height, width):
        raise PhotoError(
            f"the picture is {width}x{height} pixels; to be taken as a face, it may be at most {MAX_RATIO} times "
            "as long as wide"
        )
    return Face((0.0, 0.0, float(width), float(height)), None, None)


def align(photo: np.ndarray, face: Face, size: int = 112, margin: int = 0) -> np.ndarray:
    """Cut a face out, turned and scaled so that eyes, nose and mouth come to lie on the template.

    The similarity is the least-squares one through the four points. What lies outside the photo is the photo reflected;
    a face larger than the crop is averaged down. A whole-picture face is the smallest centred square that holds the
    picture, so that nothing of it is lost, with the picture reflected into the strips beside it.

    Args:
        photo: HxWx3 uint8 RGB, upright.
        face: a face of this photo.
        size: side of the crop in pixels.
        margin: further pixels on each side, at the same scale; `align(p, f, s, m)[m:-m, m:-m]` equals `align(p, f, s)`.

    Returns:
        (size + 2 margin) x (size + 2 margin) x 3 uint8 RGB.
    """
    if face.keypoints is None:
        from_crop = largest_square(photo.shape[0], photo.shape[1], size)
    else:
        points = np.asarray(face.keypoints, dtype=float)[: len(TEMPLATE)]
        from_crop = least_squares_similarity(TEMPLATE * size, points)
    return resample(photo, from_crop, size, margin)


class FaceFinder:
    """MediaPipe's short-range face detector, made to see faces of every size.

    Safe to share between threads. The same photo always gives the same faces.

    Args:
        model_path: the detector's `.tflite` file; None looks for it (see `cilf.face.detector_weights`).
        min_confidence: faces scored below this, in [0, 1], are dropped.

    Raises:
        DetectorError: MediaPipe cannot be loaded, or its model file is missing or damaged.
    """

    def __init__(self, model_path: str | Path | None = None, min_confidence: float = 0.5) -> None:
        self._min_confidence = min_confidence
        self._detector = Detector(face_model(model_path), min_confidence)

    def find(self, photo: np.ndarray, tiles: bool = True) -> list[Face]:
        """Find the faces of one photo.

        A look of the detector costs a few milliseconds of one core; several are taken at the same time. Without tiles
        there are two looks, and four more for each face: what a live picture can afford; faces from about a fifth of
        the photo's longer side on are found. With tiles a photo of 200x200 pixels takes some 15 looks, one of 640x480
        some 45, and a larger one some 180, whatever its size; faces down to a fortieth of the longer side are found, if
        they are at least 20 pixels wide.

        Args:
            photo: HxWx3 uint8 RGB, upright.
            tiles: also look for small faces in overlapping tiles.

        Returns:
            The faces, left to right by the centre of the box.
        """
        found = self._confirm(photo, self._look_at_whole(photo), self._min_confidence)
        if tiles:
            seen = [one for side in _tile_sides(photo) for one in self._look_at_tiles(photo, side)]
            new = [one for one in seen if not any(_is_same_look(one, known) for known in found)]
            found += self._confirm(photo, new, max(self._min_confidence, TILE_CONFIDENCE))
        height, width = photo.shape[:2]
        faces = []
        for one in _distinct(found, _is_same_face):
            x, y = one.centre
            if 0 <= x < width and 0 <= y < height:  # else a mirror image in the reflected border
                x0, y0, x1, y1 = np.clip(one.box, 0, [width, height, width, height]).tolist()
                faces.append(Face((x0, y0, x1, y1), one.score, one.keypoints))
        return sorted(faces, key=lambda face: (face.box[0] + face.box[2], face.box[1] + face.box[3]))

    def _look_at_whole(self, photo: np.ndarray) -> list[Detection]:
        """Look at the whole photo as it is, and again with a reflected border, which shows tight crops."""
        factor = max(1, max(photo.shape[:2]) // VIEW)
        small = reduced(photo, factor)
        height, width = small.shape[:2]
        border = round(PADDING * min(height, width))
        padded = cut(small, -border, -border, width + 2 * border, height + 2 * border)
        plain, bordered = self._detector.look_at_each([small, padded])
        return [one.in_photo(0, 0, factor) for one in plain] + [
            one.in_photo(-border, -border, factor) for one in bordered
        ]

    def _look_at_tiles(self, photo: np.ndarray, side: int) -> list[Detection]:
        """Look at overlapping tiles of `side` photo pixels that together cover the photo."""
        factor = max(1, side // VIEW)
        small = reduced(photo, factor)
        tile = side // factor
        corners = list(product(_tile_starts(small.shape[0], tile), _tile_starts(small.shape[1], tile)))
        looks = self._detector.look_at_each(
            small[top : top + tile, left : left + tile] for top, left in corners
        )
        return [
            one.in_photo(left, top, factor)
            for (top, left), look in zip(corners, looks, strict=True)
            for one in look
        ]

    def _confirm(self, photo: np.ndarray, candidates: list[Detection], confidence: float) -> list[Detection]:
        """Look closely at each candidate, once where several looks agree, and keep those that score high enough."""
        close_ups = (
            self._look_closely(photo, candidate) for candidate in _distinct(candidates, _is_same_look)
        )
        return [
            self._look_upright(photo, one) for one in close_ups if one is not None and one.score >= confidence
        ]

    def _look_closely(self, photo: np.ndarray, candidate: Detection) -> Detection | None:
        """Look at a candidate again, centred and well sized, as it is and mirrored.

        Box and key points are the means of the two, and so do not depend on where in a view the face was found first.
        The score is the mean of all three looks, where one that sees no face here counts as 0: it tells faces from
        chance hits better than any single look.
        """
        side = CLOSE_UP * candidate.side
        factor = max(1, int(side) // VIEW)
        left, top = (round(float(v) / factor) for v in candidate.centre - side / 2)
        extent = max(1, round(side / factor))
        view = cut_reduced(photo, left * factor, top * factor, extent, extent, factor)
        plain, turned = self._detector.look_at_each([view, view[:, ::-1]])
        seen = []
        for look in (plain, [one.mirrored(extent) for one in turned]):
            nearest = max(
                (one.in_photo(left, top, factor) for one in look), key=candidate.union_share, default=None
            )
            if nearest is not None and candidate.union_share(nearest) > SAME_FACE:
                seen.append(nearest)
        if not seen:
            return None
        return Detection(
            np.mean([one.box for one in seen], axis=0),
            np.mean([one.keypoints for one in seen], axis=0),
            (candidate.score + sum(one.score for one in seen)) / 3,
        )

    def _look_upright(self, photo: np.ndarray, face: Detection) -> Detection:
        """The face with the key points that its aligned crop shows, as it is and mirrored.

        There every face is upright and of one size, which the detector sees best: key points hardly depend any more on
        where the face was found and how the head is tilted. Box and score stay.
        """
        margin = (UPRIGHT - ALIGNED) // 2
        from_crop = least_squares_similarity(TEMPLATE * ALIGNED, face.keypoints[: len(TEMPLATE)])
        view = resample(photo, from_crop, ALIGNED, margin)
        plain, turned = self._detector.look_at_each([view, view[:, ::-1]])
        seen = [
            apply(from_crop, max(look, key=lambda one: one.score).keypoints - margin)
            for look in (plain, [one.mirrored(UPRIGHT) for one in turned])
            if look
        ]
        near = [points for points in seen if np.abs(points - face.keypoints).max() < face.side * NEAR]
        return replace(face, keypoints=np.mean(near, axis=0)) if near else face


def _tile_sides(photo: np.ndarray) -> list[int]:
    """A half, a quarter and an eighth of the longer side, as long as the faces sought in them are large enough.

    The detector sees faces from a fifth of its view up to all of it, so each halving goes on where the last one ends.
    """
    sides = [max(photo.shape[:2]) // parts for parts in (2, 4, 8)]
    return [side for side in sides if side * SMALLEST_SHARE >= SMALLEST_FACE]


def _tile_starts(length: int, tile: int) -> list[int]:
    """Where the tiles on an axis start: evenly, and overlapping by the largest face sought in them or more."""
    if length <= tile:
        return [0]
    steps = ceil((length - tile) / (tile * (1 - 2 * SMALLEST_SHARE)))
    return [round((length - tile) * step / steps) for step in range(steps + 1)]


def _distinct(
    detections: list[Detection], is_same: Callable[[Detection, Detection], bool]
) -> list[Detection]:
    """Keep, from the best score down, each detection that is not the same as one already kept."""
    kept: list[Detection] = []
    for detection in sorted(detections, key=lambda one: -one.score):
        if not any(is_same(detection, other) for other in kept):
            kept.append(detection)
    return kept


def _is_same_look(one: Detection, other: Detection) -> bool:
    return one.union_share(other) > SAME_LOOK


def _is_same_face(one: Detection, other: Detection) -> bool:
    return one.union_share(other) > SAME_FACE or one.contained_share(other) > SAME_CONTAINED
