"""Bounds what one request, and all of them together, may bring: Gradio reads a request's body whole, of any size."""

import asyncio
import re
import time
from pathlib import Path

from gradio.utils import get_upload_folder
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cilf.demo import limits, texts
from cilf.demo.limits import MEGABYTE
from cilf.demo.uploads import folder

_ARCHIVE = re.compile(r"/photo-set/[^/]+/archive$")
_VIDEO = re.compile(r"/photo-set/[^/]+/video$")
_PHOTO = re.compile(r"/photo-set/[^/]+/photo$|/upload/?$")
_UPLOAD = re.compile(r"/upload/?$")

# The folder of uploads is measured again after so many bytes.
_MEASURED_EVERY = 64 * MEGABYTE

# A body of so many bytes is small.
_SMALL = 1 << 16

# So many large bodies at once come as fast as they may: those of one browser that sends a set.
_UNHURRIED = 2

_REFUSALS = {408: texts.TOO_SLOW, 413: texts.TOO_LONG, 503: texts.BUSY}


class BodyLimit:
    """ASGI middleware, given to Gradio through `app_kwargs`.

    - A body over its route's limit is refused before it is read, or as soon as it passes the limit (413).
    - Bodies that bring no file come into memory: they have a time limit (408), and a limit together (503), which small
      ones, such as a visitor's clicks, may pass by as much again.
    - Where several bodies of more than a megabyte come at once, they share a rate: reading takes the event loop's time,
      which small requests wait for.
    - When the folder of uploads passes its quota, the files that have lain there longest make room: a visitor's is read
      as soon as it is whole.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._in_memory = 0
        self._not_measured = 0
        self._large = 0
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        path, most = scope["path"], limits.MAX_REQUEST
        is_upload, to_memory = _UPLOAD.search(path) is not None, False
        if _ARCHIVE.search(path):
            most = limits.MAX_ARCHIVE
        elif _VIDEO.search(path):
            most = limits.MAX_VIDEO
        elif _PHOTO.search(path):
            most = limits.MAX_PHOTO + MEGABYTE  # a form's own lines stand around an upload
        else:
            to_memory = True
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > most:
            await _refuse(413, scope, receive, send)
            return
        begun, size, refusal, end = False, 0, 0, time.monotonic() + limits.REQUEST_S
        whole = False

        async def receiving() -> Message:
            nonlocal size, refusal, whole
            if whole:
                return await receive()
            try:
                async with asyncio.timeout(end - time.monotonic() if to_memory else None):
                    message = await receive()
            except TimeoutError:
                refusal = 408
                return {"type": "http.disconnect"}
            count = len(message.get("body", b""))
            self._large += size <= MEGABYTE < size + count
            size += count
            whole = not message.get("more_body", False)
            if is_upload:
                await self._keep_quota(count)
            if to_memory:
                self._in_memory += count
                if self._in_memory > (1 if size > _SMALL else 2) * limits.MAX_REQUESTS:
                    refusal = 503
            if size > most:
                refusal = 413
            if size > MEGABYTE:
                shares_rate = self._large > _UNHURRIED
                self._large -= whole
                if shares_rate:
                    await self._keep_rate(count)
            return {"type": "http.disconnect"} if refusal else message

        async def sending(message: Message) -> None:
            nonlocal begun
            if refusal and not begun:
                return  # ours comes in its place
            begun = True
            await send(message)

        try:
            if is_upload:
                await self._keep_quota(folder.FILE_COST)
            await self._app(scope, receiving, sending)
        except Exception:
            if not refusal:
                raise
        finally:
            if to_memory:
                self._in_memory -= size
            self._large -= size > MEGABYTE and not whole
        if refusal and not begun:
            await _refuse(refusal, scope, receive, send)

    async def _keep_rate(self, size: int) -> None:
        async with self._turn:
            await asyncio.sleep(size / limits.MAX_RATE)

    async def _keep_quota(self, size: int) -> None:
        self._not_measured += size
        if self._not_measured >= _MEASURED_EVERY:
            self._not_measured = 0
            await run_in_threadpool(folder.make_room, Path(get_upload_folder()), limits.MAX_UPLOADS)


async def _refuse(status: int, scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.sleep(limits.REFUSAL_S)
    # The rest of the body is not read, so nothing else can come over this connection.
    answer = JSONResponse({"detail": _REFUSALS[status]}, status, headers={"Connection": "close"})
    await answer(scope, receive, send)
