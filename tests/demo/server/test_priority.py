"""Who may compute now: visitors at once, others when no visitor does."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from cilf.demo.server.priority import MOMENT_S, VisitorsFirst
from tests.demo.conftest import wait_until

FOR_EVER = 1e6


class Clock:
    """Shows the time that is set, and counts how often it is asked: waiters do so each time they try."""

    def __init__(self) -> None:
        self.now, self.asked = 0.0, 0

    def __call__(self) -> float:
        self.asked += 1
        return self.now


@pytest.fixture
def entered() -> list[str]:
    """Names of those who were let in, in their order."""
    return []


@contextmanager
def asking(
    turn: Callable[[], AbstractContextManager[None]], name: str, entered: list[str]
) -> Iterator[threading.Thread]:
    """A thread that asks for a turn and ends it at once; it has ended when the block has."""

    def work() -> None:
        with turn():
            entered.append(name)

    thread = threading.Thread(target=work)
    thread.start()
    yield thread
    thread.join(60)
    assert not thread.is_alive()


def test_a_visitor_waits_for_nobody(entered: list[str]) -> None:
    turns = VisitorsFirst(places=1, patience=FOR_EVER)
    with turns.other(), turns.visitor(), asking(turns.visitor, "visitor", entered):
        pass
    assert entered == ["visitor"]


def test_others_wait_until_no_visitor_computes(entered: list[str]) -> None:
    clock = Clock()
    turns = VisitorsFirst(places=2, patience=FOR_EVER, clock=clock)
    first, second = turns.visitor(), turns.visitor()
    first.__enter__()
    second.__enter__()
    with asking(turns.other, "program", entered):
        assert wait_until(lambda: clock.asked == 4)  # once for its patience, and at its first try
        first.__exit__(None, None, None)
        assert wait_until(lambda: clock.asked == 8)  # by the visitor that leaves, and at the second try
        assert not entered
        second.__exit__(None, None, None)
    assert entered == ["program"]


def test_no_more_others_than_places(entered: list[str]) -> None:
    clock = Clock()
    turns = VisitorsFirst(places=2, patience=0, clock=clock)
    first, second = turns.other(), turns.other()
    first.__enter__()
    second.__enter__()
    before = clock.asked
    with asking(turns.other, "third", entered):
        assert wait_until(lambda: clock.asked == before + 3)  # for its patience, and at its first try
        assert not entered
        first.__exit__(None, None, None)
    assert entered == ["third"]


def test_a_place_stays_free_where_visitors_come_often(entered: list[str]) -> None:
    clock = Clock()
    turns = VisitorsFirst(places=2, patience=0, clock=clock)
    with turns.visitor():
        pass
    first = turns.other()
    first.__enter__()
    before = clock.asked
    with asking(turns.other, "second", entered):
        assert wait_until(lambda: clock.asked == before + 3)
        assert not entered
        first.__exit__(None, None, None)
    clock.now = 2 * MOMENT_S
    with turns.other(), asking(turns.other, "beside it", entered):
        pass
    assert entered == ["second", "beside it"]


def test_others_do_not_wait_for_visitors_for_ever(entered: list[str]) -> None:
    turns = VisitorsFirst(places=1, patience=0)
    with turns.visitor(), asking(turns.other, "program", entered):
        pass
    assert entered == ["program"]


def test_patience_ends_while_visitors_go_on(entered: list[str]) -> None:
    clock = Clock()
    turns = VisitorsFirst(places=1, patience=FOR_EVER, clock=clock)
    with turns.visitor(), asking(turns.other, "program", entered):
        assert wait_until(lambda: turns.waiting == 1)
        clock.now = FOR_EVER
        with turns.visitor():  # whose end is a change, after which others try again
            pass
    assert entered == ["program"]


def test_a_turn_ends_with_an_error(entered: list[str]) -> None:
    turns = VisitorsFirst(places=1, patience=FOR_EVER)
    for turn in (turns.visitor, turns.other):
        with pytest.raises(ValueError, match="damaged"), turn():
            raise ValueError("damaged")
    with asking(turns.other, "program", entered):
        pass
    assert entered == ["program"]
