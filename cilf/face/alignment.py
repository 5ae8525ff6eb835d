"""The template that every face crop is laid on, and the similarity that lays it there."""

import numpy as np

# Where right eye, left eye, nose tip and mouth centre (the person's own right and left) come to lie in an aligned
# crop, in fractions of its size.
TEMPLATE = np.array([[0.30, 0.30], [0.70, 0.30], [0.50, 0.525], [0.50, 0.7225]])

Similarity = tuple[np.ndarray, np.ndarray, np.ndarray]
"""a (...), b (...) and offset (..., 2) of the maps p -> [[a, -b], [b, a]] p + offset: turn, scale and shift, never a
reflection."""


def least_squares_similarity(source: np.ndarray, target: np.ndarray) -> Similarity:
    """The similarities that carry source onto target points with the least squared error.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns" (1991), in the plane,
    where turn and scale together are one complex number, so that no singular value decomposition is needed.

    Args:
        source: (n, 2).
        target: (..., n, 2): one similarity for each set of n points.
    """
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=-2)
    p, q = source - source_mean, target - target_mean[..., None, :]
    power = (p**2).sum()
    a = np.asarray((p * q).sum(axis=(-2, -1)) / power)
    b = np.asarray((p[:, 0] * q[..., 1] - p[:, 1] * q[..., 0]).sum(axis=-1) / power)
    rotated = apply((a, b, np.zeros(2)), source_mean)
    return a, b, target_mean - rotated


def smallest_square(height: int, width: int, size: int) -> Similarity:
    """The similarity from a square of `size` onto the smallest centred square that holds a whole picture."""
    side = max(height, width)
    return np.array(side / size), np.array(0.0), np.array([width - side, height - side]) / 2


def apply(similarity: Similarity, points: np.ndarray) -> np.ndarray:
    """Where similarities carry points (..., 2); the leading axes of both broadcast."""
    a, b, offset = similarity
    x, y = points[..., 0], points[..., 1]
    return np.stack([a * x - b * y, b * x + a * y], axis=-1) + offset
