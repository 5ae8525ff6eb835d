"""Faces as the detector sees them, in arrays; their overlaps; and non-maximum suppression."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# The six key points as they follow one another in a mirrored view: right and left change places.
_MIRRORED_ORDER = [1, 0, 2, 3, 5, 4]
MANY = 400  # detections


@dataclass(frozen=True, eq=False)
class Detections:
    """n detections in a batch of views.

    Attributes:
        view: (n,) index of each one's view in the batch.
        box: (n, 4) x0, y0, x1, y1 in pixels; not clipped.
        keypoints: (n, 6, 2) pixels: right eye, left eye, nose tip, mouth centre, right ear, left ear.
        score: (n,) the detector's confidence in (0, 1].
    """

    view: np.ndarray
    box: np.ndarray
    keypoints: np.ndarray
    score: np.ndarray

    @staticmethod
    def joined(parts: Sequence["Detections"]) -> "Detections":
        """All detections of several batches in a row."""
        return Detections(
            np.concatenate([part.view for part in parts]),
            np.concatenate([part.box for part in parts]),
            np.concatenate([part.keypoints for part in parts]),
            np.concatenate([part.score for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.score)

    def __getitem__(self, index: np.ndarray) -> "Detections":
        """Those at an index or under a mask, as NumPy takes it."""
        return Detections(self.view[index], self.box[index], self.keypoints[index], self.score[index])

    @property
    def centre(self) -> np.ndarray:
        """(n, 2) the middle of each box."""
        return (self.box[:, :2] + self.box[:, 2:]) / 2

    def best_first(self) -> "Detections":
        """The same from the highest score down."""
        return self[np.argsort(-self.score, kind="stable")]

    def mirrored(self, width: float) -> "Detections":
        """The same in views of this width that are mirrored left to right."""
        x0, y0, x1, y1 = self.box.T
        return Detections(
            self.view,
            np.stack([width - x1, y0, width - x0, y1], axis=1),
            self.keypoints[:, _MIRRORED_ORDER] * [-1.0, 1.0] + [width, 0.0],
            self.score,
        )

    def weighted_suppression(self, threshold: float) -> "Detections":
        """One detection for each face of a view: the best score, with box and key points averaged by score.

        Args:
            threshold: detections of one view are one face where the IoU of their boxes is above this.
        """
        if not len(self):
            return self
        if len(self) > MANY and len(views := np.unique(self.view)) > 1:
            half = self.view < views[len(views) // 2]  # every pair is compared: a crowd's views half by half
            halves = [self[part].weighted_suppression(threshold) for part in (half, ~half)]
            return Detections.joined(halves).best_first()
        ordered = self.best_first()
        same = (iou(ordered.box, ordered.box) > threshold) & (ordered.view[:, None] == ordered.view)
        owner = suppressed_by(same)
        members = np.argsort(owner, kind="stable")
        owners = owner[members]
        starts = np.flatnonzero(np.concatenate([[True], owners[1:] != owners[:-1]]))
        kept = owners[starts]
        values = np.concatenate([ordered.box, ordered.keypoints.reshape(-1, 12)], axis=1)
        weights = ordered.score[members, None]
        means = np.add.reduceat(values[members] * weights, starts) / np.add.reduceat(weights, starts)
        return Detections(
            ordered.view[kept], means[:, :4], means[:, 4:].reshape(-1, 6, 2), ordered.score[kept]
        )


def iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n, m) intersection over union of each of n boxes (x0, y0, x1, y1) with each of m."""
    shared = _intersection(boxes[:, None], others)
    return shared / np.maximum(_area(boxes)[:, None] + _area(others) - shared, 1e-9)


def ios(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n, m) intersection over the smaller box, of each of n boxes with each of m."""
    smaller = np.minimum(_area(boxes)[:, None], _area(others))
    return _intersection(boxes[:, None], others) / np.maximum(smaller, 1e-9)


def paired_iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n,) intersection over union of each of n boxes with its partner among n others."""
    shared = _intersection(boxes, others)
    return shared / np.maximum(_area(boxes) + _area(others) - shared, 1e-9)


def suppressed_by(same: np.ndarray) -> np.ndarray:
    """Greedy non-maximum suppression: which detection stands for each.

    Args:
        same: (n, n) bool, symmetric: whether two detections are one face; in order of falling score.

    Returns:
        (n,) its own index for one that is kept, else that of the first kept one that is the same.
    """
    earlier = np.tril(same, -1)
    kept = np.ones(len(same), dtype=bool)
    while True:  # a round settles one detection more at the least, and nearly always all of them
        again = ~(earlier & kept).any(axis=1)
        if (again == kept).all():
            break
        kept = again
    first = (earlier & kept).argmax(axis=1) if len(same) else np.zeros(0, dtype=int)
    return np.where(kept, np.arange(len(same)), first)


def _intersection(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    # Axis by axis: NumPy is slow at reducing a last axis of two.
    width, height = (
        np.minimum(boxes[..., axis + 2], others[..., axis + 2])
        - np.maximum(boxes[..., axis], others[..., axis])
        for axis in (0, 1)
    )
    return np.maximum(width, 0) * np.maximum(height, 0)


def _area(boxes: np.ndarray) -> np.ndarray:
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    return np.maximum(width, 0) * np.maximum(height, 0)
