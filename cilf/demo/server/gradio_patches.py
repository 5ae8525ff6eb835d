"""What Gradio does otherwise than the page promises, and has no setting for, changed in its own modules.

Each change has a test that goes through Gradio's own routes, and fails once its inside is another one.
"""

import os
import secrets
import time
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import gradio as gr
from fastapi import HTTPException, status
from gradio import processing_utils, route_utils, utils
from gradio import routes as routing
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import Message, Receive, Scope, Send

from cilf.demo import texts
from cilf.demo.uploads import api_inputs as handed_in


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


def not_here(*_: Any, **__: Any) -> NoReturn:
    """In the place of the parser for files that come by other ways than an upload: to a component's own functions, of
    which this page has none, and as a recording of the screen. Gradio puts them into the system's temporary folder, and
    leaves there what a broken connection, and any recording, brought."""
    raise HTTPException(status.HTTP_404_NOT_FOUND)


def remove_old_files(page: gr.Blocks, age: float | None) -> None:
    """In the place of Gradio's removal of what was uploaded more than `age` seconds ago (None: of everything).

    Gradio's remembers the name of each file that somebody else removed, ends for good at a name that the disk cannot
    hold, such as a long address in the place of a path, and at an upload that comes while it counts.
    """
    for names in page.temp_file_sets:
        for name in names.copy():
            try:
                if age is not None and time.time() - os.lstat(name).st_ctime <= age:
                    continue
                os.remove(name)  # noqa: PTH107 - for `Path` too, a name may be too strange
            except (OSError, ValueError):
                pass  # it is gone, or never was
            names.discard(name)


def is_no_file_of_the_page(path: Any) -> bool:
    """In the place of Gradio's look whether a program names a file that the page shows, of which there are none: it
    fails at an address too long for a path, with the address in the log."""
    return False


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


CHANGES: tuple[tuple[ModuleType, str, object], ...] = (
    (route_utils, "GradioUploadFile", _Apart),
    (route_utils, "GradioMultiPartParser", _Tidy),
    (route_utils, "FileResponse", _Vanishing),
    (route_utils, "delete_files_created_by_app", remove_old_files),
    (routing, "GradioMultiPartParser", not_here),
    (routing, "secure_url_stream_response", no_relay),
    (utils, "is_static_file", is_no_file_of_the_page),
    (processing_utils, "async_ssrf_protected_download", handed_in.postponed),
)


def make(page: gr.Blocks) -> None:
    """Make all changes, those that hold for the whole program and those of the page's queue.

    Raises:
        RuntimeError: this Gradio is another one than the changes were made for.
    """
    for module, name, ours in CHANGES:
        if not hasattr(module, name):
            raise RuntimeError(
                f"Gradio {gr.__version__} has no {module.__name__}.{name}, which this page has to change; install the "
                "version that requirements.txt names"
            )
        setattr(module, name, ours)
    ask_to_come_back(page)
