"""What answers tell the browser about kinds of files and frames."""

import gradio as gr
import pytest
from fastapi.testclient import TestClient

from cilf.demo.server.launch import middleware
from cilf.demo.server.settings import Settings, read

ALONE, NETWORK, PROXIED = Settings(), Settings(host="0.0.0.0"), Settings(trusted_hosts=("ages.example",))
SPACE, NOTEBOOK = read([], {"SPACE_ID": "user/name"}), read([], {"COLAB_RELEASE_TAG": "release"})
ANYBODY = Settings(trusted_hosts=("*",))


def headers(settings: Settings, path: str = "/gradio_api/info") -> dict[str, str]:
    with gr.Blocks(analytics_enabled=False) as page:
        gr.HTML()
    app = gr.routes.App.create_app(page, app_kwargs={"middleware": middleware(settings)})
    return dict(TestClient(app, base_url="http://127.0.0.1:7860").get(path).headers)


@pytest.mark.parametrize("path", ["/gradio_api/info", "/nowhere", "/gradio_api/file=/etc/passwd"])
def test_no_file_is_taken_for_another_kind(path: str) -> None:
    assert headers(ALONE, path)["x-content-type-options"] == "nosniff"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "ancestors"),
    [(ALONE, "'self'"), (NETWORK, "'self'"), (PROXIED, "'self' ages.example:*")],
)
def test_foreign_pages_frame_no_local_page(settings: Settings, ancestors: str) -> None:
    assert headers(settings)["content-security-policy"] == f"frame-ancestors {ancestors}"


@pytest.mark.slow
@pytest.mark.parametrize("settings", [SPACE, Settings(share=True), NOTEBOOK, ANYBODY])
def test_the_page_that_shows_this_one_in_a_frame_is_admitted(settings: Settings) -> None:
    assert not {"content-security-policy", "x-frame-options"} & set(headers(settings))
