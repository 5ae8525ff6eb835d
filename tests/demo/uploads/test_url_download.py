"""Photos that programs name by an address: what is fetched, and what is not."""

import asyncio
import io
import itertools
import socket
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any, TypeVar

import gradio as gr
import pytest
import safehttpx
from fastapi.testclient import TestClient
from gradio import processing_utils
from PIL import Image

from cilf.demo.limits import MAX_PHOTO
from cilf.demo.server import gradio_patches
from cilf.demo.server.guard import Guard
from cilf.demo.uploads import api_inputs, url_download
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


def shape(photo: Any, budget: url_download.Budget | None = None) -> tuple[int, ...]:
    """Of what is read of a photo that a program hands in."""
    with api_inputs.read(photo, budget).decoded() as pyramid:
        return pyramid.pixels.shape


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
            if self.path.endswith("/huge.png"):
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

    monkeypatch.setattr(url_download, "public_number", validate)
    return hosts


@pytest.mark.parametrize("path", ["/green.png", "/to/green.png", "/to/to/green.png"])
def test_a_picture_is_fetched_wherever_it_moved(elsewhere: Elsewhere, checked: list[str], path: str) -> None:
    assert shape(elsewhere.at(path)) == (48, 64, 3)
    assert len(checked) == len(elsewhere.asked) == 1 + path.count("/to")


@pytest.mark.parametrize("path", ["/huge.png", "/endless.png"])
def test_no_more_is_read_than_a_photo_may_hold(
    elsewhere: Elsewhere, checked: list[str], monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(api_inputs, "MAX_PHOTO", 1 << 20)
    with pytest.raises(PhotoError, match=f"'{path[1:]}' is larger than 1 MB"):
        shape(elsewhere.at(path))
    if path == "/endless.png":
        assert elsewhere.over.wait(60)
        assert elsewhere.given < 1 << 29  # what the limit and the system's buffers hold


@pytest.mark.parametrize("path", ["/missing.png", "/packed.png", "/toftp://pictures.example/a.png"])
def test_what_cannot_be_had_gives_a_sentence(elsewhere: Elsewhere, checked: list[str], path: str) -> None:
    with pytest.raises(PhotoError, match="cannot be fetched"):
        shape(elsewhere.at(path))


def test_redirects_have_an_end(elsewhere: Elsewhere, checked: list[str]) -> None:
    with pytest.raises(PhotoError, match="cannot be fetched"):
        shape(elsewhere.at("/to" * 50 + "/green.png"))
    assert len(elsewhere.asked) == 1 + url_download.MAX_REDIRECTS


def test_as_many_redirects_as_are_promised_are_followed(elsewhere: Elsewhere, checked: list[str]) -> None:
    path = "/to" * url_download.MAX_REDIRECTS + "/green.png"
    assert shape(elsewhere.at(path)) == (48, 64, 3)


def test_an_address_that_stalls_is_given_up(elsewhere: Elsewhere, checked: list[str]) -> None:
    with pytest.raises(PhotoError, match=r"'huge\.png' did not come in time.*; ask for fewer"):
        shape(elsewhere.at("/stalled/huge.png"), url_download.Budget(left=0.5))


def test_the_addresses_of_a_request_have_so_much_time_together(
    elsewhere: Elsewhere, checked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a clock of their own, by which each address takes 100 seconds."""
    ticks = itertools.count(0.0, 100.0)
    monkeypatch.setattr(url_download, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    budget = url_download.Budget(left=150.0)
    for _ in range(2):
        assert shape(elsewhere.at("/green.png"), budget) == (48, 64, 3)
    with pytest.raises(PhotoError, match=r"'last\.png' did not come in time"):
        shape(elsewhere.at("/last.png"), budget)
    assert elsewhere.asked == ["/green.png"] * 2


def test_a_redirect_into_this_network_is_not_followed(elsewhere: Elsewhere, checked: list[str]) -> None:
    with pytest.raises(PhotoError, match="cannot be fetched"):
        shape(elsewhere.at("/to" + elsewhere.at("/green.png", host="127.0.0.1")))
    assert len(elsewhere.asked) == 1
    assert checked == ["pictures.example", "127.0.0.1"]


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "[::ffff:127.0.0.1]",
        "none.invalid",
        "127.1",
        "0",
        "0x7f.1",
        "0x7f000001",
        "017700000001",
        "[::]",
        "[::1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "169.254.169.254",
        "somebody@127.0.0.1",
        "pictures.example@127.0.0.1",
        "127。0。0。1",
    ],
)
def test_an_address_in_this_network_is_not_asked(
    elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    asked_elsewhere: list[str] = []

    async def google(host: str) -> list[str]:
        asked_elsewhere.append(host)
        return ["8.8.8.8"]

    monkeypatch.setattr(safehttpx, "async_resolve_hostname_google", google)
    with pytest.raises(PhotoError, match="cannot be fetched"):
        shape(elsewhere.at("/green.png", host=host))
    assert elsewhere.asked == asked_elsewhere == []


def test_names_inside_the_network_are_not_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a name is known in the server's network is nobody's business."""

    async def resolve(self: object, host: str, *_: object, **__: object) -> list[tuple[Any, ...]]:
        if host == "unknown.example":
            raise socket.gaierror(-2, "Name or service not known")
        if host == "odd.example":
            raise UnicodeError("label too long")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.7", 0))]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolve)
    sentences = set()
    for host in ("database.example", "unknown.example", "odd.example", "10.0.0.7", "169.254.169.254"):
        with pytest.raises(PhotoError) as raised:
            shape(f"http://{host}/a.png")
        sentences.add(str(raised.value))
    assert len(sentences) == 1
    assert "no public address" in sentences.pop()


@pytest.mark.parametrize(
    ("number", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700:4700::1111", True),
        ("10.0.0.1", False),
        ("127.0.0.1", False),
        ("0.0.0.0", False),
        ("169.254.169.254", False),  # where clouds tell a machine about itself
        ("100.100.100.200", False),  # another cloud's
        ("100.64.0.1", False),  # a provider's network behind which its customers share an address
        ("192.0.0.192", False),  # a third cloud's
        ("192.0.0.9", False),
        ("224.0.0.1", False),
        ("239.255.255.250", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("fe80::1", False),
        ("fe80::1%lo", False),
        ("fc00::1", False),
        ("fec0::1", False),  # site-local
        ("ff02::1", False),
        ("::ffff:10.0.0.1", False),
        ("::10.0.0.1", False),
        ("64:ff9b::a00:1", False),  # 10.0.0.1 behind NAT64
        ("2002:a00:1::", False),  # 10.0.0.1 behind 6to4
        ("2001:0:a00:1::1", False),  # Teredo
        ("2001:db8::1", False),
    ],
)
def test_what_is_taken_for_public(number: str, public: bool) -> None:
    assert url_download.is_public(number) is public


@pytest.mark.parametrize(
    "photo",
    [
        "http://[x/a.png",
        "http://pictures.example:port/a.png",
        "/gradio_api/file=%00",
        {"path": "a\x00b"},
        "\ud800",
        "",
        None,
        7,
    ],
)
def test_what_is_no_address_gives_a_sentence(photo: Any) -> None:
    with pytest.raises(PhotoError, match="; give a"):
        shape(photo)
    api_inputs.discard([photo])


def test_a_long_text_is_not_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """`urlsplit` would keep it in memory."""
    monkeypatch.setattr(api_inputs, "urlsplit", lambda _: pytest.fail("it is taken apart"))
    assert api_inputs.name_of("a" * 1_000_000) == "photo"


def test_gradio_relays_no_address(elsewhere: Elsewhere, checked: list[str]) -> None:
    with gr.Blocks(analytics_enabled=False) as page:
        gr.Image()
    client = TestClient(Guard(page.app))
    for relay in ("file", "proxy"):
        answer = client.get(f"/gradio_api/{relay}={elsewhere.at('/green.png')}")
        assert answer.status_code == 403
    assert checked == elsewhere.asked == []


class TestRecords:
    """A file's record with an address as its path, as `gradio_client.handle_file` makes it of an address."""

    def record(self, address: str, **more: str) -> dict[str, Any]:
        """What Gradio hands over."""
        record = {"path": address, "meta": {"_type": "gradio.FileData"}, **more}
        handed_over: dict[str, Any] = wait_for(gradio_patches.leave_inputs(record, None))
        return handed_over

    def test_it_is_fetched_when_it_is_read(self, elsewhere: Elsewhere, checked: list[str]) -> None:
        address = elsewhere.at("/green.png?size=large&of=a/b")
        named, unnamed = self.record(address, orig_name="mine.png"), self.record(address)
        assert elsewhere.asked == []
        for record in (named, unnamed):
            assert shape(record) == (48, 64, 3)
        assert elsewhere.asked == ["/green.png?size=large&of=a/b"] * 2
        assert api_inputs.name_of(named) == "mine.png"
        assert api_inputs.name_of(unnamed) == "green.png"

    def test_a_long_address_is_refused(self, elsewhere: Elsewhere, checked: list[str]) -> None:
        address = elsewhere.at("/green.png?")
        fits = address + "a" * (url_download.MAX_ADDRESS - len(address))
        assert shape(self.record(fits)) == (48, 64, 3)
        elsewhere.asked.clear()
        for photo in (self.record(fits + "a" * 3000), fits + "a"):
            with pytest.raises(PhotoError, match=r"address of 'green\.png' has .* characters; give"):
                shape(photo)
            api_inputs.discard([photo])
        assert elsewhere.asked == []

    def test_gradio_downloads_nothing_itself(
        self, elsewhere: Elsewhere, checked: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(processing_utils, "async_move_files_to_cache", gradio_patches.leave_inputs)
        record = {"path": elsewhere.at("/green.png"), "meta": {"_type": "gradio.FileData"}}
        received: list[Any] = []
        with gr.Blocks(analytics_enabled=False) as page:
            image = gr.Image()
            image.upload(received.append, image, preprocess=False)
        body = {"data": [record], "fn_index": 0, "session_hash": "me"}
        TestClient(page.app).post("/gradio_api/run/predict", json=body).raise_for_status()
        assert elsewhere.asked == []
        assert shape(received[0]) == (48, 64, 3)
