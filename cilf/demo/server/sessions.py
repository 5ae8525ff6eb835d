"""What the page remembers of its visitors, in memory alone and not for long: the store that all tabs use, and the Photo
tab's photos in it."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Generic, TypeVar

import numpy as np

from cilf.demo.limits import MAX_SETS
from cilf.demo.server.model_host import Estimator
from cilf.demo.uploads.images import Upload
from cilf.prediction import FacePrediction

State = TypeVar("State")


class SessionStore(Generic[State]):
    """One state per open page, the longest unused first. Safe to share between threads.

    Subclasses decide what makes room for what; they hold `_lock` meanwhile.

    Args:
        seconds: how long a state is kept, or safe, without use.
        clock: gives the time in seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.RLock()
        self._states: OrderedDict[str, tuple[float, State]] = OrderedDict()

    def forget(self, page: str) -> None:
        """Drop the state of `page` (its session)."""
        with self._lock:
            self._states.pop(page, None)

    def _state(self, page: str) -> State | None:
        entry = self._states.get(page)
        return None if entry is None else entry[1]

    def _keep(self, page: str, state: State) -> None:
        """Make `state` that of the page, used now."""
        self._states[page] = (self._clock(), state)
        self._states.move_to_end(page)

    def _unused(self) -> list[tuple[str, State]]:
        """The states without use for `seconds`."""
        limit = self._clock() - self._seconds
        old = takewhile(lambda entry: entry[1][0] < limit, self._states.items())
        return [(page, state) for page, (_, state) in old]

    def __len__(self) -> int:
        with self._lock:
            return len(self._states)


@dataclass(frozen=True, eq=False)
class Visit:
    """A visitor's photo (HxWx3 uint8, upright) and its faces, left to right.

    `estimator` is the one that predicted them: prompts are scored by it even when the page has other weights by then.
    `prompts` is what stood in the editor when the photo came, and was scored first.
    """

    photo: np.ndarray
    faces: tuple[FacePrediction, ...]
    estimator: Estimator
    prompts: str

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return self.photo.nbytes


@dataclass(eq=False)
class Ticket:
    """Permits to put the prediction of one photo; only the newest ticket of a page is good, and only once.

    Attributes:
        upload: the photo, until its prediction begins.
        waits: whether the photo is there and its prediction has not begun.
        example: key of the page's own example that it is for; "" for the visitor's photo.
    """

    upload: Upload | None = field(default=None, repr=False)
    waits: bool = False
    example: str = ""

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return len(self.upload.data) if self.upload else 0


class Visits(SessionStore[Visit | Ticket]):
    """The photos in view, or waiting for their prediction, one per open page.

    A photo is forgotten when its page is left or begins with another one, when it was not used for `seconds`, and, the
    photo longest unused first, when all together pass `max_bytes`; those in view make room before those that wait, and
    of these the latest first: the others are nearer to their turn.

    There are at most `max_pages`: the one that was longest unused is forgotten.

    A prediction takes a while, in which the visitor may choose another photo, empty the page or leave it. So it takes a
    ticket before, and its result counts only if nothing else happened on the page since.

    Args:
        seconds: how long a photo may lie unused.
        max_bytes: memory that all photos may take together; the newest is kept in any case.
        max_pages: so many pages are remembered.
        clock: gives the time in seconds.
    """

    def __init__(
        self,
        seconds: float = 900.0,
        max_bytes: int = 1 << 30,
        max_pages: int = MAX_SETS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(seconds, clock)
        self._max_bytes = max_bytes
        self._max_pages = max_pages

    def begin(self, page: str, example: str = "") -> Ticket:
        """Drop what `page` (its session) shows, and give the ticket for what it will show next: a photo that will
        arrive, or an example, which is there."""
        ticket = Ticket(waits=bool(example), example=example)
        with self._lock:
            self._keep(page, ticket)
            while len(self._states) > self._max_pages:
                self._drop(next(iter(self._states)))
        return ticket

    def arrive(self, page: str, ticket: Ticket, upload: Upload) -> bool:
        """Keep the photo that `ticket` is for until its prediction begins.

        Returns:
            Whether it counts, as for `put`.
        """
        with self._lock:
            if self._state(page) is not ticket:
                return False
            ticket.upload, ticket.waits = upload, True
            self._keep(page, ticket)
            self._make_room(page)
            return True

    def claim(self, page: str, example: str = "") -> Ticket | None:
        """The ticket of the photo of `page`, or of the example, that waits for its prediction; None where it waits no
        longer."""
        with self._lock:
            ticket = self._state(page)
            if not isinstance(ticket, Ticket) or not ticket.waits or ticket.example != example:
                return None
            ticket.waits = False
            return ticket

    def collect(self, page: str, ticket: Ticket) -> Upload | None:
        """Hand out the photo that `ticket` is for; None when it was forgotten meanwhile."""
        with self._lock:
            self.forget_old()
            if self._state(page) is not ticket:
                return None
            upload, ticket.upload = ticket.upload, None
            return upload

    def put(self, page: str, ticket: Ticket, visit: Visit | None) -> bool:
        """Remember `visit` as what `page` shows; None where nothing came of the photo.

        Returns:
            Whether it counts: False where the page has begun with another photo, was emptied or was left since `ticket`
            was given; nothing is remembered then.
        """
        with self._lock:
            if self._state(page) is not ticket:
                return False
            if visit is None:
                self.forget(page)
            else:
                self._keep(page, visit)
                self._make_room(page)
            return True

    def has_begun(self, page: str) -> bool:
        """Whether a photo of `page` is being predicted, or waits for it."""
        with self._lock:
            return isinstance(self._state(page), Ticket)

    def get(self, page: str) -> Visit | None:
        """What `page` shows, or None when nothing is remembered of it."""
        with self._lock:
            self.forget_old()
            visit = self._state(page)
            if not isinstance(visit, Visit):
                return None
            self._keep(page, visit)
            return visit

    def forget_old(self) -> None:
        """Drop what has lain unused for too long; called now and then, since nobody else may come for a long time."""
        with self._lock:
            for page, _ in self._unused():
                self._drop(page)

    def _drop(self, page: str) -> None:
        _, state = self._states.pop(page)
        if isinstance(state, Ticket):
            state.upload = None  # a prediction may still hold the ticket

    def _release(self, page: str, state: Visit | Ticket) -> int:
        """Give up a photo's memory, and tell how many bytes that were; a ticket stays good."""
        size = state.size
        if isinstance(state, Ticket):
            state.upload = None
        else:
            del self._states[page]
        return size

    def _make_room(self, newest: str) -> None:
        self.forget_old()
        taken = sum(state.size for _, state in self._states.values())
        if taken <= self._max_bytes:
            return
        states = [(page, state) for page, (_, state) in self._states.items() if page != newest]
        in_view = [each for each in states if isinstance(each[1], Visit)]
        waiting = [each for each in reversed(states) if isinstance(each[1], Ticket)]
        for page, state in in_view + waiting:
            if taken <= self._max_bytes:
                return
            taken -= self._release(page, state)
