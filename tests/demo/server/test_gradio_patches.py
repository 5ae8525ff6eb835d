"""What the page changes in Gradio's inside or answers in its place, asked through Gradio's own routes: where that is
another one, tests fail.

`tests/demo/uploads/test_url_download.py` has those about addresses, `tests/demo/test_api.py` the upload in a folder
of its own.
"""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from fastapi.testclient import TestClient
from gradio import route_utils
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.types import Message

from cilf.demo import limits, texts
from cilf.demo.server import gradio_patches
from cilf.demo.server.guard import Guard
from cilf.demo.uploads import api_inputs
from cilf.demo.uploads import folder as upload_folder
from cilf.errors import PhotoError
from tests.demo.conftest import wait_for
from tests.faults.disk import full_disk

# The start of a file on its way.
BEGUN = b'--b\r\nContent-Disposition: form-data; name="files"; filename="me.jpg"\r\n\r\n' + bytes(1000)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where uploads lie; the system's own folder for temporary files is beside it."""
    uploads, system = tmp_path / "uploads", tmp_path / "system"
    for each in (uploads, system):
        each.mkdir()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(uploads))
    monkeypatch.setattr("tempfile.tempdir", str(system))
    return uploads


@pytest.fixture
def page(folder: Path, monkeypatch: pytest.MonkeyPatch) -> gr.Blocks:
    """A page for programs alone."""
    for module, name, _ in gradio_patches.PATCHES:
        monkeypatch.setattr(module, name, getattr(module, name))  # as it was, when the test is over
    with gr.Blocks(analytics_enabled=False) as page:
        gr.api(read)
    page.max_file_size = 1 << 20  # set by `launch`, which these tests do without
    gradio_patches.apply(page)
    page.app = gr.routes.App.create_app(page, app_kwargs={"middleware": [Middleware(Guard)]})
    return page


def read(photo: gr.FileData) -> str:
    """What becomes of a photo as a program hands it in."""
    try:
        with api_inputs.read(photo).decoded() as pyramid:
            return str(pyramid.pixels.shape)
    except PhotoError as error:
        return str(error)


def upload(client: TestClient, content: bytes = b"hello") -> Path:
    answer = client.post("/gradio_api/upload", files={"files": ("me.txt", content)})
    return Path(answer.json()[0])


def files(folder: Path) -> list[Path]:
    """What lies in the folder of uploads and in the system's."""
    return [path for path in folder.parent.rglob("*") if path.is_file()]


def break_off(page: gr.Blocks, path: str, folder: Path) -> tuple[list[Path], int | None]:
    """Begin to send a file and go away: what lay on the disk meanwhile, and the answer's status, if one came."""
    meanwhile: list[Path] = []
    messages = iter([{"type": "http.request", "body": BEGUN, "more_body": True}])
    status: list[int] = []

    async def receive() -> Message:
        with suppress(StopIteration):
            return next(messages)
        await asyncio.sleep(0.1)
        meanwhile.extend(files(folder))
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            status.append(message["status"])

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"test"), (b"content-type", b"multipart/form-data; boundary=b")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }

    async def asked() -> None:
        with suppress(ClientDisconnect):
            await page.app(scope, receive, send)

    wait_for(asked())
    return meanwhile, status[0] if status else None


def test_an_upload_that_breaks_off_leaves_nothing(page: gr.Blocks, folder: Path) -> None:
    meanwhile, _ = break_off(page, "/gradio_api/upload", folder)
    assert [path.parent for path in meanwhile] == [folder]
    assert files(folder) == []


def test_an_upload_that_finds_the_disk_full_is_refused_in_a_sentence(page: gr.Blocks, folder: Path) -> None:
    client = TestClient(page.app)
    page.max_file_size = 1 << 23
    with full_disk(after=1 << 20):
        refused = client.post("/gradio_api/upload", files={"files": ("me.jpg", bytes(2 << 20))})
    assert (refused.status_code, refused.json()) == (507, {"detail": texts.DISK_FULL})
    assert files(folder) == []


@pytest.mark.parametrize("path", ["component_server", "process_recording"])
def test_files_come_by_no_other_way(page: gr.Blocks, folder: Path, path: str) -> None:
    meanwhile, status = break_off(page, f"/gradio_api/{path}", folder)
    assert meanwhile == files(folder) == []
    assert status == 404
    whole = TestClient(page.app).post(f"/gradio_api/{path}", files={"video": ("me.mp4", b"hello")})
    assert whole.status_code == 404
    assert files(folder) == []


def test_a_file_that_was_removed_when_it_is_asked_for_is_not_found(
    page: gr.Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = TestClient(page.app)
    path = upload(client)
    assert client.get(f"/gradio_api/file={path}").text == "hello"

    class Late(route_utils.FileResponse):  # type: ignore[misc]
        """Somebody removes the file once Gradio has found it."""

        def __init__(self, path: Any, **options: Any) -> None:
            super().__init__(path, **options)
            Path(path).unlink()

    monkeypatch.setattr(route_utils, "FileResponse", Late)
    assert client.get(f"/gradio_api/file={path}").status_code == 404


def test_what_nobody_reads_is_removed_whatever_else_was_named(page: gr.Blocks, folder: Path) -> None:
    client = TestClient(page.app)
    for address, sentence in (
        ("http://127.0.0.1/a.png?" + "a" * 5000, "has 5,023 characters; give one of at most 2,000"),
        (
            "http://127.0.0.1/a.png?" + "/" * 1900,
            "cannot be fetched",
        ),  # too long for a path only as it is kept
        ("http://127.0.0.1/b.png", "cannot be fetched"),
    ):
        record = {"path": address, "meta": {"_type": "gradio.FileData"}}
        answer = client.post("/gradio_api/run/read", json={"data": [record]})
        assert sentence in answer.json()["data"][0]
    first, left = upload(client, b"first"), upload(client, b"left")
    first.unlink()  # as somebody who read it
    upload_folder.sweep(folder, 60)
    assert left.read_text() == "left"
    assert page.upload_file_set == {str(first), str(left)}
    with client:  # runs what Gradio runs besides the page, as long as it is open
        assert left.exists()
        upload_folder.sweep(folder, -1)
    assert files(folder) == []
    page.upload_file_set.clear()
    assert upload(client, b"again").read_text() == "again"


def test_a_session_copies_no_settings_of_the_page(page: gr.Blocks) -> None:
    with TestClient(page.app) as client:
        body = {"data": [None], "session_hash": "me"}
        assert client.post("/gradio_api/run/read", json=body).status_code == 200
        assert page.app.state_holder["another"].config_values == {}


def test_another_gradio_is_named(page: gr.Blocks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(route_utils, "GradioMultiPartParser")
    with pytest.raises(
        RuntimeError, match=r"has no gradio\.route_utils\.GradioMultiPartParser.*requirements\.txt"
    ):
        gradio_patches.apply(page)


def test_the_photo_is_not_written_for_a_link_to_the_page(page: gr.Blocks, folder: Path) -> None:
    with TestClient(page.app) as client:
        body = {"data": [None], "session_hash": "me"}
        assert client.post("/gradio_api/run/read", json=body).status_code == 200
        assert client.get("/gradio_api/deep_link?session_hash=me").status_code == 404
    assert files(folder) == []


@pytest.mark.parametrize("path", ["run/read", "queue/join", "call/read", "cancel", "component_server"])
def test_a_long_name_of_a_session_is_not_kept(page: gr.Blocks, path: str) -> None:
    body = {"data": [None], "fn_index": 0, "event_id": "x", "component_id": 0, "fn_name": "x"}
    with TestClient(page.app, raise_server_exceptions=False) as client:
        answer = client.post(f"/gradio_api/{path}", json=body | {"session_hash": "a" * 65})
        assert answer.status_code >= 400
        assert "a" * 65 not in page.app.state_holder
        assert client.get("/gradio_api/queue/data", params={"session_hash": "a" * 65}).status_code == 400


@pytest.mark.slow  # Gradio waits for an upload that nobody has heard of
def test_progress_that_nobody_asks_for_is_not_kept(page: gr.Blocks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradio_patches, "MAX_PROGRESS", 3)
    statuses = gr.routes.file_upload_statuses
    client = TestClient(page.app)
    for number in range(8):
        answer = client.post(f"/gradio_api/upload?upload_id=u{number}", files={"files": ("me.txt", b"x")})
        assert answer.status_code == 200
    assert len(statuses._statuses) <= 3
    assert len(statuses._signals) <= 3
    assert "done" in client.get("/gradio_api/upload_progress?upload_id=u7").text
    assert client.get("/gradio_api/upload_progress?upload_id=unknown").status_code == 404
    assert "unknown" not in statuses._signals
    assert client.get("/gradio_api/upload_progress", params={"upload_id": "a" * 65}).status_code == 400


def test_one_request_brings_so_many_files(page: gr.Blocks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_FILES", 2)
    client = TestClient(page.app)
    photos = [("files", (f"{number}.txt", b"x")) for number in range(3)]
    assert client.post("/gradio_api/upload", files=photos[:2]).status_code == 200
    assert client.post("/gradio_api/upload", files=photos).status_code == 400


def test_what_somebody_asks_for_is_not_printed(page: gr.Blocks, capsys: pytest.CaptureFixture[str]) -> None:
    path = "/gradio_api/custom_component/WARNING%0A/client/component/x.js"
    assert TestClient(page.app).get(path).status_code == 404
    assert capsys.readouterr().out == ""
