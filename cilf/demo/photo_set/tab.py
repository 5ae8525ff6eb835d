"""The Photo set tab: many photos in, a gallery, a histogram and a table out.

The browser (`photo_set.js`) sends one photo after the other to addresses of our own and puts the answers into the
page. Gradio's own upload would wait for the last photo before the first result, keep the whole set on the disk, lose
the names of folders, give equal files of two visitors the same path, and leave there what came of a broken upload.

Photos of all sets take turns, first come, first served, and let a single photo of a visitor pass: a long set starves
neither another one nor the Photo tab. Where a set is large, worker processes find its faces.
"""

import asyncio
import logging
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from html import escape
from operator import attrgetter
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from weakref import WeakKeyDictionary, WeakSet

import gradio as gr
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cilf.demo import limits, texts
from cilf.demo.limits import MAX_ARCHIVE, MAX_PHOTO, MAX_VIDEO, shortened
from cilf.demo.panel import panel
from cilf.demo.photo_set import views
from cilf.demo.photo_set.sets import Key, OpenVideo, PhotoSet, PhotoSets
from cilf.demo.photo_set.shared_workers import SharedWorkers
from cilf.demo.server.model_host import Estimator
from cilf.demo.server.priority import VISITORS_FIRST
from cilf.demo.uploads import folder
from cilf.demo.uploads.images import Upload, too_large
from cilf.errors import CilfError, PhotoError, UsageError
from cilf.photo_set.pipeline import FEW, Pending, estimated, predict_photo
from cilf.photo_set.results import PhotoResult
from cilf.video.frames import Frame

log = logging.getLogger(__name__)

SCRIPT = Path(__file__).with_name("photo_set.js")

# One answer of a zip file brings what this many seconds gave: the page moves, and is not redrawn for every photo.
STEP_S = 1.0

# Photos of a zip file that are predicted at once; and photos of all large sets that are cropped at once.
AT_ONCE = 6
PLACES = 12

# So many bytes of photos of all sets may be in memory; senders of more are not read from until others are through.
ROOM = 512 << 20

# A sender with room who sends nothing for so many seconds loses it.
STALL_S = 30.0

# So does, after as long, a sender of fewer bytes a second while others wait for room: eight photos that trickle in
# would fill all of it. Where nobody waits nobody is hurried; many a line is slower.
PACE = 100_000

_MEDIA_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "parquet": "application/vnd.apache.parquet",
}


class PhotoSetTab:
    """Lays the tab out in the open `gr.Blocks`; `SetRoutes` answers its script.

    Args:
        sets: the sets of all pages.
    """

    def __init__(self, sets: PhotoSets) -> None:
        self._sets = sets
        self.frame = gr.HTML(
            views.frame(),
            js_on_load=SCRIPT.read_text(encoding="utf-8"),
            apply_default_css=False,
            elem_id="photo-set",
        )
        self.token = panel(elem_id="photo-set-token", elem_classes="cilf-hidden")

    def on_load(self, request: gr.Request) -> str:
        """A page was opened: give it the token of a set of its own."""
        token = self._sets.open(str(request.session_hash))
        return f'<i data-token="{escape(token)}"></i>'


class Room:
    """Bounds what is in memory at once; others wait for room, first come, first served.

    Args:
        size: bytes.
    """

    def __init__(self, size: int) -> None:
        self._size = self._left = size
        self._line = asyncio.Lock()
        self._freed = asyncio.Event()

    @property
    def has_waiters(self) -> bool:
        """Whether somebody waits for room."""
        return self._line.locked()

    @asynccontextmanager
    async def hold(self, size: int) -> AsyncIterator[None]:
        """Hold so many bytes, no more than there are in all."""
        size = min(size, self._size)
        async with self._line:
            while self._left < size:
                self._freed.clear()
                await self._freed.wait()
            self._left -= size
        try:
            yield
        finally:
            self._left += size
            self._freed.set()


class SetRoutes:
    """The addresses that the tab's script calls; every one starts with the token of the page's set.

    - POST `start`: empty the set.
    - POST `photo`: the body is a photo. Its name, its place in the set and, where nothing could be sent, why (`gone` or
      `large`) stand in headers, since addresses end up in the logs of servers in between.
    - POST `archive`: the body is a zip file. POST `video`: it is a short video. POST `next`: predict the next photos or
      frames of either.
    - POST `finish`: all is done, or the visitor has enough: drop the zip file or video, draw the histogram a last time.
    - GET `table.csv`, `.json`, `.parquet`.

    Answers are JSON: pieces of HTML from `views`, and figures. An error is a sentence in `problem`.
    """

    def __init__(self, sets: PhotoSets) -> None:
        self._sets = sets
        self._turn = asyncio.Semaphore(1)
        self._places = asyncio.Semaphore(PLACES)
        self._workers = SharedWorkers()
        self._room = Room(ROOM)
        self._next_turns: WeakKeyDictionary[PhotoSet, asyncio.Lock] = WeakKeyDictionary()
        self._next_waits: WeakSet[PhotoSet] = WeakSet()
        # Waiting for a video's frames takes none of the threads that answer everybody.
        self._decoding = ThreadPoolExecutor(limits.MAX_VIDEOS, thread_name_prefix="video")

    def routes(self) -> list[Route]:
        """For the server's table of addresses."""
        actions: dict[str, Callable[[PhotoSet, Request], Awaitable[dict[str, Any]]]] = {
            "start": self._start,
            "photo": self._photo,
            "archive": self._archive,
            "video": self._video,
            "next": self._next,
            "finish": self._finish,
        }
        posts = [
            Route(f"/photo-set/{{token}}/{name}", self._answering(action), methods=["POST"])
            for name, action in actions.items()
        ]
        return [*posts, Route("/photo-set/{token}/table.{kind}", self._download, methods=["GET"])]

    async def _start(self, photo_set: PhotoSet, request: Request) -> dict[str, Any]:
        await run_in_threadpool(photo_set.clear)
        return {"loading": self._sets.host.state == "loading"}

    async def _photo(self, photo_set: PhotoSet, request: Request) -> dict[str, Any]:
        name, place, problem = _label(request, MAX_PHOTO)
        length = _length(request)
        kept = 0 if problem or length > MAX_PHOTO else length
        async with self._room.hold(kept):
            try:
                data = await _body(request, kept, self._room)
            except TimeoutError:
                data, problem = None, texts.SET_STALLED.format(name)
            if data is None:
                problem = problem or too_large(name, MAX_PHOTO)
            result = await self._predict_upload(photo_set, place, Upload(name, data or b"", problem))
        return await run_in_threadpool(self._answer, photo_set, [result])

    async def _archive(self, photo_set: PhotoSet, request: Request) -> dict[str, Any]:
        return await self._receive(photo_set, request, MAX_ARCHIVE, photo_set.open_archive)

    async def _video(self, photo_set: PhotoSet, request: Request) -> dict[str, Any]:
        return await self._receive(photo_set, request, MAX_VIDEO, partial(self._sets.open_video, photo_set))

    async def _receive(
        self, photo_set: PhotoSet, request: Request, limit: int, open_file: Callable[[Any, int, str], int]
    ) -> dict[str, Any]:
        """Keep the body as a file of at most `limit` bytes, and open it: how many photos it holds."""
        with self._sets.receiving_archive(photo_set):
            name, place, problem = _label(request, limit)
            # Without a name on the disk: it is gone when it is closed, and even when the program is killed.
            file = tempfile.TemporaryFile()  # noqa: SIM115 - the set closes it
            try:
                async for chunk in _chunks(request, lambda: self._sets.archives_full):
                    if photo_set.forgotten:
                        raise UsageError(texts.SET_FORGOTTEN)
                    if file.tell() + len(chunk) > limit:
                        problem = too_large(name, limit)
                    if not problem:
                        await run_in_threadpool(file.write, chunk)
                if not problem:
                    return {"count": await run_in_threadpool(open_file, file, place, name)}
            except PhotoError as error:
                problem = str(error)
            except TimeoutError:
                problem = texts.SET_STALLED.format(name)
            except BaseException:
                file.close()
                raise
            file.close()
            result = await self._predict_upload(photo_set, place, Upload(name, error=problem))
            return {"count": 0, **await run_in_threadpool(self._answer, photo_set, [result])}

    async def _next(self, photo_set: PhotoSet, request: Request) -> dict[str, Any]:
        # A page asks again when it is answered, or when it has lost the answer: one call is answered, one may wait.
        if photo_set in self._next_waits:
            raise UsageError(texts.BUSY)
        turn = self._next_turns.setdefault(photo_set, asyncio.Lock())
        if turn.locked():
            self._next_waits.add(photo_set)
        try:
            await turn.acquire()
        finally:
            self._next_waits.discard(photo_set)
        try:
            if photo_set.video is not None:
                return await self._next_frames(photo_set, photo_set.video)
            return await self._next_photos(photo_set)
        finally:
            turn.release()

    async def _next_photos(self, photo_set: PhotoSet) -> dict[str, Any]:
        end = time.monotonic() + STEP_S

        async def several() -> list[PhotoResult | None]:
            """Photo after photo until the time is up or there is none, which the last one says."""
            results = [await self._predict(photo_set, photo_set.next_member)]
            while results[-1] is not None and time.monotonic() < end:
                results.append(await self._predict(photo_set, photo_set.next_member))
            return results

        at_once = 1 if len(photo_set) < FEW else AT_ONCE
        parts = await asyncio.gather(*(several() for _ in range(at_once)))
        results = [result for part in parts for result in part if result is not None]
        results.sort(key=attrgetter("name"))
        more = all(part[-1] is not None for part in parts)
        return {**await run_in_threadpool(self._answer, photo_set, results), "more": more}

    async def _next_frames(self, photo_set: PhotoSet, video: OpenVideo) -> dict[str, Any]:
        """Frame after frame until the time is up, or the video is through and has its rows."""
        end = time.monotonic() + STEP_S
        loop = asyncio.get_running_loop()
        while isinstance(frame := await loop.run_in_executor(self._decoding, video.next_frame), Frame):
            async with self._turn:
                await run_in_threadpool(video.add, frame)
            if time.monotonic() >= end:
                answer = await run_in_threadpool(self._answer, photo_set, [])
                note = texts.SET_FRAMES.format(video.name, video.done)
                return {**answer, "more": True, "note": note, "share": video.share}
        photo_set.add(video.key, frame.rows)
        await run_in_threadpool(photo_set.close_archive)
        return {**await run_in_threadpool(self._answer, photo_set, [frame]), "more": False}

    async def _finish(self, photo_set: PhotoSet, request: Request) -> dict[str, Any]:
        await run_in_threadpool(photo_set.close_archive)
        return {"histogram": await run_in_threadpool(_histogram, photo_set)}

    async def _download(self, request: Request) -> Response:
        photo_set = self._sets.get(request.path_params["token"])
        kind = request.path_params["kind"]
        if photo_set is None:
            return Response(texts.SET_FORGOTTEN, 404, media_type="text/plain")
        try:
            content = await run_in_threadpool(photo_set.export, kind)
        except UsageError as error:
            return Response(texts.sentence(error), 404, media_type="text/plain")
        except OSError:
            return Response(texts.DISK_FULL, 507, media_type="text/plain")
        headers = {
            "Content-Disposition": f'attachment; filename="ages.{kind}"',
            "Cache-Control": "no-store",
        }
        return Response(content, media_type=_MEDIA_TYPES[kind], headers=headers)

    async def _predict_upload(self, photo_set: PhotoSet, place: int, upload: Upload) -> PhotoResult:
        result = await self._predict(photo_set, lambda: ((place, 0), upload))
        assert result is not None
        return result

    async def _predict(
        self, photo_set: PhotoSet, next_photo: Callable[[], tuple[Key, Upload] | None]
    ) -> PhotoResult | None:
        """Predict the photo that is next when the turn comes, and remember its rows; None where there is none.

        Photos of a set that has become large are cropped by worker processes, several at a time.
        """
        if len(photo_set) < FEW:
            async with self._turn:
                return await run_in_threadpool(self._predict_here, photo_set, next_photo)
        async with self._places:
            cropped = await run_in_threadpool(self._crop, photo_set, next_photo)
            if cropped is None:
                return None
            async with self._turn:
                return await run_in_threadpool(self._estimate, photo_set, *cropped)

    def _predict_here(
        self, photo_set: PhotoSet, next_photo: Callable[[], tuple[Key, Upload] | None]
    ) -> PhotoResult | None:
        self._sets.check_room(photo_set)
        estimator, photo = self._sets.host.get(), next_photo()
        if photo is None:
            return None
        key, upload = photo
        with VISITORS_FIRST.other():
            result = predict_photo(estimator, upload.name, upload.decoded)
        photo_set.add(key, result.rows)
        return result

    def _crop(
        self, photo_set: PhotoSet, next_photo: Callable[[], tuple[Key, Upload] | None]
    ) -> tuple[Estimator, Key, Pending] | None:
        """Have the next photo cropped, and wait until it is."""
        self._sets.check_room(photo_set)
        estimator, photo = self._sets.host.get(), next_photo()
        if photo is None:
            return None
        key, upload = photo
        with self._workers.use(estimator) as workers, VISITORS_FIRST.other():
            cropped = workers.submit(upload.name, upload.held)
            cropped.exception()
        return estimator, key, (upload.name, cropped)

    def _estimate(self, photo_set: PhotoSet, estimator: Estimator, key: Key, cropped: Pending) -> PhotoResult:
        with VISITORS_FIRST.other():
            [result] = estimated(estimator, [cropped])
        photo_set.add(key, result.rows)
        return result

    def _answer(self, photo_set: PhotoSet, results: Sequence[PhotoResult]) -> dict[str, Any]:
        """What the page shows of photos that were predicted. Thumbnails take time: not for the event loop."""
        rows = [row for result in results for row in result.rows]
        answer = {
            "photos": len(results),
            "faces": sum(len(result.faces) for result in results),
            "rows": "".join(map(views.rows, results)),
            "gallery": "".join(map(views.faces, reversed(results))),
            "failures": "".join(map(views.failures, results)),
            "failed": sum(row["error"] is not None for row in rows),
        }
        if photo_set.is_due(STEP_S):
            answer["histogram"] = _histogram(photo_set)
        return answer

    def _answering(
        self, action: Callable[[PhotoSet, Request], Awaitable[dict[str, Any]]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            photo_set = self._sets.get(request.path_params["token"])
            if photo_set is None:
                return JSONResponse({"problem": texts.SET_FORGOTTEN, "gone": True}, 404)
            try:
                with photo_set.in_use():
                    answer = await action(photo_set, request)
                return JSONResponse(answer, headers={"Cache-Control": "no-store"})
            except CilfError as error:
                await asyncio.sleep(limits.REFUSAL_S)
                return JSONResponse({"problem": texts.sentence(error)}, 400)
            except ClientDisconnect:
                return Response(status_code=400)  # nobody hears it
            except Exception as error:
                if folder.is_full(error):
                    return JSONResponse({"problem": texts.DISK_FULL}, 507)
                log.exception("a photo set could not be handled")
                return JSONResponse({"problem": texts.SET_UNEXPECTED}, 500)

        return answer


def _histogram(photo_set: PhotoSet) -> str:
    return views.histogram(views.count_ages(photo_set.rows()))


def _length(request: Request) -> int:
    """How long the body is; as long as it may be, where the browser does not say so."""
    length = request.headers.get("content-length", "")
    return int(length) if length.isdecimal() else MAX_PHOTO


async def _body(request: Request, limit: int, room: Room) -> bytes | None:
    """The body of a request, or None where it is longer than that; it is read to its end even then, since a browser
    hears no answer before.

    Raises:
        TimeoutError: nothing more of it came for a while, or too little while others wait for `room`.
    """
    data, fits = bytearray(), True
    async for chunk in _chunks(request, lambda: limit > 0 and room.has_waiters):
        fits = fits and len(data) + len(chunk) <= limit
        if fits:
            data += chunk
        else:
            data.clear()
    return bytes(data) if fits else None


async def _chunks(request: Request, others_wait: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The body of a request as it comes.

    Raises:
        TimeoutError: nothing more of it came for a while, or too little while others wait.
    """
    chunks, size = request.stream(), 0
    hurry = time.monotonic() + STALL_S
    while True:
        try:
            async with asyncio.timeout(STALL_S):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        size += len(chunk)
        if others_wait() and size < PACE * (time.monotonic() - hurry):
            raise TimeoutError
        yield chunk


def _label(request: Request, limit: int) -> tuple[str, int, str]:
    """A file's name, its place in the set, and why the browser could not send it; empty where it could."""
    name = shortened(unquote(request.headers.get("cilf-name", "photo")))
    place = request.headers.get("cilf-place", "")
    problem = {"gone": texts.SET_GONE.format(name), "large": too_large(name, limit)}
    return (
        name,
        int(place) if place.isdecimal() and len(place) < 10 else 0,
        problem.get(request.headers.get("cilf-problem", ""), ""),
    )
