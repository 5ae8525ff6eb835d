"""Boxes round faces, in pixels of the picture that they lie in."""

from typing import NamedTuple


class Box(NamedTuple):
    """A rectangle with the corners (x0, y0), upper left, and (x1, y1), lower right; it equals the tuple of the four."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def area(self) -> float:
        """Area in square pixels; 0 where a corner is on the wrong side of the other one."""
        return max(self.x1 - self.x0, 0.0) * max(self.y1 - self.y0, 0.0)

    def intersection(self, other: "Box") -> float:
        """Area that both boxes cover, in square pixels."""
        x0, y0 = max(self.x0, other.x0), max(self.y0, other.y0)
        return Box(x0, y0, min(self.x1, other.x1), min(self.y1, other.y1)).area

    def iou(self, other: "Box") -> float:
        """Intersection over union, in [0, 1]; 0 for two boxes without an area."""
        shared = self.intersection(other)
        union = self.area + other.area - shared
        return shared / union if union > 0 else 0.0

    def ios(self, other: "Box") -> float:
        """Intersection over the smaller box, in [0, 1]; 0 where one has no area."""
        smaller = min(self.area, other.area)
        return self.intersection(other) / smaller if smaller > 0 else 0.0

    def holds(self, x: float, y: float) -> bool:
        """Whether a point lies in the box or on its edge."""
        return self.x0 <= x <= self.x1 and self.y0 <= y <= self.y1
