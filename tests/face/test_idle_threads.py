"""`cilf.face.idle_threads`: work beside the caller, which never waits for a busy thread."""

from threading import Event, get_ident

import pytest

from cilf.face.idle_threads import IdleThreads


def test_an_idle_thread_takes_the_work() -> None:
    result = IdleThreads(1).beside(get_ident)
    assert result is not None
    assert result() != get_ident()


def test_without_threads_nothing_is_taken() -> None:
    assert IdleThreads(0).beside(get_ident) is None


def test_where_all_are_busy_nothing_is_taken() -> None:
    threads, end = IdleThreads(1), Event()
    busy = threads.beside(end.wait)
    assert threads.beside(get_ident) is None
    end.set()
    assert busy is not None
    assert busy()


def test_what_the_work_raises_reaches_the_caller_and_leaves_the_thread_idle() -> None:
    threads = IdleThreads(1)
    failing = threads.beside(lambda: 1 // 0)
    assert failing is not None
    with pytest.raises(ZeroDivisionError):
        failing()
    assert threads.beside(get_ident) is not None
