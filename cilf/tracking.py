"""Faces tracked from frame to frame of a live picture, and their temporally smoothed ages.

A model that sees each frame by itself gives every frame another age. Here the frames of a face are averaged over some
seconds, and the average is replaced when several frames in a row show somebody else. All times are seconds as the
caller gives them, so that the result is the same at every frame rate.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, pi

import numpy as np

from cilf.conformal import Forecast
from cilf.face.boxes import Box
from cilf.prediction import FacePrediction

# Frames fade from a face's average with this time constant. A person's age does not change, so a longer one would
# smooth more; but light and pose do, and nobody should wait long for the age to follow them.
FADE_S = 2.0

# A frame shows somebody else when its age is off by so much of the interval's half width, some years at least, ...
JUMP = 0.6
LEAST_JUMP = 3.0
# ... or when the cosine of its embedding and the face's average one is below this. Of two portraits, moved, turned and
# scaled, no frame came under 0.94 of its own average or over 0.79 of a frame of the other.
SAME_PERSON = 0.85

# So long, and in so many frames, somebody else must be seen before the average is replaced: a blink of the model is
# shorter. The promise is to follow within a second, at 6 frames a second too.
CONFIRM_S = 0.3
CONFIRM_FRAMES = 3

# A face that is not detected in a frame (turned away, blurred) keeps its place so long.
GAP_S = 0.7

# A face is shown from its second frame on: chance hits of the detector hardly ever come twice at one place.
SIGHTINGS = 2

# The least intersection over union of a face's boxes in two frames.
MIN_IOU = 0.1

# One Euro filter of the box (Casiez, Roussel and Vogel, CHI 2012): cut-off in Hz for a face at rest, its growth with
# the speed in box sides per second, and the cut-off of the speed.
BOX_CUTOFF = 1.2
BOX_GROWTH = 6.0
SPEED_CUTOFF = 2.0

# The age in whole years changes only when the smoothed one is so far away: half a year is where rounding would flicker.
STEADY_YEARS = 0.75


@dataclass(frozen=True)
class Sightings:
    """The frames that show one person, each counted equally, however long ago it was.

    Attributes:
        first, last: when the first and the last of them were taken, in seconds.
        frames: their number.
        surest: what the one with the smallest estimated error shows.
        total: (2 + K,), the sum over the frames of age, familiar and the distribution over K ages.
    """

    first: float
    last: float
    frames: int
    surest: FacePrediction
    total: np.ndarray

    @classmethod
    def of(cls, face: FacePrediction, at: float) -> "Sightings":
        """A single frame."""
        return cls(at, at, 1, face, np.array([face.age, face.familiar, *face.distribution], float))

    def add(self, face: FacePrediction, at: float) -> "Sightings":
        """Add one more frame."""
        surest = min(self.surest, face, key=lambda each: (not each.familiar, each.estimated_error))
        return Sightings(self.first, at, self.frames + 1, surest, self.total + Sightings.of(face, at).total)

    def prediction(self) -> FacePrediction:
        """The person's age by all frames: `surest`, but with their mean age and mean distribution, and the interval
        read from those. A mean of distributions (linear opinion pool) is no narrower than they are on average, so the
        calibration on single photos is kept to. No promise holds where most frames are unfamiliar."""
        age, familiar, *distribution = self.total / self.frames
        surest, pooled = self.surest, np.array(distribution)
        return replace(
            surest,
            age=float(age),
            interval=surest.conformal.interval(Forecast(pooled, float(age), surest.estimated_error)),
            status=surest.status if familiar >= 0.5 else "low_confidence",
            distribution=pooled,
            familiar=bool(familiar >= 0.5),
        )


@dataclass(frozen=True)
class TrackedFace:
    """A face in view.

    Attributes:
        number: counts the faces of this tracker from 1; a face keeps its number while it is in view, and loses it when
            somebody else is seen in its place.
        box: x0, y0, x1, y1 in pixels of the frame, smoothed.
        age: years, temporally smoothed.
        interval: low and high age in years, smoothed like the age.
        years: `age` in whole years, not flickering between two.
        caveat: of the last frame that shows the face (`FacePrediction.caveat`).
        sightings: all frames that show it.
    """

    number: int
    box: Box
    age: float
    interval: tuple[float, float]
    years: int
    caveat: str
    sightings: Sightings


class FaceTracker:
    """Tracks the faces of one live picture. Not safe to share between threads."""

    def __init__(self) -> None:
        self._tracks: list[_Track] = []
        self._count = 0
        self._at = float("-inf")

    def update(self, faces: Sequence[FacePrediction], at: float) -> list[TrackedFace]:
        """Track the faces into the next frame.

        Args:
            faces: the faces detected in it.
            at: when it was taken, in seconds; a frame from before the last one counts as taken with it.

        Returns:
            The faces in view, longest in view first; a face that was lost a moment ago is still among them.
        """
        self._at = at = max(at, self._at)
        new = list(range(len(faces)))
        for track, index in _matches(self._tracks, faces):
            track.see(faces[index], at)
            new.remove(index)
        self._tracks = [track for track in self._tracks if at - track.seen <= GAP_S]
        self._tracks += [_Track(faces[index], at) for index in new]
        shown = [track for track in self._tracks if track.frames >= SIGHTINGS]
        for track in shown:
            if track.number == 0:
                self._count += 1
                track.number = self._count
        return [track.face() for track in sorted(shown, key=lambda track: track.number)]


class _Track:
    """A face: its smoothed box, and the average of its frames."""

    def __init__(self, face: FacePrediction, at: float) -> None:
        self.number = 0  # until this person is shown
        self.seen = at
        self.caveat = face.caveat
        self.box = np.array(face.box)  # unsmoothed, of the last frame that shows it
        self._smooth = _OneEuro(self.box, at)
        self._average = _Average(face, at)
        self._rival: _Average | None = None  # somebody else, perhaps
        self._years = round(face.age)

    def see(self, face: FacePrediction, at: float) -> None:
        """Take in a frame that shows the face."""
        self.seen = at
        self.caveat = face.caveat
        self.box = np.array(face.box)
        self._smooth.add(self.box, at)
        self._judge(face, at)
        if abs(self._average.age - self._years) > STEADY_YEARS:
            self._years = round(self._average.age)

    @property
    def frames(self) -> int:
        """How many frames show this person."""
        return self._average.sightings.frames

    def face(self) -> TrackedFace:
        box = Box(*self._smooth.value.tolist())
        average = self._average
        return TrackedFace(
            self.number, box, average.age, average.interval, self._years, self.caveat, average.sightings
        )

    def _judge(self, face: FacePrediction, at: float) -> None:
        """Average the frame in, or hold it against the face as a sign of somebody else."""
        if self._average.fits(face):
            self._average.add(face, at)
            self._rival = None
        elif self._rival is None or not self._rival.fits(face):
            self._rival = _Average(face, at)
        else:
            self._rival.add(face, at)
            if self._rival.confirmed(at):
                self._average, self._rival, self.number = self._rival, None, 0


class _Average:
    """The fading average of the frames of one person: age, interval and embedding."""

    def __init__(self, face: FacePrediction, at: float) -> None:
        self._sum = _values(face)
        self._weight = 1.0
        self.sightings = Sightings.of(face, at)

    def add(self, face: FacePrediction, at: float) -> None:
        kept = exp(-(at - self.sightings.last) / FADE_S)
        self._sum = kept * self._sum + _values(face)
        self._weight = kept * self._weight + 1.0
        self.sightings = self.sightings.add(face, at)

    def fits(self, face: FacePrediction) -> bool:
        """Whether a frame may show this person."""
        low, high = self.interval
        off = abs(face.age - self.age)
        if off > max(JUMP * (high - low) / 2, LEAST_JUMP):
            return False
        mean = self._sum[3:]
        length = float(np.linalg.norm(mean) * np.linalg.norm(face.embedding))
        return float(mean @ face.embedding) >= SAME_PERSON * length

    def confirmed(self, at: float) -> bool:
        return self.sightings.frames >= CONFIRM_FRAMES and at - self.sightings.first >= CONFIRM_S

    @property
    def age(self) -> float:
        return float(self._sum[0] / self._weight)

    @property
    def interval(self) -> tuple[float, float]:
        return float(self._sum[1] / self._weight), float(self._sum[2] / self._weight)


class _OneEuro:
    """One Euro filter of a box. Its speed is in box sides, so that near and far faces are smoothed equally."""

    def __init__(self, box: np.ndarray, at: float) -> None:
        self.value = box.astype(float)
        self._raw = self.value
        self._speed = np.zeros(4)
        self._at = at

    def add(self, box: np.ndarray, at: float) -> None:
        elapsed = at - self._at
        if elapsed <= 0:
            return
        side = max(float(np.mean(box[2:] - box[:2])), 1.0)
        speed = (box - self._raw) / side / elapsed
        self._speed += _share(SPEED_CUTOFF, elapsed) * (speed - self._speed)
        cutoff = BOX_CUTOFF + BOX_GROWTH * float(np.max(np.abs(self._speed)))
        self.value = self.value + _share(cutoff, elapsed) * (box - self.value)
        self._raw, self._at = box.astype(float), at


def _share(cutoff: float, elapsed: float) -> float:
    """How much of the way to a new value a low pass with this cut-off in Hz goes in `elapsed` seconds."""
    return 1 - exp(-2 * pi * cutoff * elapsed)


def _values(face: FacePrediction) -> np.ndarray:
    return np.concatenate(([face.age, *face.interval], face.embedding)).astype(float)


def _matches(tracks: Sequence[_Track], faces: Sequence[FacePrediction]) -> list[tuple[_Track, int]]:
    """Match tracks with faces: the pairs of largest overlap first, each track and each face once."""
    overlaps = [
        (Box(*track.box.tolist()).iou(Box(*face.box)), row, index)
        for row, track in enumerate(tracks)
        for index, face in enumerate(faces)
    ]
    pairs: list[tuple[_Track, int]] = []
    rows: set[int] = set()
    indices: set[int] = set()
    for iou, row, index in sorted(overlaps, reverse=True):
        if iou >= MIN_IOU and row not in rows and index not in indices:
            rows.add(row)
            indices.add(index)
            pairs.append((tracks[row], index))
    return pairs
