"""Group photos composed from single portraits, with the place of every face known."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Portrait:
    """A photo of one person and the box of the face in it."""

    photo: np.ndarray
    box: Box

    @property
    def face_width(self) -> float:
        return self.box[2] - self.box[0]

    @property
    def face_centre(self) -> tuple[float, float]:
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2

    def mirrored(self) -> "Portrait":
        width = self.photo.shape[1]
        x0, y0, x1, y1 = self.box
        return Portrait(np.ascontiguousarray(self.photo[:, ::-1]), (width - x1, y0, width - x0, y1))


@dataclass(frozen=True)
class Place:
    """Where a face goes: its centre and the width of its box, in pixels of the group photo."""

    x: float
    y: float
    width: float


def compose(
    size: tuple[int, int], places: list[Place], portraits: list[Portrait]
) -> tuple[np.ndarray, list[Box]]:
    """Put the portraits' heads, in turn and every second time round mirrored, at the places.

    Args:
        size: width and height of the group photo.

    Returns:
        The photo, HxWx3 uint8 RGB, and the box of each face, in the order of the places.
    """
    ground = np.linspace([[150, 165, 185]], [[95, 85, 75]], size[1]).repeat(size[0], axis=1)
    group = Image.fromarray(ground.astype(np.uint8))
    boxes = []
    for index, place in enumerate(places):
        portrait = portraits[index % len(portraits)]
        if index // len(portraits) % 2:
            portrait = portrait.mirrored()
        boxes.append(_put(group, portrait, place))
    return np.array(group), boxes


def _put(group: Image.Image, portrait: Portrait, place: Place) -> Box:
    scale = place.width / portrait.face_width
    height, width = portrait.photo.shape[:2]
    photo = Image.fromarray(portrait.photo).resize(
        (round(width * scale), round(height * scale)), Image.Resampling.LANCZOS
    )
    x, y = (v * scale for v in portrait.face_centre)
    head = Image.new("L", photo.size)
    # An oval of hair and chin around the box of brows and chin.
    reach_x, up, down = 0.62 * place.width, 0.80 * place.width, 0.68 * place.width
    ImageDraw.Draw(head).ellipse((x - reach_x, y - up, x + reach_x, y + down), fill=255)
    head = head.filter(ImageFilter.GaussianBlur(place.width / 40))
    left, top = round(place.x - x), round(place.y - y)
    group.paste(photo, (left, top), head)
    x0, y0, x1, y1 = (v * scale for v in portrait.box)
    return x0 + left, y0 + top, x1 + left, y1 + top
