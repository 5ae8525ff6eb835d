"""Photos that programs name by an address: what is fetched, and what is not."""

import asyncio
import io
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr
import pytest
import safehttpx
from fastapi.testclient import TestClient
from gradio import processing_utils, routes
from gradio.utils import get_upload_folder
from PIL import Image

from cilf.demo import fetching, gradio_changes, handed_in
from cilf.demo.archive import MAX_PHOTO
from cilf.errors import PhotoError

T = TypeVar("T")

PIECE = bytes(1 << 16)


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), "green").save(buffer, "PNG")
    return buffer.getvalue()


def wait_for(work: Coroutine[Any, Any, T]) -> T:
    """Do asynchronous work in a thread of its own: while a browser is open, Playwright's event loop holds this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


@dataclass
class Elsewhere:
    """A server on loopback; `asked` holds the paths it was asked for, `given` the bytes of /endless it got rid of."""

    port: int = 0
    asked: list[str] = field(default_factory=list)
    given: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def at(self, path: str, host: str = "pictures.example") -> str:
        return f"http://{host}:{self.port}{path}"


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    seen = Elsewhere()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.asked.append(self.path)
            if self.path.startswith("/to"):
                self.send_response(302)
                self.send_header("Location", self.path.removeprefix("/to"))
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(404 if self.path == "/missing.png" else 200)
            if self.path == "/packed.png":
                self.send_header("Content-Encoding", "gzip")
            if self.path == "/huge.png":  # says so, and never comes to it
                self.send_header("Content-Length", str(MAX_PHOTO + 1))
            self.end_headers()
            if self.path == "/huge.png":
                seen.over.wait(60)
            elif self.path == "/endless.png":
                try:
                    while seen.given < 1 << 30:
                        self.wfile.write(PIECE)
                        seen.given += len(PIECE)
                except OSError:
                    pass
                seen.over.set()
            else:
                self.wfile.write(picture())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    seen.port = server.server_port
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield seen
    seen.over.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Take the loopback server for a public host, under one name alone; the hosts that were checked."""
    hosts: list[str] = []

    async def validate(host: str) -> str:
        hosts.append(host)
        if host != "pictures.example":
            raise ValueError(f"Hostname {host} failed validation")
        return "127.0.0.1"

    monkeypatch.setattr(safehttpx, "async_validate_url", validate)
    return hosts


@pytest.mark.parametrize("path", ["/green.png", "/to/green.png", "/to/to/green.png"])
def test_a_picture_is_fetched_wherever_it_moved(elsewhere: Elsewhere, checked: list[str], path: str) -> None:
    assert handed_in.read(elsewhere.at(path)).shape == (48, 64, 3)
    assert len(checked) == len(elsewhere.asked) == 1 + path.count("/to")


@pytest.mark.parametrize("path", ["/huge.png", "/endless.png"])
def test_no_more_is_read_than_a_photo_may_hold(
    elsewhere: Elsewhere, checked: list[str], monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(handed_in, "MAX_PHOTO", 1 << 20)
    with pytest.raises(PhotoError, match=f"'{path[1:]}' is larger than 1 MB"):
        handed_in.read(elsewhere.at(path))
    if path == "/endless.png":
        assert elsewhere.over.wait(60)
        assert elsewhere.given < 1 << 29  # what the limit and the system's buffers hold


@pytest.mark.parametrize("path", ["/missing.png", "/packed.png", "/toftp://pictures.example/a.png"])
def test_what_cannot_be_had_gives_a_sentence(elsewhere: Elsewhere, checked: list[str], path: str) -> None:
    with pytest.raises(PhotoError, match="cannot be fetched"):
        handed_in.read(elsewhere.at(path))


def test_redirects_have_an_end(elsewhere: Elsewhere, checked: list[str]) -> None:
    with pytest.raises(PhotoError, match="cannot be fetched"):
        handed_in.read(elsewhere.at("/to" * 50 + "/green.png"))
    assert len(elsewhere.asked) == fetching.MAX_REDIRECTS


def test_a_redirect_into_this_network_is_not_followed(elsewhere: Elsewhere, checked: list[str]) -> None:
    with pytest.raises(PhotoError, match="cannot be fetched"):
        handed_in.read(elsewhere.at("/to" + elsewhere.at("/green.png", host="127.0.0.1")))
    assert len(elsewhere.asked) == 1
    assert checked == ["pictures.example", "127.0.0.1"]


def test_an_address_in_this_network_is_not_asked(
    elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unknown(host: str) -> list[str]:
        return []

    monkeypatch.setattr(safehttpx, "async_resolve_hostname_google", unknown)
    with pytest.raises(PhotoError, match="cannot be fetched"):
        handed_in.read(elsewhere.at("/green.png", host="127.0.0.1"))
    assert elsewhere.asked == []


def test_gradio_relays_no_address(
    elsewhere: Elsewhere, checked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "secure_url_stream_response", gradio_changes.no_relay)
    with gr.Blocks(analytics_enabled=False) as page:
        gr.Image()
    answer = TestClient(page.app).get(f"/gradio_api/file={elsewhere.at('/green.png')}")
    assert answer.status_code == 403
    assert checked == elsewhere.asked == []


class TestRecords:
    """A file's record with an address as its path, as `gradio_client.handle_file` makes it of an address."""

    def postponed(self, address: str) -> str:
        """What Gradio makes of the path."""
        return wait_for(handed_in.postponed(address, get_upload_folder()))

    def test_it_is_fetched_when_it_is_read(self, elsewhere: Elsewhere, checked: list[str]) -> None:
        path = self.postponed(elsewhere.at("/green.png?size=large&of=a/b"))
        assert elsewhere.asked == []
        assert not Path(path).exists()
        for record in ({"path": path, "orig_name": "mine.png"}, {"path": path}):
            assert handed_in.read(record).shape == (48, 64, 3)
        assert elsewhere.asked == ["/green.png?size=large&of=a/b"] * 2
        assert handed_in.name_of({"path": path, "orig_name": "mine.png"}) == "mine.png"
        assert handed_in.name_of({"path": path}) == "green.png"

    def test_a_long_address_is_no_trouble(self, elsewhere: Elsewhere, checked: list[str]) -> None:
        record = {"path": self.postponed(elsewhere.at("/green.png?" + "a" * 5000))}
        assert handed_in.read(record).shape == (48, 64, 3)
        handed_in.discard([record])

    def test_gradio_downloads_nothing_itself(
        self, elsewhere: Elsewhere, checked: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(processing_utils, "async_ssrf_protected_download", handed_in.postponed)
        record = {"path": elsewhere.at("/green.png"), "meta": {"_type": "gradio.FileData"}}
        with gr.Blocks(analytics_enabled=False):
            made = wait_for(
                processing_utils.async_move_files_to_cache(record, gr.Image(), check_in_upload_folder=True)
            )
        assert elsewhere.asked == []
        assert handed_in.read(made).shape == (48, 64, 3)
