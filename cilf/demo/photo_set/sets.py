"""The photo sets in work: every page's rows, and the zip file or video that its photos come from.

A photo comes as bytes and is never on the disk. What stays of it until the page is left is its rows, for the table; the
thumbnails live in the browser alone.
"""

import errno
import io
import re
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from gradio.utils import get_upload_folder

from cilf.demo import texts
from cilf.demo.limits import (
    ARCHIVE_IDLE_S,
    MAX_ALL_PHOTOS,
    MAX_ARCHIVES,
    MAX_SET_PHOTOS,
    MAX_SETS,
    MAX_VIDEO_S,
    MAX_VIDEOS,
)
from cilf.demo.server.model_host import Estimator, ModelHost
from cilf.demo.server.priority import VISITORS_FIRST
from cilf.demo.server.sessions import SessionStore
from cilf.demo.uploads.images import Upload
from cilf.demo.uploads.zip_archive import Archive
from cilf.errors import PhotoError, UsageError
from cilf.photo_set.results import COLUMNS, PhotoResult, Row, unreadable
from cilf.photo_set.table import write_table
from cilf.video.frames import Frame, Video
from cilf.video.people import VIDEO_COLUMNS, People

TABLE_KINDS = ("csv", "json", "parquet")

# Where a cell may begin, also for a program that separates cells by semicolons, and what begins a formula there.
_FORMULA = re.compile(r"(^|[;\t|])(?=[=+\-@\t\r])")

Key = tuple[int, int]
"""Where a photo stands in its set: the place of the file, and in a zip file the place of the member."""


class OpenVideo:
    """A video of a set, frame by frame.

    Args:
        file: closed with the video.
        place: of the file in its set.
        name: of the file.
        estimator: predicts all of its frames.

    Raises:
        PhotoError: it cannot be used; `file` stays the caller's.
    """

    def __init__(self, file: BinaryIO, place: int, name: str, estimator: Estimator) -> None:
        file.flush()  # another process reads it
        self.key = (place, 0)
        self.name = name
        self.done = 0
        self._file = file
        self._video = Video(file, name, seconds=MAX_VIDEO_S)
        self._people = People(estimator)

    @property
    def share(self) -> float:
        """How much of it is done, in [0, 1]; 0 where the file does not say how long it is."""
        return min(self.done / self._video.frames, 1.0) if self._video.frames else 0.0

    def next_frame(self) -> Frame | PhotoResult:
        """Wait for the next frame; after the last one what the video gave."""
        try:
            return self._video.next_frame() or self._people.result(self.name)
        except PhotoError as error:
            return unreadable(self.name, error)

    def add(self, frame: Frame) -> None:
        """Find and estimate the faces of a frame."""
        with VISITORS_FIRST.other():
            self._people.add(frame)
        self.done += 1

    def close(self) -> None:
        self._video.close()
        self._file.close()


class PhotoSet:
    """One page's set: its rows in the order of the visitor's files, and the zip file or video that is open, if any.

    Calls may come from several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reading = threading.Lock()  # a zip file is not closed while a photo is being read from it
        self._rows: dict[Key, tuple[Row, ...]] = {}
        self._archive: tuple[io.BufferedIOBase, Iterator[tuple[Key, Upload]]] | None = None
        self.video: OpenVideo | None = None
        self._drawn = 0.0
        self._calls = 0
        self._last_call = time.monotonic()
        self.receives_archive = False
        self.opens_video = False
        self.forgotten = False

    @property
    def has_archive(self) -> bool:
        """Whether a zip file or a video is open."""
        return self._archive is not None or self.video is not None

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """A call of its page."""
        with self._lock:
            self._calls += 1
        try:
            yield
        finally:
            with self._lock:
                self._calls -= 1
                self._last_call = time.monotonic()

    def is_idle(self, seconds: float) -> bool:
        """Whether its page has asked for nothing for so long."""
        with self._lock:
            return not self._calls and time.monotonic() - self._last_call > seconds

    def add(self, key: Key, rows: tuple[Row, ...]) -> None:
        """Remember the rows of a photo."""
        with self._lock:
            self._rows[key] = rows

    def open_archive(self, file: io.BufferedIOBase, place: int, name: str) -> int:
        """Read the next photos from a zip file; `file` is closed when they are through. Gives their number.

        Raises:
            PhotoError: it cannot be used; `file` stays the caller's.
        """
        self.close_archive()
        archive = Archive(file, name)
        self._archive = (file, (((place, number), each) for number, each in enumerate(archive.photos())))
        return len(archive)

    def next_member(self) -> tuple[Key, Upload] | None:
        """Unpack the open zip file's next photo; None when it is through, or was closed."""
        with self._reading:
            member = next(self._archive[1], None) if self._archive else None
        if member is None:
            self.close_archive()
        return member

    def close_archive(self) -> None:
        """Drop the open zip file or video, if any."""
        with self._reading:
            archive, self._archive = self._archive, None
            if archive is not None:
                archive[0].close()
        video, self.video = self.video, None
        if video is not None:
            video.close()

    def discard(self) -> None:
        """Empty it for good: what is still on its way to it is no longer taken."""
        self.forgotten = True
        self.clear()

    def clear(self) -> None:
        """Begin with an empty set."""
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
        """Photos with rows so far."""
        return len(self._rows)

    def export(self, kind: str) -> bytes:
        """The rows as a file: `csv`, `json` or `parquet`, as the command line writes them.

        Raises:
            UsageError: there is no such kind.
            OSError: the disk is full.
        """
        if kind not in TABLE_KINDS:
            raise UsageError(f"there is no table '{kind}'; ask for {', '.join(TABLE_KINDS)}")
        rows = map(_without_formulas, self.rows()) if kind == "csv" else self.rows()
        with tempfile.TemporaryDirectory(prefix="table-", dir=get_upload_folder()) as name:
            output = Path(name) / f"ages.{kind}"
            try:
                write_table(rows, output, self._columns())
            except UsageError as error:  # whose sentence names a folder of this computer
                raise OSError(errno.ENOSPC, "the table cannot be written") from error
            return output.read_bytes()

    def _columns(self) -> tuple[str, ...]:
        return (*COLUMNS, *(VIDEO_COLUMNS if any("frames" in row for row in self.rows()) else ()))


def _without_formulas(row: Row) -> Row:
    """The row for a CSV file, with an apostrophe before what spreadsheet programs would take for a formula.

    Which cells they do: OWASP, CSV Injection.
    """
    return {
        column: _FORMULA.sub(r"\1'", value) if isinstance(value, str) else value
        for column, value in row.items()
    }


class PhotoSets(SessionStore[PhotoSet]):
    """The sets of all pages, each found by a token that its page alone knows.

    A set is forgotten when its page is left; the set longest unused first, when all together pass `max_photos` after
    `seconds` without use; and the oldest one, an empty one first, when there are `MAX_SETS`. A zip file or video whose
    page asks for no more of it is closed after `idle` seconds.

    Args:
        host: gives the estimator, once it is loaded.
        seconds: how long a set is safe from being forgotten for others' sake.
        max_photos: photos whose rows are remembered, of all pages together; a row takes about a kilobyte.
        idle: see above.
        clock: gives the time in seconds.
    """

    def __init__(
        self,
        host: ModelHost,
        seconds: float = 900.0,
        max_photos: int = MAX_ALL_PHOTOS,
        idle: float = ARCHIVE_IDLE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(seconds, clock)
        self.host = host
        self._max_photos = max_photos
        self._idle = idle
        self._token_of: dict[str, str] = {}
        self._receiving = 0  # zip files and videos on their way, also to sets that were forgotten meanwhile

    def open(self, page: str) -> str:
        """Make a set for a page (its session), and give its token."""
        self.forget(page)
        token = secrets.token_urlsafe(18)
        with self._lock:
            while len(self._token_of) >= MAX_SETS:
                pages = self._token_of.items()
                self.forget(
                    next((each for each, of in pages if not self._state(of)), next(iter(self._token_of)))
                )
            self._token_of[page] = token
            self._keep(token, PhotoSet())
        return token

    def get(self, token: str) -> PhotoSet | None:
        """The set with this token, or None when it was forgotten."""
        with self._lock:
            photo_set = self._state(token)
            if photo_set is None:
                return None
            self._keep(token, photo_set)
            forgotten = self._make_room()
        for each in forgotten:
            each.discard()
        return photo_set

    def forget(self, page: str) -> None:
        """Drop a page's set."""
        with self._lock:
            token = self._token_of.pop(page, "")
            photo_set = self._state(token)
            super().forget(token)
        if photo_set is not None:
            photo_set.discard()

    def forget_old(self) -> None:
        """Close the zip files and videos that nobody asks for any more; called now and then."""
        with self._lock:
            sets = [photo_set for _, photo_set in self._states.values()]
        for photo_set in sets:
            if photo_set.has_archive and photo_set.is_idle(self._idle):
                photo_set.close_archive()

    @property
    def archives_full(self) -> bool:
        """Whether as many zip files and videos as may be are open or on their way."""
        with self._lock:
            return self._archives() >= MAX_ARCHIVES

    def _archives(self) -> int:
        return self._receiving + sum(each.has_archive for _, each in self._states.values())

    def check_room(self, photo_set: PhotoSet) -> None:
        """Make sure that a set may have one more photo.

        Raises:
            UsageError: it has as many as a set may have, or all together have.
        """
        if len(photo_set) >= MAX_SET_PHOTOS:
            raise UsageError(texts.SET_FULL)
        with self._lock:
            if self._photos() > self._max_photos:
                raise UsageError(texts.BUSY)

    def open_video(self, photo_set: PhotoSet, file: BinaryIO, place: int, name: str) -> int:
        """Read the next photos of a set from a video, as `PhotoSet.open_archive` does. Gives 1.

        Raises:
            UsageError: as many videos as may be are open, or the set is full.
            PhotoError: it cannot be used; `file` stays the caller's.
        """
        self.check_room(photo_set)
        with self._lock:
            others = [each for _, each in self._states.values()]
            if sum(each.opens_video or each.video is not None for each in others) >= MAX_VIDEOS:
                raise UsageError(texts.BUSY)
            photo_set.opens_video = True
        try:
            photo_set.video = OpenVideo(file, place, name, self.host.get())
        finally:
            photo_set.opens_video = False
        return 1

    @contextmanager
    def receiving_archive(self, photo_set: PhotoSet) -> Iterator[None]:
        """Let a set receive a zip file or a video, in place of the one that is open.

        Raises:
            UsageError: it receives one already, or as many as may be are open.
        """
        photo_set.close_archive()
        with self._lock:
            if photo_set.receives_archive:
                raise UsageError(texts.SET_ARCHIVE)
            if self._archives() >= MAX_ARCHIVES:
                raise UsageError(texts.BUSY)
            photo_set.receives_archive = True
            self._receiving += 1
        try:
            yield
        finally:
            with self._lock:
                photo_set.receives_archive = False
                self._receiving -= 1
            if photo_set.forgotten:
                photo_set.close_archive()

    def _photos(self) -> int:
        return sum(len(photo_set) for _, photo_set in self._states.values())

    def _make_room(self) -> list[PhotoSet]:
        photos = self._photos()
        forgotten = []
        for token, oldest in self._unused():
            if photos <= self._max_photos:
                break
            del self._states[token]
            photos -= len(oldest)
            forgotten.append(oldest)
        return forgotten
