"""Views of one face: further crops of the photo that tell the model more than its first crop does.

A view is a crop whose key points lie elsewhere on the template, so that `cilf.face.finder.align` cuts out every one
of them from the photo itself: a finer view shows pixels that the first crop averaged away, a wider one hair and neck.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import cos, radians, sin
from typing import Annotated

import numpy as np
from PIL import Image
from pydantic import Field

from cilf.face.alignment import TEMPLATE, apply, least_squares_similarity, smallest_square
from cilf.face.finder import Face, align_faces
from cilf.face.pyramid import Pyramid
from cilf.untrusted.bounds import Name

Shift = Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)]


@dataclass(frozen=True)
class View:
    """How a view differs from the first crop.

    Attributes:
        name: what the page calls it.
        zoom: side of the part of the photo that it shows, in sides of the first crop: below 1 finer, above 1 wider.
        shift: of that part to the right and down, in sides of the first crop.
        turn: of that part, in degrees.
        flip: mirrored left to right.
        reduction: side of the crop divided by this and enlarged again: what is left is coarse shape without texture.
        eyes_only: aligned by the two eyes, not by eyes, nose and mouth.
    """

    name: Name = "first crop"
    zoom: Annotated[float, Field(ge=0.1, le=10, allow_inf_nan=False)] = 1.0
    shift: tuple[Shift, Shift] = (0.0, 0.0)
    turn: Annotated[float, Field(ge=-360, le=360, allow_inf_nan=False)] = 0.0
    flip: bool = False
    reduction: Annotated[int, Field(ge=1, le=32)] = 1
    eyes_only: bool = False


FIRST = View()


def crop_views(photo: np.ndarray | Pyramid, faces: Sequence[Face], view: View, size: int) -> np.ndarray:
    """Cut out one view of each face: (face, size, size, 3) uint8 RGB; of `FIRST` the crops that `align` gives."""
    pyramid = Pyramid.of(photo)
    placed = faces if shows_first_crop(view) else [_moved(pyramid, face, view, size) for face in faces]
    return altered(align_faces(pyramid, placed, size), view)


def shows_first_crop(view: View) -> bool:
    """Whether a view shows the same part of the photo as the first crop, so that `altered` makes it of that crop."""
    return replace(view, name=FIRST.name, flip=False, reduction=1) == FIRST


def altered(crops: np.ndarray, view: View) -> np.ndarray:
    """Crops (n, size, size, 3) of a view's part of the photo as the view shows it: coarser, mirrored, or neither."""
    if view.reduction > 1 and len(crops):
        crops = np.stack([_coarse(crop, view.reduction) for crop in crops])
    return np.ascontiguousarray(crops[:, :, ::-1]) if view.flip else crops


def _moved(pyramid: Pyramid, face: Face, view: View, size: int) -> Face:
    """The face with key points that lie so that its aligned crop is the view's part of the photo."""
    template = TEMPLATE * size
    if face.keypoints is None:
        from_crop = smallest_square(pyramid.height, pyramid.width, size)
    else:
        count = 2 if view.eyes_only else len(TEMPLATE)
        points = np.asarray(face.keypoints, dtype=float)
        from_crop = least_squares_similarity(template[:count], points[:count])
    a, b = view.zoom * cos(radians(view.turn)), view.zoom * sin(radians(view.turn))
    centre = np.array([size / 2, size / 2])
    moved = apply((np.array(a), np.array(b), centre + np.array(view.shift) * size), template - centre)
    return replace(face, keypoints=apply(from_crop, moved))


def _coarse(crop: np.ndarray, reduction: int) -> np.ndarray:
    size = len(crop)
    small = Image.fromarray(crop).resize((size // reduction,) * 2, Image.Resampling.BOX)
    return np.array(small.resize((size, size), Image.Resampling.BICUBIC))
