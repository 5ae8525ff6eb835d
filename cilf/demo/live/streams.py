"""What the page remembers of each visitor who is live: the tracked faces, in memory alone, and for seconds."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from cilf.demo.server.sessions import SessionStore
from cilf.errors import CilfError
from cilf.tracking import FaceTracker


@dataclass
class Stream:
    """A live picture in progress: since when, in seconds, and its tracked faces."""

    began: float
    tracker: FaceTracker


class Streams(SessionStore[Stream]):
    """The live pictures in progress, one per open page. Safe to share between threads.

    When all places are taken, a newcomer gets that of the page that has been live longest, if that is long enough: a
    visitor who leaves the picture running keeps nobody out.

    Args:
        most: so many at once; frames of more would only wait for each other.
        idle: a stream without a frame for so many seconds is forgotten.
        turn: for so many seconds nobody loses a place.
        clock: gives the time in seconds.
    """

    def __init__(
        self,
        most: int = 8,
        idle: float = 10.0,
        turn: float = 120.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(idle, clock)
        self._most = most
        self._turn = turn
        self._over: dict[str, float] = {}  # who lost a place and was not told yet, and when

    def tracker(self, page: str, first: bool = False) -> FaceTracker:
        """The tracker of the faces of `page` (its session); a new one for the first frame, or after a long pause.

        Raises:
            CilfError: as many pages as can be served are live, or another one has got this one's place.
        """
        with self._lock:
            self.forget_old()
            if self._over.pop(page, None) is not None and not first:
                raise CilfError(
                    "all places were taken and you have been live longest, so somebody else got yours; press Start to "
                    "go on"
                )
            stream = self._state(page)
            if stream is None:
                self._make_room()
                stream = Stream(self._clock(), FaceTracker())
            elif first:
                stream.tracker = FaceTracker()
            self._keep(page, stream)
            return stream.tracker

    def restart(self) -> None:
        """Let every stream begin with new faces; it keeps its place."""
        with self._lock:
            for _, stream in self._states.values():
                stream.tracker = FaceTracker()

    def forget(self, page: str) -> None:
        """Drop the stream of `page`, which has ended."""
        with self._lock:
            super().forget(page)
            self._over.pop(page, None)

    def forget_old(self) -> None:
        """Drop the streams that have ended; called now and then, since nobody else may come for a long time."""
        with self._lock:
            for page, _ in self._unused():
                del self._states[page]
            now = self._clock()
            self._over = {page: at for page, at in self._over.items() if now - at <= self._turn}

    def _make_room(self) -> None:
        if len(self) < self._most:
            return
        began, longest = min((stream.began, page) for page, (_, stream) in self._states.items())
        if self._clock() - began < self._turn:
            raise CilfError(
                f"{self._most} visitors are live, as many as this computer can serve; try again in a minute"
            )
        del self._states[longest]
        self._over[longest] = self._clock()
