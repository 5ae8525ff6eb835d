"""Work handed to a thread that has nothing to do; where all are busy, the caller does it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import TypeVar

Result = TypeVar("Result")


class IdleThreads:
    """Threads beside the caller's own. Safe to share between threads.

    Work is taken by an idle thread or not at all: it never waits behind another visitor's photo.

    Args:
        count: of these threads; with none the caller does all.
    """

    def __init__(self, count: int) -> None:
        self._threads = ThreadPoolExecutor(count, "beside") if count else None
        self._idle = BoundedSemaphore(count) if count else None

    def beside(self, work: Callable[[], Result]) -> Callable[[], Result] | None:
        """Start `work` beside the caller and give what waits for its result; None, and nothing, with no thread idle."""
        if self._threads is None or self._idle is None or not self._idle.acquire(blocking=False):
            return None
        idle = self._idle

        def done_then_idle() -> Result:
            try:
                return work()
            finally:
                idle.release()

        try:
            return self._threads.submit(done_then_idle).result
        except RuntimeError:  # the interpreter is ending and starts no threads
            idle.release()
            return None
