"""A photo in its own and in half, quarter, … resolution, and crops of any turn and scale filled from it."""

from collections.abc import Callable

import numpy as np

from cilf.face.alignment import Similarity
from cilf.face.opencv import opencv

_FARTHEST = 32_000  # pixels: OpenCV's coordinates have 16 bits
_SAMPLES = 1 << 18  # filled at a time, which bounds the memory that the coordinates take


class Pyramid:
    """A photo with its reductions, each made when it is first needed and then kept.

    A reduction averages blocks of 2 x 2 pixels, which is the anti-aliasing of every crop that is scaled down. All
    levels together take a third of the photo's memory. Use it in one thread at a time.

    Args:
        photo: HxWx3 uint8 RGB.
        finest: the photo is reduced by 2 ** finest already, and has no finer level.
        size: width and height of the photo before that, in whose pixels every coordinate is.

    Raises:
        DetectorError: OpenCV cannot be loaded.
    """

    def __init__(self, photo: np.ndarray, finest: int = 0, size: tuple[int, int] | None = None) -> None:
        self._cv2 = opencv()
        self.width: int
        self.height: int
        self.width, self.height = size or (photo.shape[1], photo.shape[0])
        self._first = finest
        self._levels = [photo]
        self._finest = finest
        while max(self.level(self._finest).shape) > _FARTHEST:
            self._finest += 1
        # A side halved down to nothing holds no picture.
        self._coarsest = max(self._finest, min(self.height, self.width).bit_length() - 1)

    @staticmethod
    def of(photo: "np.ndarray | Pyramid") -> "Pyramid":
        """The pyramid of a photo, or the pyramid itself."""
        return photo if isinstance(photo, Pyramid) else Pyramid(photo)

    @property
    def pixels(self) -> np.ndarray:
        """The finest level: (height, width, 3) uint8 RGB."""
        return self._levels[0]

    def level(self, index: int) -> np.ndarray:
        """The photo reduced by 2 ** index; pixels of an odd last row or column are left out."""
        while len(self._levels) <= index - self._first:
            finer = self._levels[-1]
            height, width = (max(1, side // 2) for side in finer.shape[:2])
            even = finer[: 2 * height, : 2 * width]
            self._levels.append(self._cv2.resize(even, (width, height), interpolation=self._cv2.INTER_AREA))
        return self._levels[index - self._first]

    def resizer(self, width: int, height: int) -> Callable[[], np.ndarray]:
        """What scales the whole photo down to this size, in proportion or not; another thread may call it."""
        factor = min(self.width / width, self.height / height)
        level = self.level(self._level_for(factor))
        return lambda: self._cv2.resize(level, (width, height), interpolation=self._cv2.INTER_AREA)

    def crops(
        self, from_crop: Similarity, size: int, margin: int = 0, *, detector: bool = False
    ) -> np.ndarray:
        """Fill crops: point p of crop i shows point from_crop_i(p) of the photo, in pixels with corners at integers.

        A crop that shows more than one pixel of the photo in each of its own is averaged down. Outside the photo is the
        photo reflected; for the detector it is black, as MediaPipe leaves it (`border_mode: BORDER_ZERO`): a face and
        its reflection drew key points out of the photo.

        Args:
            from_crop: the maps from crops of `size` without margin to the photo: a, b of shape (n,), offset (n, 2).
            size, margin: a crop has size + 2 margin pixels on each side.
            detector: for the face detector: interpolate bilinearly instead of bicubically, black outside.

        Returns:
            (n, size + 2 margin, size + 2 margin, 3) uint8 RGB.
        """
        a, b, offset = from_crop
        scales = np.hypot(a, b)
        side = size + 2 * margin
        crops = np.empty((len(scales), side, side, 3), np.uint8)
        levels = np.array([self._level_for(scale) for scale in scales], dtype=int)
        fine = np.where(scales > 2.0**levels, 2, 1)  # samples a pixel and axis; little aliases in between
        for level, samples in set(zip(levels.tolist(), fine.tolist(), strict=True)):
            members = np.flatnonzero((levels == level) & (fine == samples))
            step = max(1, _SAMPLES // (side * samples) ** 2)
            for start in range(0, len(members), step):
                part = members[start : start + step]
                chosen = (a[part], b[part], offset[part])
                crops[part] = self._filled(chosen, level, samples, size, margin, detector)
        return crops

    def _level_for(self, scale: float) -> int:
        """The coarsest level with a pixel or more for each pixel of a crop at this scale."""
        return int(np.clip(np.floor(np.log2(max(scale, 1e-6))), self._finest, self._coarsest))

    def _filled(
        self, from_crop: Similarity, level: int, samples: int, size: int, margin: int, detector: bool
    ) -> np.ndarray:
        a, b, offset = (np.asarray(value) / 2.0**level for value in from_crop)
        side = (size + 2 * margin) * samples
        along = (np.arange(side) + 0.5) / samples - margin
        # From corners to pixel centres. Where a pixel comes from depends on its own place alone, so that a crop with
        # margin agrees with one without to the last bit.
        across, down = (np.outer(turned, along).astype(np.float32) for turned in (a, b))
        x, y = (offset - 0.5).astype(np.float32).T[:, :, None]
        columns = np.subtract((across + x)[:, None, :], down[:, :, None])
        rows = np.add((across + y)[:, :, None], down[:, None, :])
        # All crops in one picture, one below the other.
        column = self._cv2.remap(
            self.level(level),
            columns.reshape(-1, side),
            rows.reshape(-1, side),
            self._cv2.INTER_LINEAR if detector else self._cv2.INTER_CUBIC,
            borderMode=self._cv2.BORDER_CONSTANT if detector else self._cv2.BORDER_REFLECT_101,
        )
        if samples > 1:
            column = self._cv2.resize(
                column, (side // samples, len(column) // samples), interpolation=self._cv2.INTER_AREA
            )
        return column.reshape(len(a), side // samples, side // samples, 3)
