"""Answers programs that find the line full before Gradio reads their calls: the event loop is busy enough then."""

import asyncio
import json
from typing import Any

import gradio as gr
from gradio.queueing import Event
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cilf.demo import limits
from cilf.demo.server import line
from cilf.demo.uploads import api_inputs

JOIN = "/gradio_api/queue/join"


class FullLine:
    """ASGI middleware, given to Gradio through `app_kwargs`.

    It answers as `gradio_patches.ask_to_come_back` does, which sees every call: this one only saves time. Visitors,
    calls of more than a megabyte, other ways into the line, and what cannot be read as a call go on to Gradio.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].endswith(JOIN):
            await self._app(scope, receive, send)
            return
        messages: list[Message] = []
        size, more = 0, True
        while more and size <= limits.MEGABYTE:
            messages.append(await receive())
            size += len(messages[-1].get("body", b""))
            more = messages[-1].get("more_body", False)
        is_large = more or size > limits.MEGABYTE
        call = {} if is_large else _call(b"".join(message.get("body", b"") for message in messages))
        if _finds_no_place(call, scope):
            api_inputs.discard(call.get("data"))
            await asyncio.sleep(limits.REFUSAL_S)
            await JSONResponse({"detail": line.FULL}, 503)(scope, receive, send)
            return

        async def again() -> Message:
            return messages.pop(0) if messages else await receive()

        await self._app(scope, again, send)


def _call(body: bytes) -> dict[str, Any]:
    """The call in a request's body; empty where it holds none."""
    try:
        call = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return call if isinstance(call, dict) else {}


def _finds_no_place(call: dict[str, Any], scope: Scope) -> bool:
    """Whether the call is a program's, and the line full for it."""
    page: gr.Blocks = scope["app"].get_blocks()
    number, session = call.get("fn_index"), call.get("session_hash")
    function = page.fns.get(number) if isinstance(number, int) else None
    if function is None or not isinstance(session, str):
        return False
    event = Event(session, function, Request(scope), None)
    return line.is_program(event) and line.is_full(page._queue, event)
