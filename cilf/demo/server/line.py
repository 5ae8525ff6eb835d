"""Who gets a place in Gradio's line: no caller fills it for everybody, and answers are not kept for nobody."""

import sys
import time
from collections.abc import Callable, Iterator

from gradio.queueing import Event, Queue

from cilf.demo import limits

# What a program reads that finds no place.
FULL = "Queue is full for this caller."


def is_program(event: Event) -> bool:
    """Whether an endpoint for programs is asked for, and not a private one of the page's own."""
    return bool(event.fn.api_visibility == "public")


def is_full(queue: Queue, event: Event) -> bool:
    """Whether `event` gets no place beside those that wait already.

    Programs have `limits.MAX_PROGRAMS` places together. A page session has `limits.MAX_WAITING`; in its place a
    client's address, where a setting names the header in which the own proxy writes it.
    """
    waiting = list(_waiting(queue))
    if is_program(event) and sum(map(is_program, waiting)) >= limits.MAX_PROGRAMS:
        return True
    mine = _client(event)
    return sum(_client(other) == mine for other in waiting) >= limits.MAX_WAITING


class Unread:
    """Drops answers that nobody fetches, and what else Gradio keeps of their sessions.

    Gradio keeps it without end, and of 2,000 sessions drops the oldest one, even where it still waits in line, and then
    the error that follows ends the whole queue.

    Args:
        queue: Gradio's.
        seconds: so long, and at most twice as long, an answer waits to be fetched.
        clock: gives the time in seconds.
    """

    def __init__(
        self, queue: Queue, seconds: float = 30.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._queue, self._seconds, self._clock = queue, seconds, clock
        queue.pending_messages_per_session.max_size = sys.maxsize
        self._last = clock()
        self._idle: set[str] = set()

    def forget_old(self) -> None:
        """Drop what is due; called now and then, on the event loop."""
        now = self._clock()
        if now - self._last < self._seconds:
            return
        messages, queue = self._queue.pending_messages_per_session, self._queue
        idle = messages.keys() - {event.session_hash for event in queue.event_ids_to_events.values()}
        for session in idle & self._idle:
            del messages[session]
            queue.pending_event_ids_session.pop(session, None)
        self._last, self._idle = now, idle


def _waiting(queue: Queue) -> Iterator[Event]:
    for line in list(queue.event_queue_per_concurrency_id.values()):
        yield from list(line.queue)


def _client(event: Event) -> str:
    # The own proxy's entry is the last one; those before it are what the client says.
    # Some proxies add a line of their own below the client's.
    lines = event.request.headers.getlist(limits.CLIENT_HEADER) if limits.CLIENT_HEADER else []
    addresses = ",".join(lines)
    return addresses.rpartition(",")[2].strip() or event.session_hash
