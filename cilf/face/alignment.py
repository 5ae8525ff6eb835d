"""The template that every face crop is laid on, and the resampling that lays it there."""

import numpy as np
from PIL import Image

from cilf.face.regions import cut_reduced, reduced

# Where right eye, left eye, nose tip and mouth centre (the person's own right and left) come to lie in an aligned
# crop, in fractions of its size.
TEMPLATE = np.array([[0.30, 0.30], [0.70, 0.30], [0.50, 0.525], [0.50, 0.7225]])

# How many pixels around a point the bicubic filter reads, and one to spare. Pillow's is the sharp one (a = -1).
_FILTER_REACH = 3

Similarity = tuple[float, float, np.ndarray]
"""a, b and offset (2,) of the map p -> [[a, -b], [b, a]] p + offset: turn, scale and shift, never a reflection."""


def least_squares_similarity(source: np.ndarray, target: np.ndarray) -> Similarity:
    """The similarity that carries source onto target points, each (n, 2), with the least squared error.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns" (1991), in the plane,
    where turn and scale together are one complex number, so that no singular value decomposition is needed.
    """
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    p, q = source - source_mean, target - target_mean
    power = float((p**2).sum())
    a = float((p * q).sum()) / power
    b = float((p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]).sum()) / power
    return a, b, target_mean - apply((a, b, np.zeros(2)), source_mean)


def largest_square(height: int, width: int, size: int) -> Similarity:
    """The similarity from a square of `size` onto the smallest centred square that holds a whole picture."""
    side = max(height, width)
    return side / size, 0.0, np.array([width - side, height - side]) / 2


def resample(photo: np.ndarray, from_crop: Similarity, size: int, margin: int) -> np.ndarray:
    """Fill a crop from the photo: crop point p shows photo point from_crop(p), in pixels with corners at integers.

    Args:
        photo: HxWx3 uint8 RGB; reflected where the crop reaches beyond it.
        from_crop: the map from the crop of `size` without margin to the photo.
        size, margin: the crop has size + 2 margin pixels on each side.
    """
    a, b, offset = from_crop
    scale = float(np.hypot(a, b))
    factor = max(1, int(scale))  # blocks of factor x factor photo pixels are averaged beforehand
    fine = (
        2 if scale > 1 else 1
    )  # then fine x fine samples are averaged to one pixel: little aliases in between
    # With coefficients in multiples of 2^-20 every coordinate below is exact in double precision, so that a crop with
    # margin agrees with the crop without to the last bit. On 100 pixels that costs 1e-4 of a pixel.
    a, b, x, y = (round(float(v) * 2**20) / 2**20 for v in (a / factor, b / factor, *(offset / factor)))
    on_reduced = (a, b, np.array([x, y]))
    ends = (-margin, size + margin)
    corners = np.stack([apply(on_reduced, np.array([i, j])) for i in ends for j in ends])
    left, top = (int(v) - _FILTER_REACH for v in np.floor(corners.min(axis=0)))
    right, bottom = (int(v) + _FILTER_REACH for v in np.ceil(corners.max(axis=0)))
    region = cut_reduced(photo, left * factor, top * factor, right - left, bottom - top, factor)
    x, y = (float(v) for v in corners[0] - [left, top])
    side = (size + 2 * margin) * fine
    crop = Image.fromarray(region).transform(
        (side, side),
        Image.Transform.AFFINE,
        (a / fine, -b / fine, x, b / fine, a / fine, y),
        resample=Image.Resampling.BICUBIC,
    )
    return reduced(np.array(crop), fine).copy()


def apply(similarity: Similarity, points: np.ndarray) -> np.ndarray:
    """Where a similarity carries points, (…, 2)."""
    a, b, offset = similarity
    x, y = points[..., 0], points[..., 1]
    return np.stack([a * x - b * y, b * x + a * y], axis=-1) + offset
