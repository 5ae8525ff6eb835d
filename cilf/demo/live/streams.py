"""What the page remembers of each visitor who is live: the tracked faces, in memory alone, and for seconds."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from cilf.errors import CilfError
from cilf.tracking import FaceTracker


@dataclass
class _Stream:
    began: float
    seen: float  # its newest frame
    tracker: FaceTracker


class Streams:
    """The live pictures in progress, one per open page. Safe to share between threads.

    When all places are taken, a newcomer gets that of whoever has been live longest, if that is long enough: somebody
    who leaves the picture running keeps nobody out.

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
        self._most = most
        self._idle = idle
        self._turn = turn
        self._clock = clock
        self._lock = threading.Lock()
        self._streams: dict[str, _Stream] = {}
        self._over: dict[str, float] = {}  # who lost a place and was not told yet, and when

    def tracker(self, page: str, first: bool = False) -> FaceTracker:
        """Who follows the faces of `page` (its session); a new one for the first frame, or after a long pause.

        Raises:
            CilfError: as many pages as can be served are live, or another one has got this one's place.
        """
        with self._lock:
            now = self._clock()
            self._forget_old(now)
            if self._over.pop(page, None) is not None and not first:
                raise CilfError(
                    "all places were taken and you have been live longest, so somebody else got yours; press Start to "
                    "go on"
                )
            known = self._streams.get(page)
            if known is None:
                self._find_place(now)
                known = self._streams[page] = _Stream(now, now, FaceTracker())
            elif first:
                known.tracker = FaceTracker()
            known.seen = now
            return known.tracker

    def begin_anew(self) -> None:
        """Let every stream begin with new faces; it keeps its place."""
        with self._lock:
            for stream in self._streams.values():
                stream.tracker = FaceTracker()

    def forget(self, page: str) -> None:
        """The stream of `page` has ended."""
        with self._lock:
            self._streams.pop(page, None)
            self._over.pop(page, None)

    def forget_old(self) -> None:
        """Drop the streams that have ended; called now and then, since nobody else may come for a long time."""
        with self._lock:
            self._forget_old(self._clock())

    def _forget_old(self, now: float) -> None:
        self._streams = {
            key: stream for key, stream in self._streams.items() if now - stream.seen <= self._idle
        }
        self._over = {key: at for key, at in self._over.items() if now - at <= self._turn}

    def _find_place(self, now: float) -> None:
        if len(self._streams) < self._most:
            return
        longest = min(self._streams, key=lambda page: self._streams[page].began)
        if now - self._streams[longest].began < self._turn:
            raise CilfError(
                f"{self._most} visitors are live, as many as this computer can serve; try again in a minute"
            )
        del self._streams[longest]
        self._over[longest] = now

    def __len__(self) -> int:
        with self._lock:
            return len(self._streams)
