"""Requests that Gradio's routes cannot read are answered with 400, and leave nothing of theirs in the log."""

import gradio as gr
import pytest
from fastapi.testclient import TestClient
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cilf.demo import texts
from cilf.demo.server.malformed import MalformedRequests

SECRET = "holiday-in-rome"


def broken(request: Request) -> Response:
    raise RuntimeError(SECRET)


@pytest.fixture
def client() -> TestClient:
    with gr.Blocks(analytics_enabled=False) as page:
        gr.api(len_of)
    options = {"middleware": [Middleware(MalformedRequests)], "routes": [Route("/ours", broken)]}
    app = gr.routes.App.create_app(page, app_kwargs=options)
    return TestClient(app, raise_server_exceptions=False)


def len_of(text: str) -> int:
    return len(text)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("component_server/", {"data": SECRET, "component_id": 10**9, "fn_name": "x", "session_hash": "x"}),
        ("run/len_of", {"data": [], "session_hash": SECRET}),
        ("run/len_of", {"data": [7], "session_hash": SECRET}),
    ],
)
def test_what_gradio_cannot_read_is_refused(
    client: TestClient, path: str, body: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    answer = client.post(f"/gradio_api/{path}", json=body)
    assert (answer.status_code, answer.json()) == (400, {"detail": texts.MALFORMED})
    assert SECRET not in caplog.text


def test_so_is_a_broken_form(client: TestClient) -> None:
    form = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.jpg\nx"\r\n\r\nhello'
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = client.post("/gradio_api/upload", content=form, headers=headers)
    assert answer.status_code == 400


def test_what_can_be_read_is_answered(client: TestClient) -> None:
    answer = client.post("/gradio_api/run/len_of", json={"data": ["four"]})
    assert (answer.status_code, answer.json()["data"]) == (200, [4])


def test_an_error_of_our_own_routes_stays_one(client: TestClient) -> None:
    assert client.get("/ours").status_code == 500
