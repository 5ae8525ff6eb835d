"""What the page remembers of each visitor, and for how long."""

import time
import weakref
from collections.abc import Callable

import numpy as np
import pytest

from cilf.demo.server.sessions import Visit, Visits
from cilf.demo.uploads import folder as upload_folder
from cilf.demo.uploads.images import Upload
from tests.demo.conftest import wait_until
from tests.stand_in import FakeEstimator, make_face


def test_a_page_sees_its_own_photo_alone(photo: np.ndarray) -> None:
    visits = Visits()
    mine = Visit(photo, (make_face(),), FakeEstimator(), "")
    assert visits.put("me", visits.begin("me"), mine)
    assert visits.get("me") is mine
    assert visits.get("you") is None
    visits.forget("me")
    assert visits.get("me") is None


def test_photos_left_lying_are_forgotten(photo: np.ndarray) -> None:
    now = 0.0
    visits = Visits(seconds=60.0, clock=lambda: now)
    visits.put("me", visits.begin("me"), Visit(photo, (), FakeEstimator(), ""))
    now = 50.0
    assert visits.get("me") is not None  # used again: stays for another minute
    now = 100.0
    assert visits.get("me") is not None
    now = 200.0
    assert visits.get("me") is None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_photos_left_lying_are_forgotten_though_nobody_comes() -> None:
    now = 0.0
    visits = Visits(seconds=60.0, clock=lambda: now)
    ticket = visits.begin("left")  # its file came when the page had been left
    sent = Upload("x", b"x")
    visits.arrive("left", ticket, sent)
    alive = weakref.ref(sent)
    del sent

    def end_when_forgotten() -> None:
        if alive() is None:
            raise SystemExit  # of the sweeping thread

    upload_folder.keep_swept(0.05, 300, visits.forget_old, end_when_forgotten)
    time.sleep(0.2)
    assert alive() is not None
    now = 61.0
    assert wait_until(lambda: alive() is None)


def test_memory_is_bounded_and_the_newest_photo_stays(photo: np.ndarray) -> None:
    visits = Visits(max_bytes=2 * photo.nbytes)
    for page in ("a", "b", "c"):
        visits.put(page, visits.begin(page), Visit(photo, (), FakeEstimator(), ""))
    assert visits.get("a") is None
    assert visits.get("b") is not None
    tiny = Visits(max_bytes=1)
    tiny.put("a", tiny.begin("a"), Visit(photo, (), FakeEstimator(), ""))
    assert tiny.get("a") is not None


def test_only_the_newest_photo_of_a_page_counts(photo: np.ndarray) -> None:
    visits = Visits()
    first, second = visits.begin("me"), visits.begin("me")
    newest = Visit(photo, (), FakeEstimator(), "")
    assert visits.put("me", second, newest)
    assert not visits.put("me", first, Visit(photo, (), FakeEstimator(), ""))
    assert visits.get("me") is newest


def test_photos_that_wait_are_bounded_too() -> None:
    now = 0.0
    visits = Visits(seconds=60.0, max_bytes=10, clock=lambda: now)
    tickets = {page: visits.begin(page) for page in "abc"}
    for page, ticket in tickets.items():
        assert visits.arrive(page, ticket, Upload(page, bytes(5)))
        assert visits.claim(page) is ticket
    assert visits.collect("a", tickets["a"]) is not None  # who is nearest to the turn keeps it
    assert visits.collect("b", tickets["b"]) is None
    now = 100.0
    assert visits.collect("c", tickets["c"]) is None


def test_pages_that_only_began_are_forgotten() -> None:
    now = 0.0
    visits = Visits(seconds=60.0, max_pages=10, clock=lambda: now)
    for number in range(30):
        visits.begin(f"page {number}")
    assert len(visits) == 10
    assert not visits.has_begun("page 19")
    assert visits.has_begun("page 20")
    now = 61.0
    visits.forget_old()
    assert len(visits) == 0


def test_a_waiting_photo_is_handed_out_once() -> None:
    visits = Visits()
    ticket = visits.begin("me")
    assert visits.claim("me") is None  # not there yet
    assert visits.arrive("me", ticket, Upload("x", b"x"))
    assert visits.claim("me") is ticket
    assert visits.claim("me") is None
    assert visits.collect("me", ticket) is not None
    assert visits.collect("me", ticket) is None


@pytest.mark.parametrize("forget", [lambda visits: visits.forget("me"), lambda visits: visits.begin("me")])
def test_a_waiting_photo_goes_with_its_page_or_comes_too_late(forget: Callable[[Visits], object]) -> None:
    visits = Visits()
    ticket = visits.begin("me")
    assert visits.arrive("me", ticket, Upload("x", b"x"))
    forget(visits)
    assert visits.collect("me", ticket) is None
    assert not visits.arrive("me", ticket, Upload("x", b"x"))


def test_a_photo_is_not_remembered_after_its_page_was_left(photo: np.ndarray) -> None:
    visits = Visits()
    ticket = visits.begin("me")
    visits.forget("me")
    assert not visits.put("me", ticket, Visit(photo, (), FakeEstimator(), ""))
    assert visits.get("me") is None
