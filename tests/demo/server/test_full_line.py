"""Programs that find the line full are answered before Gradio reads their calls."""

import json
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import gradio as gr
import pytest
from fastapi.testclient import TestClient
from gradio.utils import get_upload_folder
from starlette.middleware import Middleware

from cilf.demo import limits
from cilf.demo.server import gradio_patches, line
from cilf.demo.server.full_line import FullLine

PROGRAM, VISITOR = 1, 0


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> AsyncMock:
    """Counts the calls that reach Gradio's queue, which gives all of them a place."""
    monkeypatch.setattr(limits, "REFUSAL_S", 0)
    return AsyncMock(return_value=(True, "event", "success"))


@pytest.fixture
def client(read: AsyncMock) -> TestClient:
    with gr.Blocks(analytics_enabled=False) as page:
        gr.Button().click(lambda: None, api_visibility="private")
        gr.api(answer)
    page.queue(api_open=False)
    page._queue.push = read  # type: ignore[method-assign]
    return TestClient(gr.routes.App.create_app(page, app_kwargs={"middleware": [Middleware(FullLine)]}))


def answer() -> str:
    return "done"


def call(function: Any = PROGRAM, data: Any = ()) -> dict[str, Any]:
    return {"data": list(data), "fn_index": function, "session_hash": "me"}


def fill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "is_full", lambda queue, event: True)


JOIN = "/gradio_api/queue/join"


def test_a_program_hears_that_the_line_is_full(
    client: TestClient, read: AsyncMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.post(JOIN, json=call()).json() == {"event_id": "event"}
    fill(monkeypatch)
    refused = client.post(JOIN, json=call())
    assert (refused.status_code, refused.json()) == (503, {"detail": line.FULL})
    assert read.await_count == 1


def test_what_it_uploaded_is_removed(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(monkeypatch)
    photo = Path(get_upload_folder()) / "of-a-refused-call" / "me.jpg"
    photo.parent.mkdir(parents=True, exist_ok=True)
    photo.write_bytes(b"photo")
    record = {"path": str(photo), "meta": {"_type": "gradio.FileData"}}
    assert client.post(JOIN, json=call(data=[record])).status_code == 503
    assert not photo.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "body",
    [
        call(VISITOR),
        call(data=["a" * (limits.MEGABYTE + 1)]),
        call(99),
        call("1"),
        call() | {"session_hash": None},
        [],
        "[" * 100_000,
        "no JSON",
    ],
    ids=lambda body: str(body)[:30],
)
def test_everything_else_reaches_gradio_whole(
    client: TestClient, read: AsyncMock, monkeypatch: pytest.MonkeyPatch, body: Any
) -> None:
    fill(monkeypatch)
    content = body if isinstance(body, str) else json.dumps(body)
    with_ours = client.post(JOIN, content=content, headers={"Content-Type": "application/json"})
    assert with_ours.status_code != 503
    if with_ours.status_code == 200:
        assert read.await_args is not None
        assert read.await_args.kwargs["body"].data == body["data"]


def test_the_real_queue_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    with gr.Blocks(analytics_enabled=False) as page:
        gr.Button().click(lambda: None, api_visibility="private")
        gr.api(answer)
    page.queue(api_open=False)
    gradio_patches.ask_to_come_back(page)
    monkeypatch.setattr(limits, "REFUSAL_S", 0)
    client = TestClient(gr.routes.App.create_app(page, app_kwargs={"middleware": [Middleware(FullLine)]}))
    statuses = [client.post(JOIN, json=call()).status_code for _ in range(6)]
    assert statuses == [200] * 4 + [503] * 2
