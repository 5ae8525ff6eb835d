"""The views of a photo that MediaPipe's networks are given, and the way from a view back into the photo."""

import numpy as np

from cilf.face.alignment import TEMPLATE, Similarity, apply, least_squares_similarity
from cilf.face.detections import Detections
from cilf.face.pyramid import Pyramid

# Black border around the whole photo in a second view, as a share of its shorter side: tight crops fill too much of the
# first one.
PADDING = 0.3

# Side of a close-up in sides of the aligned crop in its middle.
CLOSE_UP = 1.5


def whole_views(pyramid: Pyramid, side: int) -> tuple[np.ndarray, Similarity]:
    """The whole photo as it is, and again with a black border: views (2, side, side, 3), and the maps from them."""
    photo = np.array([pyramid.width, pyramid.height])
    sides = photo.max() + np.array([0.0, 2 * PADDING * photo.min()])
    from_view = (sides / side, np.zeros(2), (photo - sides[:, None]) / 2)
    return pyramid.crops(from_view, side, detector=True), from_view


def close_ups(pyramid: Pyramid, keypoints: np.ndarray, side: int) -> tuple[np.ndarray, Similarity]:
    """Each face upright, filling two thirds of its view: views (n, side, side, 3), and the maps from them.

    Args:
        keypoints: (n, 6, 2) of n faces, in pixels of the photo.
    """
    a, b, offset = least_squares_similarity(TEMPLATE * side / CLOSE_UP, keypoints[:, : len(TEMPLATE)])
    margin = side * (1 - 1 / CLOSE_UP) / 2
    from_view = (a, b, apply((a, b, offset), np.full(2, -margin)))
    return pyramid.crops(from_view, side, detector=True), from_view


def in_photo(seen: Detections, from_view: Similarity) -> Detections:
    """Detections of views that show the photo turned, scaled and shifted, in the photo; boxes stay upright."""
    a, b, offset = (values[seen.view] for values in from_view)
    middle = apply((a, b, offset), seen.centre)
    half = (seen.box[:, 2:] - seen.centre) * np.hypot(a, b)[:, None]
    keypoints = apply((a[:, None], b[:, None], offset[:, None]), seen.keypoints)
    return Detections(
        seen.view, np.concatenate([middle - half, middle + half], axis=1), keypoints, seen.score
    )
