"""What one request, and all together, may bring."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from fastapi.testclient import TestClient
from starlette.middleware import Middleware
from starlette.types import Message, Receive, Scope, Send

from cilf.demo import limits, texts
from cilf.demo.limits import MEGABYTE
from cilf.demo.server import body_limit, gradio_patches
from cilf.demo.server.body_limit import BodyLimit
from cilf.demo.uploads import folder
from tests.demo.conftest import wait_for

ANSWER = "/gradio_api/run/answer"


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> gr.Blocks:
    for module, name, _ in gradio_patches.PATCHES:
        monkeypatch.setattr(module, name, getattr(module, name))  # as it was, when the test is over
    monkeypatch.setattr(limits, "MAX_REQUEST", 2 * MEGABYTE)
    monkeypatch.setattr(limits, "MAX_PHOTO", 2 * MEGABYTE)
    with gr.Blocks(analytics_enabled=False) as page:
        gr.api(answer)
    page.max_file_size = 10 * MEGABYTE  # so that it is not Gradio that refuses
    gradio_patches.apply(page)
    page.app = gr.routes.App.create_app(page, app_kwargs={"middleware": [Middleware(BodyLimit)]})
    return page


def answer(text: str | list[gr.FileData]) -> int:
    return len(text)


def in_pieces(size: int) -> Iterator[bytes]:
    """A body whose length nobody is told."""
    yield b'{"data": ["'
    for _ in range(size // MEGABYTE):
        yield b"a" * MEGABYTE
    yield b'"]}'


def test_a_body_over_the_limit_is_refused(page: gr.Blocks) -> None:
    client = TestClient(page.app)
    json = {"Content-Type": "application/json"}
    assert client.post(ANSWER, json={"data": ["a" * MEGABYTE]}).status_code == 200
    assert client.post(ANSWER, content=in_pieces(MEGABYTE), headers=json).status_code == 200
    for path in (ANSWER, "/gradio_api/queue/join", "/gradio_api/mcp/", "/elsewhere"):
        refused = client.post(path, json={"data": ["a" * 3 * MEGABYTE]})
        assert (refused.status_code, refused.json()["detail"]) == (413, texts.TOO_LONG)
    assert client.post(ANSWER, content=in_pieces(3 * MEGABYTE), headers=json).status_code == 413


def test_an_upload_over_the_limit_leaves_nothing(page: gr.Blocks, tmp_path: Path) -> None:
    client = TestClient(page.app)
    boundary = {"Content-Type": "multipart/form-data; boundary=b"}

    def form() -> Iterator[bytes]:
        for _ in range(4):
            yield b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
            yield bytes(MEGABYTE) + b"\r\n"
        yield b"--b--\r\n"

    assert client.post("/gradio_api/upload", content=form(), headers=boundary).status_code == 413
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_large_bodies_share_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second is refused while the first is held, and taken when it is through; small ones always are."""
    monkeypatch.setattr(limits, "MAX_REQUESTS", 3 * MEGABYTE)
    statuses: list[int] = []

    async def asked() -> None:
        held, done = asyncio.Event(), asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await receive()
            held.set()
            await done.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body"})

        limit = BodyLimit(app)
        first = asyncio.create_task(_post(limit, 2 * MEGABYTE, statuses))
        await held.wait()
        second = asyncio.create_task(_post(limit, 2 * MEGABYTE, statuses))
        small = asyncio.create_task(_post(limit, 1000, statuses))
        await asyncio.sleep(0.05)
        done.set()
        await asyncio.gather(first, second, small)
        await _post(limit, 2 * MEGABYTE, statuses)

    wait_for(asked())
    assert sorted(statuses) == [200, 200, 200, 503]


@pytest.mark.parametrize("size", [1, 2 * MEGABYTE])
def test_a_body_that_trickles_is_refused(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(limits, "REQUEST_S", 0.1)
    statuses: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    wait_for(_post(BodyLimit(app), size, statuses, ends=False))
    assert statuses == [408]


def test_many_small_bodies_share_the_memory_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_REQUESTS", MEGABYTE)
    monkeypatch.setattr(limits, "REFUSAL_S", 0)
    statuses: list[int] = []
    hold = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if (await receive())["type"] != "http.disconnect":
            await hold.wait()

    async def asked() -> None:
        limit = BodyLimit(app)
        senders = [asyncio.create_task(_post(limit, 900_000, statuses)) for _ in range(2)]
        senders += [asyncio.create_task(_post(limit, 60_000, statuses)) for _ in range(10)]
        await asyncio.sleep(0.05)
        assert statuses == [503]  # the second one of 900 kB; a visitor's clicks go on
        hold.set()
        await asyncio.gather(*senders)

    wait_for(asked())


def test_several_large_bodies_at_once_share_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    rests: list[float] = []

    async def rest(seconds: float) -> None:
        rests.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", rest)

    async def asked(count: int) -> None:
        others = asyncio.Barrier(count)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await receive()
            await others.wait()
            await receive()

        limit = BodyLimit(app)
        for _ in range(2):  # the second time as the first, after which nothing is left
            await asyncio.gather(*(_post(limit, 2 * MEGABYTE, [], pieces=2) for _ in range(count)))

    wait_for(asked(2))
    assert rests == []
    wait_for(asked(3))
    assert set(rests) == {2 * MEGABYTE / limits.MAX_RATE}


async def _post(app: Any, size: int, statuses: list[int], ends: bool = True, pieces: int = 1) -> None:
    messages = iter(
        {"type": "http.request", "body": bytes(size), "more_body": left > 0 or not ends}
        for left in reversed(range(pieces))
    )

    async def receive() -> Message:
        message = next(messages, None)
        if message is None:
            await asyncio.sleep(60)
            raise AssertionError("it was not given up")
        return message

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await app({"type": "http", "method": "POST", "path": "/x", "headers": []}, receive, send)


@pytest.mark.slow
def test_the_folder_of_uploads_keeps_to_its_quota(
    page: gr.Blocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body_limit, "_MEASURED_EVERY", MEGABYTE)
    monkeypatch.setattr(limits, "MAX_UPLOADS", 4 * MEGABYTE)
    client = TestClient(page.app)
    for number in range(12):
        file = ("files", (f"{number}.jpg", bytes(MEGABYTE)))
        assert client.post("/gradio_api/upload", files=[file]).status_code == 200
        taken = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
        assert taken <= 6 * MEGABYTE  # the quota, what came since, and the form's own
    assert len(list(tmp_path.glob("*/11.jpg"))) == 1


def test_those_that_lay_longest_make_room(tmp_path: Path) -> None:
    for age, name in enumerate(("new", "older", "oldest")):
        (tmp_path / name).write_bytes(bytes(100))
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    folder.make_room(tmp_path, 2 * (100 + folder.FILE_COST))
    assert {path.name for path in tmp_path.iterdir()} == {"new", "older"}


def test_no_empty_folders_stay(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "photo.jpg").write_bytes(bytes(100))
    folder.make_room(tmp_path, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_refused_request_leaves_no_upload(page: gr.Blocks, tmp_path: Path) -> None:
    page.queue(max_size=0)  # full from the start
    gradio_patches.ask_to_come_back(page)
    client = TestClient(page.app)
    paths = [
        client.post("/gradio_api/upload", files={"files": ("a.jpg", b"hello")}).json()[0] for _ in range(3)
    ]
    records = [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in paths]
    body = {"data": [records[0], records[1:]], "fn_index": 0, "session_hash": "me"}
    assert client.post("/gradio_api/queue/join", json=body).status_code == 503
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_limit_can_be_set_and_a_wrong_one_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CILF_MAX_FILES", "7")
    assert limits.limit("MAX_FILES", 100) == 7
    monkeypatch.setenv("CILF_MAX_FILES", "many")
    with pytest.raises(limits.UsageError, match="CILF_MAX_FILES is 'many'; give a whole number"):
        limits.limit("MAX_FILES", 100)
