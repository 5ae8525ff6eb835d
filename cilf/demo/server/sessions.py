"""What the page remembers of each visitor: the photo in view and its faces, or the photo that waits to be looked at. In
memory alone and not for long."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cilf.demo.server.model_host import Estimator
from cilf.demo.uploads.images import Sent
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

    def __init__(self) -> None:
        self.waits = False  # whether the photo is there and nobody looks at it yet


class Visits:
    """The photos in view or waiting to be looked at, one per open page.

    A photo is forgotten when its page is left or begins with another one, when it was not used for `seconds`, and, the
    one longest unused first, when all together pass `max_bytes`; those in view make room before those that wait, and of
    these the latest first: the others are nearer to their turn.

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
        self._waiting: OrderedDict[str, tuple[float, Sent]] = OrderedDict()
        self._tickets: dict[str, Ticket] = {}

    def begin(self, page: str) -> Ticket:
        """Drop what `page` (its session) shows, and give the ticket for what it will show next."""
        ticket = Ticket()
        with self._lock:
            self._drop(page)
            self._tickets[page] = ticket
        return ticket

    def arrive(self, page: str, ticket: Ticket, sent: Sent) -> bool:
        """Keep the photo that `ticket` is for until somebody looks at it.

        Returns:
            Whether it counts, as for `put`.
        """
        with self._lock:
            if self._tickets.get(page) is not ticket:
                return False
            ticket.waits = True
            self._waiting[page] = (self._clock(), sent)
            self._make_room(page)
            return True

    def claim(self, page: str) -> Ticket | None:
        """The ticket of the photo of `page` that waits, for whoever looks at it; None where none waits any more."""
        with self._lock:
            ticket = self._tickets.get(page)
            if ticket is None or not ticket.waits:
                return None
            ticket.waits = False
            return ticket

    def collect(self, page: str, ticket: Ticket) -> Sent | None:
        """Hand out the photo that `ticket` is for; None when it was forgotten meanwhile."""
        with self._lock:
            self._forget_old()
            if self._tickets.get(page) is not ticket or page not in self._waiting:
                return None
            return self._waiting.pop(page)[1]

    def put(self, page: str, ticket: Ticket, visit: Visit | None) -> bool:
        """Remember `visit` as what `page` shows; None where nothing came of the photo.

        Returns:
            Whether it counts: False where the page has begun with another photo, was emptied or was left since `ticket`
            was given; nothing is remembered then.
        """
        with self._lock:
            if self._tickets.get(page) is not ticket:
                return False
            self._drop(page)
            if visit is not None:
                self._visits[page] = (self._clock(), visit)
                self._make_room(page)
            self._forget_old()
            return True

    def has_begun(self, page: str) -> bool:
        """Whether a photo of `page` is being looked at, or waits for it."""
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
            self._drop(page)

    def forget_old(self) -> None:
        """Drop what has lain unused for too long; called now and then, since nobody else may come for a long time."""
        with self._lock:
            self._forget_old()

    def _drop(self, page: str) -> None:
        self._visits.pop(page, None)
        self._waiting.pop(page, None)
        self._tickets.pop(page, None)

    def _bytes(self) -> int:
        in_view = sum(visit.photo.nbytes for _, visit in self._visits.values())
        return in_view + sum(len(sent.data) for _, sent in self._waiting.values())

    def _make_room(self, newest: str) -> None:
        self._forget_old()
        waiting = list(reversed(self._waiting))
        for kept, pages in ((self._visits, list(self._visits)), (self._waiting, waiting)):
            for page in pages:
                if self._bytes() <= self._max_bytes:
                    return
                if page != newest:
                    del kept[page]

    def _forget_old(self) -> None:
        limit = self._clock() - self._seconds
        for kept in (self._visits, self._waiting):
            while kept and next(iter(kept.values()))[0] < limit:
                kept.popitem(last=False)
