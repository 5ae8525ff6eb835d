"""What the model needs of a photo: its faces, their first crops, and the further views that it may ask for."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import numpy as np

from cilf.face.finder import Face, FaceFinder, whole_picture
from cilf.face.images import PhotoSource, open_pyramid
from cilf.face.pyramid import Pyramid
from cilf.face.views import FIRST, View, altered, crop_views, shows_first_crop
from cilf.prediction import NoFace


@dataclass(frozen=True)
class CropConfig:
    """Which faces are cut out of a photo, and how.

    Attributes:
        size: side of a crop in pixels.
        views: the further views that may be asked for, in their order.
        no_face, tiles, max_faces: see `cilf.AgeEstimator.predict`.
    """

    size: int
    views: tuple[View, ...] = ()
    no_face: NoFace = "skip"
    tiles: bool = True
    max_faces: int | None = None


class FaceCrops:
    """The faces of one photo, left to right, and their crops.

    Args:
        pyramid: the photo; further views are cut out of it when they are asked for.
        faces: of this photo.
        config: how they are cut out.

    Attributes:
        faces: as given.
        first: (face, size, size, 3) uint8 RGB, the first crops.
    """

    def __init__(self, pyramid: Pyramid, faces: Sequence[Face], config: CropConfig) -> None:
        self.faces = list(faces)
        self.first = crop_views(pyramid, faces, FIRST, config.size)
        self._config = config
        self._pyramid: Pyramid | None = pyramid
        self._cut: dict[View, np.ndarray] = {}

    def view(self, number: int, rows: Sequence[int]) -> np.ndarray:
        """Further view `number`, from 1, of the faces in `rows`: (row, size, size, 3) uint8 RGB."""
        view = self._config.views[number - 1]
        if shows_first_crop(view):
            return altered(self.first[list(rows)], view)
        if self._pyramid is None:
            return self._cut[view][list(rows)]
        return crop_views(self._pyramid, [self.faces[row] for row in rows], view, self._config.size)

    def without_photo(self) -> "FaceCrops":
        """The same with every further view cut out and the photo left behind: small enough for another process.

        Cutting views that nobody asks for costs a millisecond a face; to ask another process for them would cost it the
        photo's memory until nobody can ask any more, and both a wait.
        """
        views = [number for number, view in enumerate(self._config.views, 1) if not shows_first_crop(view)]
        everyone = range(len(self.faces))
        packed = copy(self)
        packed._cut = {self._config.views[number - 1]: self.view(number, everyone) for number in views}
        packed._pyramid = None
        return packed


class CropBatch:
    """The faces and crops of several photos, one photo after the other; used as those of one."""

    def __init__(self, photos: Sequence[FaceCrops]) -> None:
        self.faces = [face for photo in photos for face in photo.faces]
        self.first = np.concatenate([photo.first for photo in photos])
        self._places = [(photo, row) for photo in photos for row in range(len(photo.faces))]

    def view(self, number: int, rows: Sequence[int]) -> np.ndarray:
        """See `FaceCrops.view`."""
        places = groupby((self._places[row] for row in rows), key=itemgetter(0))
        return np.concatenate([photo.view(number, [row for _, row in part]) for photo, part in places])


def crop_faces(photo: PhotoSource | Pyramid, finder: FaceFinder, config: CropConfig) -> FaceCrops:
    """Find the faces of a photo and cut them out.

    Raises:
        PhotoError: the photo cannot be read, or is too thin to be taken as a face.
    """
    pyramid = open_pyramid(photo)
    faces = finder.find(pyramid, tiles=config.tiles)
    if config.max_faces is not None and len(faces) > config.max_faces:
        largest = sorted(faces, key=_area, reverse=True)[: config.max_faces]
        faces = [face for face in faces if face in largest]
    if not faces and config.no_face == "whole":
        faces = [whole_picture(pyramid)]
    return FaceCrops(pyramid, faces, config)


def _area(face: Face) -> float:
    x0, y0, x1, y1 = face.box
    return (x1 - x0) * (y1 - y0)
