"""What the page remembers of each visitor: the photo in view and its faces, in memory alone and not for long."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cilf.demo.loading import Estimator
from cilf.prediction import FacePrediction


@dataclass(frozen=True, eq=False)
class Visit:
    """A visitor's photo (HxWx3 uint8, upright) and the faces found in it, left to right.

    `estimator` is the one that found them: prompts are scored by it even when the page has other weights by then.
    `prompts` is what stood in the editor when the photo came, and was scored first.
    """

    photo: np.ndarray
    faces: tuple[FacePrediction, ...]
    estimator: Estimator
    prompts: str


class Ticket:
    """Permits to put what was found in one photo; only the newest one of a page is good, and only once."""


class Visits:
    """The photos in view, one per open page.

    A photo is forgotten when its page is left or begins with another one, when it was not used for `seconds`, and, the
    one longest unused first, when all together pass `max_bytes`.

    Looking at a photo takes a while, in which the visitor may choose another one, empty the page or leave it. So
    whoever looks takes a ticket before, and what was found counts only if nothing else happened on the page since.

    Args:
        seconds: how long a photo may lie unused.
        max_bytes: memory that all photos may take together; the newest is kept in any case.
        clock: gives the time in seconds.
    """

    def __init__(
        self, seconds: float = 900.0, max_bytes: int = 1 << 30, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._max_bytes = max_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._visits: OrderedDict[str, tuple[float, Visit]] = OrderedDict()
        self._tickets: dict[str, Ticket] = {}

    def begin(self, page: str) -> Ticket:
        """Drop what `page` (its session) shows, and give the ticket for what it will show next."""
        ticket = Ticket()
        with self._lock:
            self._visits.pop(page, None)
            self._tickets[page] = ticket
        return ticket

    def put(self, page: str, ticket: Ticket, visit: Visit | None) -> bool:
        """Remember `visit` as what `page` shows; None where nothing came of the photo.

        Returns:
            Whether it counts: False where the page has begun with another photo, was emptied or was left since `ticket`
            was given; nothing is remembered then.
        """
        with self._lock:
            if self._tickets.get(page) is not ticket:
                return False
            del self._tickets[page]
            if visit is not None:
                self._visits[page] = (self._clock(), visit)
            self._forget_old()
            while len(self._visits) > 1 and self._bytes() > self._max_bytes:
                self._visits.popitem(last=False)
            return True

    def has_begun(self, page: str) -> bool:
        """Whether a photo of `page` is being looked at."""
        with self._lock:
            return page in self._tickets

    def get(self, page: str) -> Visit | None:
        """What `page` shows, or None when nothing is remembered of it."""
        with self._lock:
            self._forget_old()
            if page not in self._visits:
                return None
            _, visit = self._visits.pop(page)
            self._visits[page] = (self._clock(), visit)
            return visit

    def forget(self, page: str) -> None:
        """Drop what `page` shows, and what it was about to show."""
        with self._lock:
            self._visits.pop(page, None)
            self._tickets.pop(page, None)

    def _bytes(self) -> int:
        return sum(visit.photo.nbytes for _, visit in self._visits.values())

    def _forget_old(self) -> None:
        limit = self._clock() - self._seconds
        while self._visits and next(iter(self._visits.values()))[0] < limit:
            self._visits.popitem(last=False)
