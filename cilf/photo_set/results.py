"""What a photo of a set gives: its faces, and its rows of the table."""

import re
from typing import Any, NamedTuple

from cilf.errors import PhotoError
from cilf.prediction import ADULT, FacePrediction

Row = dict[str, Any]
"""Keys are `COLUMNS`. Numbers are plain and unrounded: box in pixels of the upright photo, ages in years. What a row
does not know is None."""

COLUMNS = (
    "path",
    "face",
    "x0",
    "y0",
    "x1",
    "y1",
    "detection_score",
    "age",
    "age_low",
    "age_high",
    "initial_age",
    "iterations",
    "status",
    "over_18",
    "caveat",
    "error",
)

TEXT_COLUMNS = frozenset({"path", "status", "over_18", "caveat", "error", "scored_by"})
INTEGER_COLUMNS = frozenset({"face", "iterations", "frames"})

# Folders before the name of a file, as an error of a library may name them: they are nobody's business on a page.
_FOLDERS = re.compile(r"(?<![\w./:])(?:[A-Za-z]:)?[/\\](?:[^\s/\\'\"]+[/\\])*(?=[^\s/\\])")


class PhotoResult(NamedTuple):
    """What a photo gave: its faces, left to right, and its rows: one per face, or one that says why there is none."""

    name: str
    faces: tuple[FacePrediction, ...]
    rows: tuple[Row, ...]

    @property
    def error(self) -> str | None:
        """Why there is no face, in a sentence; None where there is one."""
        return None if self.faces else self.rows[0]["error"]


def with_faces(name: str, faces: list[FacePrediction]) -> PhotoResult:
    """The result of a photo that was read; it may show no face."""
    if not faces:
        return _without_faces(name, "no_face", f"no face was found in '{name}'")
    rows = (_face_row(name, number, face) for number, face in enumerate(faces))
    return PhotoResult(name, tuple(faces), tuple(rows))


def unreadable(name: str, error: Exception) -> PhotoResult:
    """The result of a photo that cannot be read."""
    return _without_faces(name, "unreadable", str(error))


def unexpected(name: str, error: Exception) -> PhotoError:
    """The error that stands for one that no library should have raised."""
    what = _FOLDERS.sub("", " ".join(f"{type(error).__name__}: {error}".split()))
    return PhotoError(f"'{name}' cannot be processed ({what}); leave it out")


def _without_faces(name: str, status: str, error: str) -> PhotoResult:
    return PhotoResult(name, (), (_row(name, status=status, error=error),))


def _row(name: str, **known: Any) -> Row:
    return dict.fromkeys(COLUMNS) | {"path": name} | known


def _face_row(name: str, number: int, face: FacePrediction) -> Row:
    x0, y0, x1, y1 = map(float, face.box)
    low, high = map(float, face.interval)
    return _row(
        name,
        face=number,
        x0=x0,
        y0=y0,
        x1=x1,
        y1=y1,
        detection_score=None if face.detection_score is None else float(face.detection_score),
        age=float(face.age),
        age_low=low,
        age_high=high,
        initial_age=float(face.initial_age),
        iterations=face.iterations,
        status=face.status,
        over_18=face.over(ADULT),
        caveat=face.caveat or None,
    )
