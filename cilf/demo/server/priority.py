"""Visitors of the page compute before photo sets and programs do."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cilf.child_process import available_processors
from cilf.demo import limits

# For so long after a visitor's photo the next one is expected.
MOMENT_S = 30.0


class VisitorsFirst:
    """Decides which threads may decode and predict a photo now.

    A visitor's photo never waits here: Gradio's line lets few in at once. Any other one waits until no visitor's is in
    work, or until it has waited for long enough, and then until one of the places for others is free. Once begun it
    goes on beside a visitor's photo; where visitors come often, one place stays free of others.

    Args:
        places: photos of others in work at once, of which one less counts where a visitor's was in work a moment ago.
        patience: seconds after which a photo no longer lets visitors pass.
        clock: gives the time in seconds.
    """

    def __init__(self, places: int, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._places = places
        self._patience = patience
        self._clock = clock
        self._changed = threading.Condition()
        self._visitors = self._others = 0
        self._last_visit = -math.inf
        self.waiting = 0

    @contextmanager
    def visitor(self) -> Iterator[None]:
        """The block computes for a visitor who waits for this photo."""
        with self._changed:
            self._visitors += 1
        try:
            yield
        finally:
            with self._changed:
                self._visitors -= 1
                self._last_visit = self._clock()
                self._changed.notify_all()

    @contextmanager
    def other(self) -> Iterator[None]:
        """The block computes a photo of a set, or for a program; it begins when its turn has come."""
        with self._changed:
            self._wait()
            self._others += 1
        try:
            yield
        finally:
            with self._changed:
                self._others -= 1
                self._changed.notify_all()

    def _wait(self) -> None:
        end = self._clock() + self._patience
        self.waiting += 1
        try:
            while self._others >= self._room() or (self._visitors and self._clock() < end):
                self._changed.wait(max(end - self._clock(), 0) or None)
        finally:
            self.waiting -= 1

    def _room(self) -> int:
        """Places for others now."""
        recent = self._clock() - self._last_visit < MOMENT_S
        return max(self._places - recent, 1)


VISITORS_FIRST = VisitorsFirst(available_processors(), limits.GIVE_WAY_S)
