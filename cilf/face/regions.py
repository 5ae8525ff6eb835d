"""Parts of a photo as arrays: rectangles that may reach beyond its edges, and reduction by whole factors."""

import numpy as np
from PIL import Image


def cut(photo: np.ndarray, left: int, top: int, width: int, height: int) -> np.ndarray:
    """A rectangle of an HxWx3 photo; what lies outside is the photo reflected at its edges."""
    if top >= 0 and left >= 0 and top + height <= photo.shape[0] and left + width <= photo.shape[1]:
        return np.ascontiguousarray(photo[top : top + height, left : left + width])
    rows, columns = _reflected(top, height, photo.shape[0]), _reflected(left, width, photo.shape[1])
    return photo.take(rows, axis=0).take(columns, axis=1)  # faster than photo[rows][:, columns]


def reduced(photo: np.ndarray, factor: int) -> np.ndarray:
    """Average blocks of factor x factor pixels of an HxWx3 uint8 photo; the first block starts at the first pixel."""
    return np.asarray(Image.fromarray(photo).reduce(factor)) if factor > 1 else photo


def cut_reduced(photo: np.ndarray, left: int, top: int, width: int, height: int, factor: int) -> np.ndarray:
    """Cut a rectangle as `cut` does and average its blocks as `reduced` does.

    One row of blocks is cut after the other, since a rectangle far beyond a thin photo is many times the photo.

    Args:
        photo: HxWx3 uint8 RGB.
        left, top: the rectangle's corner in pixels of the photo.
        width, height: of the result; the rectangle has `factor` times as many pixels on each side.
        factor: side of a block in pixels of the photo.

    Returns:
        height x width x 3 uint8 RGB.
    """
    if factor == 1:
        return cut(photo, left, top, width, height)
    tops = range(top, top + height * factor, factor)
    return np.concatenate([reduced(cut(photo, left, y, width * factor, factor), factor) for y in tops])


def _reflected(start: int, count: int, length: int) -> np.ndarray:
    """Index `count` places from `start` on an axis of `length`, reflected at both ends without repeating them."""
    period = max(1, 2 * length - 2)
    index = np.arange(start, start + count) % period
    return np.minimum(index, period - index)
