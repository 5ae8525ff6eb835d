"""The model behind the page: loading, failing, being replaced."""

import logging
import threading
from collections.abc import Callable

import pytest

from cilf.demo.server import zero_gpu
from cilf.demo.server.model_host import Estimator, ModelHost
from cilf.errors import CilfError, WeightsError
from tests.demo.conftest import hosting
from tests.stand_in import Documented, FakeEstimator


def test_a_page_for_others_does_not_say_what_may_name_a_folder(caplog: pytest.LogCaptureFixture) -> None:
    def load() -> FakeEstimator:
        raise WeightsError("'/srv/secret/weights' holds no config.json")

    for says_why in (True, False):
        host = ModelHost(load, says_why)
        host.start()
        host.wait()
        assert ("/srv" in str(host.error)) is says_why
        with pytest.raises(CilfError) as raised:
            host.get()
        assert raised.value is host.error
    assert caplog.text.count("/srv/secret/weights") == 2, "the owner reads it in the log"


def test_the_state_follows_the_loading() -> None:
    gate = threading.Event()
    estimator = FakeEstimator()

    def load() -> FakeEstimator:
        gate.wait()
        return estimator

    host = ModelHost(load)
    host.start()
    assert host.state == "loading"
    with pytest.raises(CilfError, match="still loading"):
        host.get(timeout=0.0)
    gate.set()
    assert host.get() is estimator
    assert host.state == "ready"


def test_why_the_model_is_missing_can_be_said() -> None:
    def load() -> FakeEstimator:
        raise WeightsError("the folder 'x' is empty")

    host = ModelHost(load)
    host.start()
    with pytest.raises(WeightsError, match="empty"):
        host.get()
    assert host.state == "failed"
    assert isinstance(host.error, WeightsError)


def test_any_other_failure_ends_the_waiting_too(caplog: pytest.LogCaptureFixture) -> None:
    def load() -> FakeEstimator:
        raise MemoryError("boom")

    host = ModelHost(load)
    with caplog.at_level(logging.CRITICAL):
        host.start()
        with pytest.raises(CilfError, match="could not be loaded"):
            host.get()


def test_its_first_work_is_done_when_it_is_ready_and_may_fail(caplog: pytest.LogCaptureFixture) -> None:
    estimator, done = FakeEstimator(), threading.Event()
    states: list[str] = []

    def fail(_: Estimator) -> None:
        states.append(host.state)
        raise MemoryError("boom")

    def work(given: Estimator) -> None:
        assert given is estimator
        done.set()

    host = ModelHost(lambda: estimator)
    host.when_ready(fail)
    host.when_ready(work)
    host.start()
    assert done.wait(60)
    assert states == ["ready"]
    assert "first work failed" in caplog.text
    assert host.get() is estimator


def test_no_first_work_is_done_on_a_lent_gpu_or_without_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> FakeEstimator:
        raise WeightsError("the folder 'x' is empty")

    loads: tuple[tuple[Callable[[], Estimator], bool], ...] = ((FakeEstimator, True), (fail, False))
    for load, lent in loads:
        monkeypatch.setattr(zero_gpu, "is_here", lambda lent=lent: lent)
        host, done = ModelHost(load), threading.Event()
        host.when_ready(lambda _, done=done: done.set())
        threads = set(threading.enumerate())
        host.start()
        for thread in set(threading.enumerate()) - threads:
            thread.join()
        assert not done.is_set()


def test_the_new_one_is_handed_out_once_it_is_there() -> None:
    old, new = Documented("old"), Documented("new")
    host = hosting(old)

    def load() -> Estimator:
        assert host.get() is old
        return new

    assert host.replace(load) is new
    assert host.get() is new


@pytest.mark.parametrize("error", [WeightsError("'x' is empty"), RuntimeError("out of order")])
def test_where_it_cannot_be_loaded_the_old_one_stays(error: Exception) -> None:
    old = Documented("old")
    host = hosting(old)

    def load() -> Estimator:
        raise error

    with pytest.raises(CilfError):
        host.replace(load)
    assert host.get() is old
    assert host.state == "ready"


def test_a_model_that_could_not_be_loaded_can_be_replaced() -> None:
    def load() -> Estimator:
        raise WeightsError("'x' is empty")

    host = ModelHost(load)
    host.start()
    host.wait()
    assert host.state == "failed"
    new = Documented("new")
    host.replace(lambda: new)
    assert host.state == "ready"
    assert host.get() is new
