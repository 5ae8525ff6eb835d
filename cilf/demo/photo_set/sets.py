"""The photo sets in work: every page's rows, and how a photo becomes a row and its picture on the page.

A photo comes as bytes and is never on the disk. What stays of it until the page is left is its rows, for the table; the
thumbnails live in the browser alone.
"""

import io
import secrets
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from cilf.demo.server.model_host import Estimator, ModelHost
from cilf.demo.uploads.zip_archive import Archive
from cilf.errors import UsageError
from cilf.photo_set import Row, predict_photos, write_table
from cilf.prediction import FacePrediction, NoFace

TABLE_KINDS = ("csv", "json", "parquet")

Key = tuple[int, int]
"""Where a photo stands in its set: the place of the file, and in a zip file the place of the member."""


@runtime_checkable
class Photo(Protocol):
    """A photo that is read when its turn comes."""

    def take(self) -> np.ndarray:
        """HxWx3 uint8 RGB, upright. Raises `PhotoError` with the visitor's own name of it."""
        ...


@dataclass(frozen=True)
class Looked:
    """What came of one photo: its rows, and the faces that belong to the rows in which one was measured."""

    rows: tuple[Row, ...]
    faces: tuple[FacePrediction, ...]


class PhotoSet:
    """One page's set: its rows in the order of the visitor's files, and the zip file that is open, if any.

    Calls may come from several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reading = threading.Lock()  # a zip file is not closed while a photo is being read from it
        self._rows: dict[Key, tuple[Row, ...]] = {}
        self._archive: tuple[io.BufferedIOBase, Iterator[tuple[Key, str, Photo]]] | None = None
        self._drawn = 0.0

    def look(self, estimator: Estimator, key: Key, name: str, photo: Photo) -> Looked:
        """Judge one photo and remember its rows; a photo that cannot be read gives a row that says so.

        Raises:
            CilfError: the detector or the weights fail, which no other photo would survive either.
        """
        taker = _Taker(estimator)
        with self._reading:
            looked = Looked(tuple(predict_photos(taker, [(name, photo)])), tuple(taker.faces))
        with self._lock:
            self._rows[key] = looked.rows
        return looked

    def open_archive(self, file: io.BufferedIOBase, place: int, name: str) -> int:
        """Take the photos of a zip file as the next ones; `file` is closed when they are through. Gives their number.

        Raises:
            PhotoError: it cannot be used; `file` stays the caller's.
        """
        self.close_archive()
        archive = Archive(file, name)
        members = (((place, number), *each) for number, each in enumerate(archive.photos()))
        with self._lock:
            self._archive = (file, members)
        return len(archive)

    def next_member(self) -> tuple[Key, str, Photo] | None:
        """The open zip file's next photo; None when it is through, or was closed."""
        with self._lock:
            if self._archive is None:
                return None
            found = next(self._archive[1], None)
        if found is None:
            self.close_archive()
        return found

    def close_archive(self) -> None:
        """Drop the open zip file, if any."""
        with self._lock:
            archive, self._archive = self._archive, None
        if archive is not None:
            with self._reading:
                archive[0].close()

    def clear(self) -> None:
        """Begin anew."""
        self.close_archive()
        with self._lock:
            self._rows.clear()

    def rows(self) -> list[Row]:
        """All rows so far, in the order of the visitor's files."""
        with self._lock:
            return [row for key in sorted(self._rows) for row in self._rows[key]]

    def is_due(self, seconds: float) -> bool:
        """Whether so long has passed since this was last answered with yes."""
        now = time.monotonic()
        with self._lock:
            due = now - self._drawn >= seconds
            if due:
                self._drawn = now
        return due

    def __len__(self) -> int:
        """Photos looked at so far."""
        return len(self._rows)

    def table(self, kind: str) -> bytes:
        """The rows as a file: `csv`, `json` or `parquet`, as the command line writes them.

        Raises:
            UsageError: there is no such kind.
        """
        if kind not in TABLE_KINDS:
            raise UsageError(f"there is no table '{kind}'; ask for {', '.join(TABLE_KINDS)}")
        with tempfile.TemporaryDirectory(prefix="cilf-") as folder:
            output = Path(folder) / f"ages.{kind}"
            write_table(self.rows(), output)
            return output.read_bytes()


class PhotoSets:
    """The sets of all pages, each found by a token that its page alone knows.

    A set is forgotten when its page is left, and, the one longest unused first, when all together pass `max_photos`
    after `seconds` without use.

    Args:
        host: gives the estimator, once it is loaded.
        seconds: how long a set is safe from being forgotten for others' sake.
        max_photos: photos whose rows are remembered, of all pages together; a row takes about a kilobyte.
        clock: gives the time in seconds.
    """

    def __init__(
        self,
        host: ModelHost,
        seconds: float = 900.0,
        max_photos: int = 200_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.host = host
        self._seconds = seconds
        self._max_photos = max_photos
        self._clock = clock
        self._lock = threading.Lock()
        self._token_of: dict[str, str] = {}
        self._sets: OrderedDict[str, tuple[float, PhotoSet]] = OrderedDict()

    def open(self, page: str) -> str:
        """Make a set for a page (its session), and give its token."""
        self.forget(page)
        token = secrets.token_urlsafe(18)
        with self._lock:
            self._token_of[page] = token
            self._sets[token] = (self._clock(), PhotoSet())
        return token

    def get(self, token: str) -> PhotoSet | None:
        """The set with this token, or None when it was forgotten."""
        with self._lock:
            if token not in self._sets:
                return None
            _, found = self._sets.pop(token)
            self._sets[token] = (self._clock(), found)
            forgotten = self._forget_old()
        for each in forgotten:
            each.clear()
        return found

    def forget(self, page: str) -> None:
        """Drop a page's set."""
        with self._lock:
            token = self._token_of.pop(page, None)
            found = self._sets.pop(token, None) if token else None
        if found is not None:
            found[1].clear()

    def _forget_old(self) -> list[PhotoSet]:
        limit = self._clock() - self._seconds
        photos = sum(len(each) for _, each in self._sets.values())
        forgotten = []
        while photos > self._max_photos and next(iter(self._sets.values()))[0] < limit:
            _, (_, oldest) = self._sets.popitem(last=False)
            photos -= len(oldest)
            forgotten.append(oldest)
        return forgotten


class _Taker:
    """The estimator as `predict_photos` calls it: reads the photo, and keeps the faces for the page's thumbnails."""

    def __init__(self, estimator: Estimator) -> None:
        self._estimator = estimator
        self.faces: list[FacePrediction] = []

    def predict(self, photo: Photo, *, no_face: NoFace) -> list[FacePrediction]:
        self.faces = self._estimator.predict(photo.take(), no_face=no_face)
        return self.faces
