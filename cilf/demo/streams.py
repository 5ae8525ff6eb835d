"""What the page remembers of each visitor who is live: the tracked faces, in memory alone, and for seconds."""

import threading
import time
from collections.abc import Callable

from cilf.errors import CilfError
from cilf.tracking import FaceTracker


class Streams:
    """The live pictures in progress, one per open page. Safe to share between threads.

    Args:
        most: so many at once; frames of more would only wait for each other.
        idle: a stream without a frame for so many seconds is forgotten.
        clock: gives the time in seconds.
    """

    def __init__(
        self, most: int = 8, idle: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = most
        self._idle = idle
        self._clock = clock
        self._lock = threading.Lock()
        self._streams: dict[str, tuple[float, FaceTracker]] = {}

    def tracker(self, page: str, first: bool = False) -> FaceTracker:
        """Who follows the faces of `page` (its session); a new one for the first frame, or after a long pause.

        Raises:
            CilfError: as many pages as can be served are live.
        """
        with self._lock:
            now = self._clock()
            self._streams = {
                key: stream for key, stream in self._streams.items() if now - stream[0] <= self._idle
            }
            if page not in self._streams and len(self._streams) >= self._most:
                raise CilfError(
                    f"{self._most} visitors are live, as many as this computer can serve; try again in a minute"
                )
            known = self._streams.get(page)
            tracker = FaceTracker() if first or known is None else known[1]
            self._streams[page] = (now, tracker)
            return tracker

    def forget(self, page: str) -> None:
        """The stream of `page` has ended."""
        with self._lock:
            self._streams.pop(page, None)

    def __len__(self) -> int:
        with self._lock:
            return len(self._streams)
