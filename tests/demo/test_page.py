"""The whole page, as `app.py` puts it together."""

import base64
import gc
import io
import re
import socket
import sys
from pathlib import Path
from typing import Any, Literal

import gradio as gr
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

import app
from cilf.demo import texts, theme
from cilf.demo.live.streams import Streams
from cilf.demo.photo_set.sets import PhotoSets
from cilf.demo.server import gradio_patches
from cilf.demo.server import launch as serving
from cilf.demo.server.model_host import ModelHost
from cilf.demo.server.sessions import Visit, Visits
from cilf.demo.server.settings import Settings
from cilf.photo_set.files import PHOTO_SUFFIXES
from tests.demo.conftest import request, wait_until
from tests.stand_in import FakeEstimator, make_face


def test_who_leaves_is_forgotten_everywhere(photo: np.ndarray) -> None:
    visits, streams, sets = Visits(), Streams(), PhotoSets(ModelHost(FakeEstimator))
    visits.put("me", visits.begin("me"), Visit(photo, (), FakeEstimator(), ""))
    streams.tracker("me")
    token = sets.open("me")
    app.leave("me", visits, streams, sets)
    assert visits.get("me") is None
    assert len(streams) == 0
    assert sets.get(token) is None


def test_gradio_keeps_nothing_of_an_emptied_photo(photo: np.ndarray, tmp_path: Path) -> None:
    """Over HTTP, as the page asks it."""
    host = ModelHost(lambda: FakeEstimator([make_face()]))
    sets = PhotoSets(host)
    page = app.build_page(host, lambda *_: FakeEstimator(), Settings(), sets, Visits(), Streams())
    client = TestClient(page.app)
    numbers = {each.name: number for number, each in page.fns.items()}
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, "PNG")
    address = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()

    def call(name: str, *data: Any) -> None:
        body = {"data": data, "fn_index": numbers[name], "session_hash": "me"}
        assert client.post("/gradio_api/run/predict", json=body).status_code == 200

    def kept() -> str:
        held = page.app.state_holder.session_data.get("me")
        shown = page.fns[numbers["on_photo"]].outputs[0]._id
        return "" if held is None else str(held.config_values[shown]["props"].get("value"))

    host.start()
    host.get()
    call("on_arrived", {"path": None, "url": address, "orig_name": "me.png"})
    list(page.fns[numbers["on_photo"]].fn("a child", request("me")))
    call("on_pick", 0, "a child")
    assert "data:image/jpeg" in kept()
    call("on_empty")
    assert "data:image" not in kept()
    held = page.app.state_holder
    assert held.time_last_used.keys() == held.session_data.keys()


def test_gradio_keeps_nothing_of_a_program_that_was_answered() -> None:
    host = ModelHost(FakeEstimator)
    host.start()
    page = app.build_page(host, lambda *_: FakeEstimator(), Settings(), PhotoSets(host), Visits(), Streams())
    (number,) = [number for number, each in page.fns.items() if each.api_name == "predict"]
    body = {"data": ["data:image/png;base64,aGVsbG8=", None], "fn_index": number, "session_hash": "me"}
    TestClient(page.app).post("/gradio_api/run/predict", json=body)
    assert page.app.state_holder.session_data == {}
    assert page.app.state_holder.time_last_used == {}


def test_no_font_comes_from_elsewhere() -> None:
    page_theme = theme.make_theme()
    assert not page_theme._stylesheets
    addresses = re.findall(
        r"https?://[^\s\"'%]+", page_theme._get_theme_css() + theme.HEAD + theme.FAVICON.read_text()
    )
    # It names a format, and is never fetched.
    assert {address.split("/")[2] for address in addresses} == {"www.w3.org"}


def test_the_browser_tells_prompts_apart_as_the_server_does() -> None:
    """Else the cross beside a prompt could not find its line in the text box."""
    every = [chr(code) for code in range(sys.maxunicode + 1)]
    blank, ends = (
        re.compile(match[1])
        for name in ("blanks", "breaks")
        if (match := re.search(rf"const {name} = /(.+)/g?;", theme.HEAD))
    )
    assert [each for each in every if blank.fullmatch(each)] == [each for each in every if each.isspace()]
    assert [each for each in every if ends.fullmatch(each)] == [
        each for each in every if each.splitlines() != [each]
    ]


def test_the_browser_knows_every_suffix_of_a_photo() -> None:
    assert all(f'"{suffix}"' in theme.HEAD for suffix in PHOTO_SUFFIXES)
    assert theme.HEAD.count("</script>") == theme.HEAD.count("<script") == 1


def test_a_page_that_opens_while_the_line_is_full_lacks_nothing() -> None:
    """Over HTTP, as the page asks it."""
    host = ModelHost(FakeEstimator)
    page = app.build_page(host, lambda *_: FakeEstimator(), Settings(), PhotoSets(host), Visits(), Streams())
    page.queue(max_size=0)  # full from the start
    host.start()
    host.wait()
    client = TestClient(page.app)
    opening = [each for each in page.fns.values() if "load" in {event for _, event in each.targets}]
    shown = ""
    for each in opening:
        assert not each.queue
        body = {"data": ["" for _ in each.inputs], "fn_index": each._id, "session_hash": "me"}
        shown += client.post("/gradio_api/run/predict", json=body).raise_for_status().text
    assert "a stand-in" in shown  # the model in use
    assert "/predict_set" in str(page.get_config_file()["components"])  # the way in for programs
    assert "data-token" in shown  # the Photo set's


def test_the_page_is_built_before_the_model_is_loaded() -> None:
    host = ModelHost(FakeEstimator)
    sets = PhotoSets(host)
    page = app.build_page(host, lambda *_: FakeEstimator(), Settings(), sets, Visits(), Streams())
    assert "Loading the model" in str(page.get_config_file()["components"])


def test_options_reach_what_they_are_for(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[dict[str, Any]] = []

    def load(*_: Any, **options: Any) -> FakeEstimator:
        loaded.append(options)
        return FakeEstimator()

    def serve(page: gr.Blocks, settings: Settings, routes: Any) -> None:
        assert wait_until(lambda: bool(loaded))
        served.append(settings)

    served: list[Settings] = []
    monkeypatch.setattr(app, "age_estimator", load)
    monkeypatch.setattr(app.serving, "serve", serve)
    monkeypatch.setattr(app.upload_folder, "keep_swept", lambda *_: None)
    monkeypatch.setattr(app, "keep_little_memory", lambda: None)
    monkeypatch.setattr(sys, "setswitchinterval", lambda _: None)
    settings = Settings(device="cuda", max_faces=5, queue_size=9)
    try:
        app._serve(settings)
    finally:
        gc.unfreeze()
    assert loaded == [{"device": "cuda", "max_faces": 5}]
    assert served == [settings]


def test_a_full_queue_is_as_long_as_its_owner_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gr.Blocks, "launch", lambda *_, **__: None)
    with gr.Blocks(analytics_enabled=False) as page:
        gr.Button()
    serving.serve(page, Settings(queue_size=9), [])
    assert page._queue.max_size == 9


def test_a_taken_port_is_said_before_anything_is_loaded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(SystemExit, match=f"port {port} is taken.*--port"):
            app.main(["--host", "127.0.0.1", "--port", str(port)])


@pytest.mark.parametrize("wrong", [["--port", "70000"], ["--host", "192.0.2.1", "--port", "7860"]])
def test_where_nobody_can_listen_is_said(wrong: list[str]) -> None:
    with pytest.raises(SystemExit, match="give"):
        app.main(wrong)


@pytest.mark.parametrize(("visibility", "status"), [("private", 429), ("public", 503)])
def test_a_full_queue_asks_the_visitor_to_come_back(
    visibility: Literal["private", "public"], status: int
) -> None:
    with gr.Blocks(analytics_enabled=False) as page:
        gr.Button().click(lambda: None, api_visibility=visibility)
    page.queue(max_size=0)  # full from the start
    gradio_patches.ask_to_come_back(page)
    body = {"data": [], "fn_index": 0, "session_hash": "me"}
    answer = TestClient(page.app).post("/gradio_api/queue/join", json=body)
    assert answer.status_code == status
    assert (answer.json()["detail"] == texts.BUSY) == (visibility == "private")


def test_gradio_does_not_sum_up_its_calls() -> None:
    """Gradio would do so after every call, for a page of its own, and keep who asked."""
    with gr.Blocks(analytics_enabled=False) as page:
        page.queue()
    calls = [{"function": "predict", "status": "success", "process_time": 1.0}]
    page._queue.events_recorded = 10_000
    assert page._queue.compute_analytics_summary(calls) == {"functions": {}}
    assert page._queue.ANALYTICS_MAX_EVENTS == 1


def test_what_is_there_before_the_model_is_not_searched_for_circles() -> None:
    model, before = FakeEstimator(), ["there before the model"]
    gc.unfreeze()  # what pytest's collection left
    try:
        assert any(each is before for each in gc.get_objects())
        assert app.load_first(lambda *_: model, None) is model
        assert not any(each is before for each in gc.get_objects())
    finally:
        gc.unfreeze()
