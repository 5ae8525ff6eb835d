"""Other web pages in the visitor's browser: under which names the page answers, and from whom it takes anything."""

from functools import cache

import gradio as gr
import pytest
from fastapi.testclient import TestClient

from cilf.demo import texts
from cilf.demo.server.launch import middleware
from cilf.demo.server.settings import Settings, read

ALONE, NETWORK = Settings(), Settings(host="0.0.0.0")
SPACE = read([], {"SPACE_ID": "user/name"})
SHARED = Settings(share=True)
NOTEBOOK = read([], {"COLAB_RELEASE_TAG": "release"})
PROXIED = Settings(trusted_hosts=("ages.example",))


@cache
def client_of(settings: Settings) -> TestClient:
    with gr.Blocks(analytics_enabled=False) as page:
        gr.api(lambda: "done", api_name="answer")
    app = gr.routes.App.create_app(page, app_kwargs={"middleware": middleware(settings)})
    return TestClient(app, base_url="http://127.0.0.1:7860")


def ask(settings: Settings, **headers: str) -> tuple[int, int]:
    """The statuses of a read and of a call of the page's endpoint."""
    client, sent = client_of(settings), {name.replace("_", "-"): text for name, text in headers.items()}
    opened = client.get(
        "/gradio_api/info", headers={name: text for name, text in sent.items() if name != "origin"}
    )
    called = client.post("/gradio_api/run/answer", json={"data": []}, headers=sent)
    return opened.status_code, called.status_code


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "host"),
    [
        (ALONE, "localhost:7860"),
        (ALONE, "[::1]:7860"),
        (NETWORK, "192.168.0.7:7860"),
        (SPACE, "user-name.hf.space"),
        (SHARED, "0123.gradio.live"),
        (NOTEBOOK, "hub.example"),
        (PROXIED, "ages.example"),
        (Settings(host="0.0.0.0", trusted_hosts=("*",)), "any.example"),
    ],
)
def test_a_page_answers_under_its_own_names(settings: Settings, host: str) -> None:
    assert ask(settings, host=host) == (200, 200)
    scheme = "https" if settings.behind_proxy else "http"
    assert ask(settings, host=host, origin=f"{scheme}://{host}") == (200, 200)


@pytest.mark.parametrize("settings", [ALONE, NETWORK, PROXIED])
@pytest.mark.parametrize(
    "host", ["rebound.example", "127.0.0.1.rebound.example:7860", "[x", "ages.example.evil"]
)
def test_a_page_answers_under_no_foreign_name(settings: Settings, host: str) -> None:
    assert ask(settings, host=host) == (403, 403)
    refused = client_of(settings).get("/gradio_api/info", headers={"host": host})
    assert refused.json() == {"detail": texts.FOREIGN_HOST}


@pytest.mark.parametrize("settings", [ALONE, NETWORK, SPACE, SHARED, NOTEBOOK, PROXIED])
@pytest.mark.parametrize("origin", ["https://foreign.example", "null", "http://127.0.0.1:9999"])
def test_a_foreign_page_sends_nothing(settings: Settings, origin: str) -> None:
    assert ask(settings, origin=origin) == (200, 403)
    refused = client_of(settings).post(
        "/gradio_api/run/answer", json={"data": []}, headers={"origin": origin}
    )
    assert refused.json() == {"detail": texts.FOREIGN_ORIGIN}
    assert ask(settings, origin=origin, sec_fetch_site="cross-site") == (200, 403)
    assert ask(settings, origin=origin, sec_fetch_site="same-site") == (200, 403)


@pytest.mark.parametrize(
    ("settings", "host", "origin"),
    [
        (SPACE, "user-name.hf.space", "https://user-name.hf.space"),
        (SHARED, "0123.gradio.live", "https://0123.gradio.live"),
        (NOTEBOOK, "localhost:7860", "https://x-colab.googleusercontent.com"),  # the proxy changes the host
        (NOTEBOOK, "127.0.0.1:7860", "http://127.0.0.1:7860"),
        (ALONE, "127.0.0.1:7860", "http://127.0.0.1:7860"),
    ],
)
def test_a_page_in_a_frame_answers(settings: Settings, host: str, origin: str) -> None:
    """The frame is opened by the page around it; what the page in it sends comes from itself."""
    client = client_of(settings)
    around = {
        "referer": "https://huggingface.co/",
        "sec-fetch-site": "cross-site",
        "sec-fetch-dest": "iframe",
    }
    assert client.get("/gradio_api/info", headers=around | {"host": host}).status_code == 200
    assert ask(settings, host=host, origin=origin, sec_fetch_site="same-origin")[1] == 200


def test_a_page_for_this_computer_alone_answers_through_no_proxy() -> None:
    assert ask(ALONE, x_forwarded_for="192.0.2.1") == (403, 403)
    assert ask(ALONE, origin="https://ages.example", sec_fetch_site="same-origin") == (200, 403)
    assert ask(PROXIED, x_forwarded_for="192.0.2.1", origin="https://ages.example") == (200, 200)


def test_trusted_hosts_may_send() -> None:
    assert ask(PROXIED, origin="https://ages.example", sec_fetch_site="cross-site") == (200, 200)
    anybody = Settings(trusted_hosts=("*",))
    assert ask(anybody, host="any.example", origin="https://foreign.example") == (200, 200)
