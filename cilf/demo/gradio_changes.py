"""What Gradio does otherwise than the page promises, and has no setting for, changed in its own modules.

Each change has a test that fails once Gradio's inside is another one.
"""

import secrets
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import HTTPException, status
from gradio import processing_utils, route_utils
from gradio import routes as routing
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import Message, Receive, Scope, Send

from cilf.demo import handed_in, texts


def make(page: gr.Blocks) -> None:
    """Make all changes, those of the page's queue and those that hold for the whole program."""
    route_utils.GradioUploadFile = _Apart  # type: ignore[misc]
    route_utils.GradioMultiPartParser = _Tidy  # type: ignore[misc]
    route_utils.FileResponse = _Vanishing  # type: ignore[misc]
    routing.secure_url_stream_response = no_relay
    processing_utils.async_ssrf_protected_download = handed_in.postponed
    ask_to_come_back(page)


class _Apart(route_utils.GradioUploadFile):
    """An upload in a folder of its own. Gradio names the folder after the content alone, and of two visitors with the
    same photo the first one's answer would remove the second one's file."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.sha.update(secrets.token_bytes(16))


class _Tidy(route_utils.GradioMultiPartParser):
    """Reads an upload, and removes what has come of it when the visitor goes away in its middle."""

    async def parse(self) -> FormData:
        try:
            return await super().parse()
        except BaseException:
            for file in self._files_to_close_on_error:
                file.close()
                Path(file.name).unlink(missing_ok=True)
            raise


class _Vanishing(FileResponse):
    """A file's content. An upload may be read and removed while the browser asks for it, and the error that tells of it
    would put the visitor's name for it into the log."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await super().__call__(scope, receive, sending)
        except (FileNotFoundError, RuntimeError):
            if not begun:
                await Response(status_code=404)(scope, receive, send)


async def no_relay(url: str, request: Request) -> Response:
    """In the place of Gradio's relay, which brings anybody any public address, of any length, through this computer."""
    return Response(status_code=403)


def ask_to_come_back(page: gr.Blocks) -> None:
    """Have a visitor who finds the queue full read our sentence.

    Gradio's page shows one of its own at status 503, whatever the server says, and what the server says at others.
    Programs keep 503, which their client knows.
    """
    queue, push = page._queue, page._queue.push

    async def push_or_ask(body: Any, *arguments: Any, **options: Any) -> Any:
        answer = await push(body, *arguments, **options)
        event = page.fns.get(body.fn_index)
        if answer[2] == "queue_full" and event is not None and event.api_visibility == "private":
            raise HTTPException(status.HTTP_429_TOO_MANY_REQUESTS, texts.BUSY)
        return answer

    queue.push = push_or_ask  # type: ignore[method-assign]
