"""Who gets a place in Gradio's line: no caller fills it for everybody, and programs let visitors pass."""

import time
from collections.abc import Callable, Iterator

from gradio.queueing import Event, Queue

from cilf.demo import limits

_LOOK_S = 0.05


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


def give_way(queue: Callable[[], Queue]) -> None:
    """Wait, in a program's thread, while visitors of the page wait in line; no longer than `limits.GIVE_WAY_S`."""
    end = time.monotonic() + limits.GIVE_WAY_S
    while time.monotonic() < end and not all(map(is_program, _waiting(queue()))):
        time.sleep(_LOOK_S)


def _waiting(queue: Queue) -> Iterator[Event]:
    for line in list(queue.event_queue_per_concurrency_id.values()):
        yield from list(line.queue)


def _client(event: Event) -> str:
    # The own proxy's entry is the last one; those before it are what the client says.
    addresses = event.request.headers.get(limits.CLIENT_HEADER, "") if limits.CLIENT_HEADER else ""
    return addresses.rpartition(",")[2].strip() or event.session_hash
