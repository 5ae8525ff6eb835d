"""Places in line: what one caller, and all programs, get of it."""

import asyncio
from typing import Any

import gradio as gr
import pytest
from fastapi.testclient import TestClient

from cilf.demo import limits
from cilf.demo.server import gradio_patches
from cilf.demo.server.line import Unread


@pytest.fixture
def page() -> gr.Blocks:
    """A page whose calls are never answered, since nobody starts its queue; function 0 is a visitor's."""
    with gr.Blocks(analytics_enabled=False) as page:
        gr.Button().click(lambda: None, api_visibility="private")
        gr.api(answer)
    page.queue(max_size=20, api_open=False)
    gradio_patches.ask_to_come_back(page)
    return page


def answer() -> str:
    return "done"


def join(client: TestClient, function: int, session: str, **headers: str) -> int:
    body = {"data": [], "fn_index": function, "session_hash": session}
    return client.post("/gradio_api/queue/join", json=body, headers=headers).status_code


def test_a_page_session_has_four_places(page: gr.Blocks) -> None:
    client = TestClient(page.app)
    assert [join(client, 0, "me") for _ in range(5)] == [200] * 4 + [429]
    assert join(client, 1, "me") == 503
    assert join(client, 0, "you") == 200


def test_programs_leave_visitors_their_places(page: gr.Blocks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_PROGRAMS", 5)
    client = TestClient(page.app)
    assert [join(client, 1, f"program {number}") for number in range(7)] == [200] * 5 + [503] * 2
    assert client.post("/gradio_api/call/answer", json={"data": []}).status_code == 503
    assert join(client, 0, "visitor") == 200


def test_an_address_is_believed_where_the_proxy_s_header_is_named(
    page: gr.Blocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = TestClient(page.app)
    header = {"X-Forwarded-For": "203.0.113.9, 192.0.2.1"}
    assert [join(client, 0, f"a{number}", **header) for number in range(5)] == [200] * 5
    monkeypatch.setattr(limits, "CLIENT_HEADER", "x-forwarded-for")
    assert join(client, 0, "b", **header) == 429
    assert join(client, 0, "b", **{"X-Forwarded-For": "192.0.2.1, 192.0.2.2"}) == 200
    client.headers = [("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-For", "192.0.2.1")]  # type: ignore[assignment]
    assert join(client, 0, "c") == 429  # the proxy's line is the last one


def test_nobody_passes_the_line_by(page: gr.Blocks) -> None:
    assert TestClient(page.app).post("/gradio_api/run/answer", json={"data": []}).status_code == 404


def test_a_refusal_takes_a_moment(page: gr.Blocks, monkeypatch: pytest.MonkeyPatch) -> None:
    rests: list[float] = []
    sleep = asyncio.sleep

    async def rest(seconds: float, *result: Any) -> None:
        rests.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", rest)
    monkeypatch.setattr(limits, "REFUSAL_S", 7)
    client = TestClient(page.app)
    assert [join(client, 0, "me") for _ in range(5)] == [200] * 4 + [429]
    assert rests.count(7) == 1


def test_answers_that_nobody_fetches_are_dropped(page: gr.Blocks) -> None:
    client, queue, now = TestClient(page.app), page._queue, [0.0]
    unread = Unread(queue, seconds=60, clock=lambda: now[0])
    for session in ("in line", "answered"):
        join(client, 0, session)
    for event in [each for each in queue.event_ids_to_events.values() if each.session_hash == "answered"]:
        del queue.event_ids_to_events[event._id]  # as Gradio does
    for now[0], kept in ((59.0, 2), (61.0, 2), (119.0, 2), (122.0, 1)):
        unread.forget_old()
        assert len(queue.pending_messages_per_session) == kept
    assert {*queue.pending_messages_per_session} == {*queue.pending_event_ids_session} == {"in line"}
    assert join(client, 0, "answered") == 200  # begins again


@pytest.mark.slow
def test_nobody_in_line_is_dropped_for_others(page: gr.Blocks) -> None:
    queue = page._queue
    queue.pending_messages_per_session.max_size = 2
    gradio_patches.ask_to_come_back(page)
    assert {join(TestClient(page.app), 0, f"visitor {number}") for number in range(5)} == {200}
    queue.broadcast_estimations(page.fns[0].concurrency_id)
    assert all(messages.qsize() for messages in queue.pending_messages_per_session.values())
    assert len(queue.pending_messages_per_session) == 5
