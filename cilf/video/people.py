"""The people in a short video: faces tracked from frame to frame as in the Live tab, one row a person."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable

from cilf.errors import PhotoError
from cilf.face.boxes import Box
from cilf.photo_set.results import PhotoResult, with_faces
from cilf.prediction import FacePrediction
from cilf.tracking import FaceTracker, Sightings
from cilf.video.annotated import annotated_frames, check_annotated, write_video
from cilf.video.frames import MAX_SECONDS, VIDEO_SUFFIXES, Frame, Video

# What a row of a person has beyond `cilf.photo_set.results.COLUMNS`: seconds of the first and the last frame that shows
# the face, since the video's first, and how many of the sampled frames do.
VIDEO_COLUMNS = ("first_second", "last_second", "frames")

FrameProgress = Callable[[int, int | None], Any]
"""Told how many frames are done, and how many there are; None where the file does not say how long it is."""


@runtime_checkable
class VideoPredictor(Protocol):
    """What a video needs of `cilf.AgeEstimator`; see there."""

    def predict(
        self, photo: Any, prompts: Sequence[str] | None = None, *, max_views: int | None = None
    ) -> list[FacePrediction]: ...


def is_video(path: Path) -> bool:
    """Whether a file is a video by its name."""
    return path.suffix.lower() in VIDEO_SUFFIXES


class People:
    """Tracks the faces of a video's frames.

    A face that is seen in one frame alone is dropped, as in the Live tab: chance hits of the detector hardly ever come
    twice at one place. Who is out of sight for longer than the tracker waits comes back as another person.

    Attributes:
        places: for each frame its time, and the boxes of the people it shows by their numbers.
    """

    def __init__(self, estimator: VideoPredictor) -> None:
        self._estimator = estimator
        self._tracker = FaceTracker()
        self._sightings: dict[int, Sightings] = {}
        self.places: list[tuple[float, dict[int, Box]]] = []

    def add(self, frame: Frame) -> None:
        """Find and estimate the faces of the next frame."""
        # The further views of a face are its next frames, whose evidence the tracker keeps.
        faces = self._estimator.predict(frame.pixels, max_views=1)
        tracked = self._tracker.update(faces, frame.at)
        self._sightings |= {face.number: face.sightings for face in tracked}
        shown = {face.number: face.box for face in tracked if face.sightings.last == frame.at}
        self.places.append((frame.at, shown))

    def predictions(self) -> list[FacePrediction]:
        """One a person, in the order of their numbers, which count from 1; boxes are those of the surest frame."""
        return [self._sightings[number].prediction() for number in sorted(self._sightings)]

    def result(self, name: str) -> PhotoResult:
        """What the video gave: a row a person, or one that says that there is none."""
        result = with_faces(name, self.predictions())
        rows = []
        for number, row in enumerate(result.rows, 1):
            seen = self._sightings.get(number)
            values = (seen.first, seen.last, seen.frames) if seen else (None, None, None)
            rows.append(row | dict(zip(VIDEO_COLUMNS, values, strict=True)))
        return result._replace(rows=tuple(rows))


def predict_video(
    estimator: VideoPredictor,
    path: str | Path,
    *,
    annotated: str | Path | None = None,
    progress: FrameProgress | None = None,
    seconds: int = MAX_SECONDS,
) -> PhotoResult:
    """Estimate the age of every person in a short video.

    Args:
        estimator: `cilf.AgeEstimator`.
        path: an MP4, MOV, WebM or MKV file.
        annotated: an .mp4 file to write, the video with the people's boxes, numbers and ages, without its sound.
        progress: told the frames so far, first those of the estimates, then those of the annotated video.
        seconds: how long the video may be.

    Returns:
        One `FacePrediction` a person, with the mean age of the frames, and one row a person, with `VIDEO_COLUMNS` too.

    Raises:
        PhotoError: the file is no video of a known kind, too long, too large or damaged.
        UsageError: PyAV is not installed, or `annotated` cannot be written.
    """
    output = None if annotated is None else check_annotated(annotated, Path(path))
    people = People(estimator)
    with _opened(Path(path)) as file:
        with Video(file, str(path), seconds=seconds) as video:
            for frame in _counted(video, progress):
                people.add(frame)
        if output is not None:
            with Video(file, str(path), 0, seconds) as video:
                frames = annotated_frames(_counted(video, progress), people.predictions(), people.places)
                write_video(frames, output, video.rate)
    return people.result(str(path))


def _opened(path: Path) -> BinaryIO:
    try:
        if not path.is_file():  # a pipe would keep everybody waiting
            raise PhotoError(f"'{path}' is no file; check the path")
        return path.open("rb")
    except OSError as error:
        raise PhotoError(
            f"'{path}' may not be read ({error.strerror}); check the path and the file"
        ) from error


def _counted(video: Video, progress: FrameProgress | None) -> Iterator[Frame]:
    for count, frame in enumerate(video, 1):
        yield frame
        if progress:
            progress(count, video.frames)
