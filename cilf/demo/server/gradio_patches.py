"""What Gradio does otherwise than the page promises, has no setting for, and no middleware can do in its place: changes
in its own modules.

Each has a test that goes through Gradio's own routes, and fails once its inside is another one.
"""

import asyncio
import secrets
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Annotated, Any

import gradio as gr
from fastapi import HTTPException, status
from gradio import data_classes, processing_utils, route_utils, routes, state_holder
from gradio.queueing import Event
from pydantic import Field, create_model
from starlette.datastructures import FormData

from cilf.demo import limits, texts
from cilf.demo.server import line
from cilf.demo.server.guard import MAX_SESSION
from cilf.demo.uploads import api_inputs

# Uploads whose progress is kept for the page that asks for it; a program never asks.
MAX_PROGRESS = 1000

_move_files_to_cache = processing_utils.async_move_files_to_cache


class _Uploads(route_utils.GradioMultiPartParser):
    """Reads uploads, each into a folder of its own, and removes what has come when the visitor goes away in its middle.
    One request brings no more files than a program may ask about at once.

    Gradio names the folder after the content alone (gradio-app/gradio#3597): of two visitors with the same photo the
    first one's answer would remove the second one's file. Of a broken upload it closes the file and leaves it (no issue
    of Gradio's is known).
    """

    async def parse(self) -> FormData:
        self.max_files = limits.MAX_FILES
        try:
            form = await super().parse()
        except BaseException:
            for file in self._files_to_close_on_error:
                file.close()
                Path(file.name).unlink(missing_ok=True)
            raise
        for _, value in form.multi_items():
            if isinstance(value, route_utils.GradioUploadFile):
                value.sha.update(secrets.token_bytes(16))
        return form


class _Progress(route_utils.FileUploadProgress):
    """How far uploads are, of no more than `MAX_PROGRESS`: Gradio keeps for ever what nobody asks about, and the
    name of each upload that somebody has asked about in vain."""

    def track(self, upload_id: str) -> None:
        while len(self._statuses) >= MAX_PROGRESS:
            self.stop_tracking(next(iter(self._statuses)))
        super().track(upload_id)

    async def is_tracked(self, upload_id: str) -> bool:
        try:
            return await super().is_tracked(upload_id)
        finally:
            if upload_id not in self._statuses:
                self._signals.pop(upload_id, None)

    def stop_tracking(self, upload_id: str) -> None:
        super().stop_tracking(upload_id)
        self._signals.pop(upload_id, None)


def _with_short_session(name: str) -> type[data_classes.BaseModel]:
    """One of Gradio's bodies of requests that refuses a long name of a session: it is kept, also by our own stores."""
    body = getattr(data_classes, name)
    field = body.model_fields["session_hash"]
    session = Annotated[str, Field(max_length=MAX_SESSION)]
    if field.is_required():
        return create_model(name, __base__=body, session_hash=(session, ...))
    return create_model(name, __base__=body, session_hash=(session | None, None))


# Gradio's bodies of requests that name a session.
BODIES = ("PredictBody", "SimplePredictBody", "ComponentServerJSONBody", "CancelBody")


class _Light(state_holder.SessionState):
    """What is kept of a session, without a copy of the settings of all that the page shows. Gradio makes one on the
    event loop, for links to a page's contents, which this page has not."""

    def __init__(self, blocks: gr.Blocks) -> None:
        super().__init__(SimpleNamespace(default_config=blocks.default_config, blocks=()))  # type: ignore[arg-type]


async def leave_inputs(data: Any, block: Any, postprocess: bool = False, **options: Any) -> Any:
    """Hand a file's record to our code as it came; what goes out to the page is Gradio's to handle.

    Gradio downloads what a record names before our code is asked, whatever its size and onto the disk, and fails at an
    address too long for a path, with the address in the log (no issue of Gradio's is known). What lies in the folder of
    uploads and what does not, `uploads.images.is_uploaded` tells apart.
    """
    return await _move_files_to_cache(data, block, postprocess, **options) if postprocess else data


def ask_to_come_back(page: gr.Blocks) -> None:
    """Give places in the queue as `line.is_full` says, and have a visitor who finds it full read our sentence.

    Gradio's queue has one size for all callers, and keeps what nobody fetches (`line.Unread`).
    Gradio's page shows a sentence of its own at status 503, whatever the server says, and what the server says at
    others (gradio-app/gradio#2909). Programs keep 503, which their client knows.
    A refusal takes a moment, or who asks again at once would keep the page busy with refusals.
    """
    queue, push = page._queue, page._queue.push
    unread = line.Unread(queue)

    async def push_or_ask(body: Any, request: Any, username: str | None = None) -> Any:
        answer: tuple[Any, ...]
        unread.forget_old()
        event = page.fns.get(body.fn_index)
        if event is not None and line.is_full(queue, Event(body.session_hash, event, request, username)):
            answer = False, line.FULL, "queue_full"
        else:
            answer = await push(body, request, username)
        if not answer[0]:  # nothing else will read what the request has uploaded
            api_inputs.discard(body.data)
        if answer[2] == "queue_full":
            await asyncio.sleep(limits.REFUSAL_S)
        if answer[2] == "queue_full" and event is not None and event.api_visibility == "private":
            raise HTTPException(status.HTTP_429_TOO_MANY_REQUESTS, texts.BUSY)
        return answer

    queue.push = push_or_ask  # type: ignore[method-assign]


PATCHES: tuple[tuple[ModuleType, str, object], ...] = (
    (route_utils, "GradioMultiPartParser", _Uploads),
    (processing_utils, "async_move_files_to_cache", leave_inputs),
    (state_holder, "SessionState", _Light),
    (routes, "file_upload_statuses", _Progress()),
    *((routes, name, _with_short_session(name)) for name in BODIES),
)


def apply(page: gr.Blocks) -> None:
    """Make all changes, those that hold for the whole program and that of the page's queue.

    Raises:
        RuntimeError: this Gradio is another one than the changes were made for.
    """
    for module, name, ours in PATCHES:
        if not hasattr(module, name):
            raise RuntimeError(
                f"Gradio {gr.__version__} has no {module.__name__}.{name}, which this page has to change; install the "
                "version that requirements.txt names"
            )
        setattr(module, name, ours)
    ask_to_come_back(page)
