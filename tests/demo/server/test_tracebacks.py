"""No message of an error reaches the log with its traceback."""

import logging
import traceback
from collections.abc import Iterator

import gradio as gr
import pytest
from fastapi.testclient import TestClient

from cilf.demo.photo_set.sets import PhotoSets
from cilf.demo.server import tracebacks
from tests.demo.conftest import hosting
from tests.demo.photo_set.test_tab import Visitor
from tests.stand_in import FakeEstimator, png

NAME = "me at the beach.jpg"  # not in the lines of code that a traceback shows


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    factory = logging.getLogRecordFactory()
    monkeypatch.setattr(traceback, "print_exc", traceback.print_exc)
    tracebacks.install()
    yield
    logging.setLogRecordFactory(factory)


def fail(*_: object, **__: object) -> None:
    try:
        raise FileNotFoundError(2, "No such file", NAME)
    except OSError as error:
        raise ValueError(NAME) from error


def test_kinds_and_places_stay(caplog: pytest.LogCaptureFixture) -> None:
    try:
        fail()
    except ValueError:
        logging.getLogger("cilf").exception("a photo could not be handled")
    assert "beach" not in caplog.text
    assert "a photo could not be handled" in caplog.text
    for words in (
        "FileNotFoundError\n",
        "which led to",
        "ValueError",
        'test_tracebacks.py", line',
        "in fail",
    ):
        assert words in caplog.text


def test_a_visitor_s_file_name_stays_out_of_a_set_s_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("cilf.demo.photo_set.tab.predict_photo", fail)
    answer = Visitor(PhotoSets(hosting(FakeEstimator()))).photo(NAME, png(1), 0)
    assert answer["code"] == 500
    assert "a photo set could not be handled" in caplog.text
    assert "beach" not in caplog.text


def test_gradio_reports_so_too(capsys: pytest.CaptureFixture[str]) -> None:
    with gr.Blocks(analytics_enabled=False) as page:
        gr.api(lambda: fail(), api_name="read")
    TestClient(page.app).post("/gradio_api/run/read", json={"data": []})
    reported = capsys.readouterr().err
    assert "ValueError" in reported
    assert "beach" not in reported
