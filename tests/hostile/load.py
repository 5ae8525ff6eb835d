"""The load run: visitors of the page among callers who mean it harm, on this computer alone, for so many minutes.

`python -m tests.hostile.load --minutes 5 --clients 32` starts the page, measures how long a visitor's photo takes
undisturbed, and again while long prompts, huge pictures, many small calls, large bodies, long names, uploads that break
off and zip files come from the other clients. It stops by itself.

The visitors' clients are this process, and the hostile ones another, which yields to it and to the page: their
computers would not take this one's cores, and what a visitor's client waits for shall be the page.
"""

import argparse
import asyncio
import io
import itertools
import json
import multiprocessing
import os
import re
import secrets
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from tests.browser.running import HOPPER, Site, serve
from tests.hostile.cases import JSON
from tests.stand_in import packed

# Visitors among the clients; visits before anything else comes, and those before them that fill caches.
VISITORS, UNDISTURBED, FIRST = 4, 30, 5

# Under load, so many seconds pass from a visitor's result to the next photo.
PAUSE_S = 5.0

# So long after the load's end an answer may still come.
PATIENCE_S = 60.0

# Within so many seconds after the load, in which visitors come now and then, everything must be as before.
SETTLING_S = 90.0
VISIT_EVERY_S = 10.0

# The other clients' process has this much less of a right to the cores.
NICE = 10

# Before anything is measured, so many minutes of load fill caches and start threads.
WARM_UP = 1 / 6

# Our name for the function that gives a page the token of its photo set.
TOKEN = "token"

MEGABYTE = 1 << 20
BODIES = (15, 20)  # megabytes of JSON, a little under the limit and over it
BUSY = (429, 503)
API = "/gradio_api"


@dataclass
class Figures:
    """What the clients met.

    Attributes:
        visits: seconds of each visitor's photo from its upload to its result.
        busy: how often somebody was asked to come back.
        refused: hostile requests by client and status.
        errors: what no client may meet.
    """

    visits: list[float] = field(default_factory=list)
    busy: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)

    def add(self, others: "Figures") -> None:
        """Take what other clients met."""
        self.visits += others.visits
        self.busy += others.busy
        self.refused += others.refused
        self.errors += others.errors


class Client:
    """One client of the page.

    Args:
        http: sends its requests.
        functions: the page's functions by name.
        figures: takes what it meets.
    """

    def __init__(self, http: httpx.AsyncClient, functions: dict[str, int], figures: Figures) -> None:
        self._http = http
        self._functions = functions
        self._figures = figures

    async def visit(self) -> None:
        """A visitor's photo: uploaded, predicted, shown, removed."""
        session, began = secrets.token_hex(8), time.monotonic()
        answer = await self._upload(HOPPER.read_bytes(), "me.jpg")
        [path] = answer.json()
        record = {"path": path, "orig_name": "me.jpg", "meta": {"_type": "gradio.FileData"}}
        await self._run("on_arrived", [record], session)
        answered = await self._queued("on_photo", ["a child\nan old woman"], session)
        if answered is None:
            self._figures.busy += 1
        elif "cilf-age" not in answered:
            self._figures.errors.append(f"a visitor got {answered[:300]}")
        else:
            self._figures.visits.append(time.monotonic() - began)
        await self._run("on_empty", [], session)

    async def visits(self) -> None:
        """A visit, and the time that its result is read."""
        await self.visit()
        await asyncio.sleep(PAUSE_S)

    async def long_prompts(self) -> None:
        """Prompts of 128 KB, which take a tokenizer long."""
        await self._hostile(
            "long prompts", self._join("predict", ["data:,", ["a" * 128_000]], secrets.token_hex(8))
        )

    async def huge_picture(self) -> None:
        """A picture of 100 megapixels in a small file, through the line for programs."""
        answer = await self._upload(_huge(), "huge.png")
        session = secrets.token_hex(8)
        if answer.status_code == 200:
            record = {"path": answer.json()[0], "orig_name": "huge.png", "meta": {"_type": "gradio.FileData"}}
            if await self._queued("predict", [record, None], session) is None:
                self._figures.refused["huge picture: no place in line"] += 1

    async def small_calls(self) -> None:
        """216 small calls of one caller within seven seconds, who does not wait for answers."""
        session = secrets.token_hex(8)
        data = ["data:image/png;base64,aGVsbG8=", None]
        calls = []
        for _ in range(216):
            call = self._hostile("small calls", self._join("predict", data, session))
            calls.append(asyncio.create_task(call))
            await asyncio.sleep(7 / 216)
        await asyncio.gather(*calls)

    async def big_body(self) -> None:
        """Bodies of JSON a little under the limit, and over it."""
        for size in BODIES:
            body = self._http.post(
                f"{API}/queue/join", content=_big(size, self._functions["predict"]), headers=JSON
            )
            await self._hostile("big body", body)

    async def long_names(self) -> None:
        """A photo set of files with names of 40,000 letters."""
        token = await self._token()
        headers = {"Cilf-Name": "a" * 40_000, "Cilf-Place": "0"}
        await self._hostile(
            "long names", self._http.post(f"/photo-set/{token}/photo", content=b"x", headers=headers)
        )

    async def broken_upload(self) -> None:
        """Uploads of 30 MB that break off."""

        async def pieces() -> Any:
            yield b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
            for _ in range(30):
                yield bytes(MEGABYTE)
            raise ConnectionError

        form = {"Content-Type": "multipart/form-data; boundary=b"}
        try:
            await self._http.post(f"{API}/upload", content=pieces(), headers=form)
        except (ConnectionError, httpx.HTTPError):
            self._figures.refused["broken upload"] += 1

    async def archives(self) -> None:
        """Five zip files at once on one token, of photos and of a bomb."""
        token = await self._token()
        headers = {"Cilf-Name": "a.zip", "Cilf-Place": "0"}
        sends = [
            self._hostile(
                "archives",
                self._http.post(f"/photo-set/{token}/archive", content=_archive(), headers=headers),
            )
            for _ in range(5)
        ]
        await asyncio.gather(*sends)
        await self._hostile("archives", self._http.post(f"/photo-set/{token}/next"))
        await self._hostile("archives", self._http.post(f"/photo-set/{token}/start"))

    async def _hostile(self, name: str, request: Awaitable[httpx.Response]) -> None:
        try:
            answer = await request
        except (
            httpx.TransportError
        ):  # what is too long is refused, and its connection closed, before it is read
            self._figures.refused[f"{name}: closed"] += 1
            return
        self._figures.refused[f"{name}: {answer.status_code}"] += 1
        if answer.status_code >= 500 and answer.status_code not in BUSY:
            self._figures.errors.append(f"{name}: {answer.status_code} {answer.text[:200]}")

    async def _upload(self, data: bytes, name: str) -> httpx.Response:
        return await self._http.post(f"{API}/upload", files={"files": (name, data)})

    async def _token(self) -> str:
        answer = await self._run(TOKEN, [], secrets.token_hex(8))
        match = re.search(r"data-token=.{1,3}?([\w-]{20,})", answer.text)
        if match is None:
            raise ValueError(f"a page got no token but {answer.status_code} {answer.text[:200]}")
        return match[1]

    async def _run(self, name: str, data: list[Any], session: str) -> httpx.Response:
        body = {"data": data, "fn_index": self._functions[name], "session_hash": session}
        return await self._http.post(f"{API}/run/predict", json=body)

    async def _join(self, name: str, data: list[Any], session: str) -> httpx.Response:
        body = {"data": data, "fn_index": self._functions[name], "session_hash": session}
        return await self._http.post(f"{API}/queue/join", json=body)

    async def _queued(self, name: str, data: list[Any], session: str) -> str | None:
        """The answer's text when its turn has come; None where the line is full."""
        joined = await self._join(name, data, session)
        if joined.status_code in BUSY:
            return None
        if joined.status_code != 200:
            return joined.text
        event = joined.json()["event_id"]
        result = ""
        async with self._http.stream("GET", f"{API}/queue/data", params={"session_hash": session}) as stream:
            async for line in stream.aiter_lines():
                message = json.loads(line[5:]) if line.startswith("data:") else {}
                if message.get("event_id") == event and message["msg"] in (
                    "process_generating",
                    "process_completed",
                ):
                    result += json.dumps(message.get("output"))
                if message.get("msg") in ("process_completed", "close_stream"):
                    break
        return result


@cache
def _big(megabytes: int, function: int) -> bytes:
    body = {"data": ["a" * megabytes * MEGABYTE, None], "fn_index": function, "session_hash": "big"}
    return json.dumps(body).encode()


@cache
def _huge() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((10_000, 10_000), np.uint8)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _archive() -> bytes:
    photo = HOPPER.read_bytes()
    return packed({"a.jpg": photo, "bomb.png": bytes(4 * MEGABYTE), "c.jpg": photo[:5000]}).getvalue()


def _functions(config: dict[str, Any]) -> dict[str, int]:
    """The page's functions by name; the Photo set tab's is the one of its name that passes the line by."""
    every = config["dependencies"]
    [token] = [
        each["id"] for each in every if str(each["api_name"]).startswith("on_load") and not each["queue"]
    ]
    return {str(each["api_name"]): each["id"] for each in every} | {TOKEN: token}


ACTS = ("long_prompts", "huge_picture", "small_calls", "big_body", "long_names", "broken_upload", "archives")


async def _repeat(name: str, address: str, functions: dict[str, int], end: float, figures: Figures) -> None:
    """One client's act, again and again until then; what breaks is an error, and the client goes on."""
    async with httpx.AsyncClient(base_url=address, timeout=120) as http:
        act: Callable[[], Awaitable[None]] = getattr(Client(http, functions, figures), name)
        try:
            async with asyncio.timeout(end - time.monotonic() + PATIENCE_S):
                while time.monotonic() < end:
                    await _try(name, act, figures)
        except TimeoutError:
            figures.errors.append(f"{name}: no answer within {PATIENCE_S:.0f} s after the load")


async def _try(name: str, act: Callable[[], Awaitable[None]], figures: Figures) -> None:
    try:
        await act()
    except (httpx.HTTPError, ValueError, KeyError) as error:
        figures.errors.append(f"{name}: {type(error).__name__} {error}")
        await asyncio.sleep(1)


async def _under_load(site: Site, minutes: float, clients: int) -> Figures:
    """The figures of all clients together."""
    functions = await _visit(site, 0, Figures())
    visitors = min(VISITORS, clients)
    hostile = list(itertools.islice(itertools.cycle(ACTS), max(clients - visitors, 0)))
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), os.nice, (NICE,)) as other:
        # Its modules are imported, and its bodies made, before the clock runs.
        await asyncio.wrap_future(other.submit(_prepare, functions["predict"]))
        attack = asyncio.wrap_future(
            other.submit(_all_together, hostile, site.address, functions, 60 * minutes)
        )
        figures, end = Figures(), time.monotonic() + 60 * minutes
        await asyncio.gather(
            *(_repeat("visits", site.address, functions, end, figures) for _ in range(visitors))
        )
        figures.add(await attack)
    return figures


async def _visit(site: Site, times: int, figures: Figures) -> dict[str, int]:
    """Visits one after the other; gives the page's functions by name."""
    async with httpx.AsyncClient(base_url=site.address, timeout=120) as http:
        functions = _functions((await http.get("/config")).json())
        for _ in range(times):
            await Client(http, functions, figures).visit()
    return functions


def _prepare(function: int) -> None:
    for size in BODIES:
        _big(size, function)
    _huge()


def _all_together(acts: Sequence[str], address: str, functions: dict[str, int], seconds: float) -> Figures:
    """What clients that do this for so long meet."""
    figures, end = Figures(), time.monotonic() + seconds

    async def all_of_them() -> None:
        await asyncio.gather(*(_repeat(act, address, functions, end, figures) for act in acts))

    asyncio.run(all_of_them())
    return figures


def _held(site: Site) -> tuple[float, int, int]:
    """Megabytes and threads of the page's process, and files in its temporary folder."""
    status = Path(f"/proc/{site.pid}/status").read_text()
    memory, threads = (
        int(status.partition(f"{name}:")[2].split(maxsplit=1)[0]) for name in ("VmRSS", "Threads")
    )
    return memory / 1024, threads, len(site.files())


def _settled(site: Site, before: tuple[float, int, int]) -> tuple[float, int, int]:
    """What is held once it is as before, or after `SETTLING_S`.

    Visitors come meanwhile: Gradio's leftovers are dropped when somebody asks for a place in the line, and AnyIO ends
    threads that were idle for 10 seconds when another one gets work (`WorkerThread.MAX_IDLE_TIME`).
    """
    end = time.monotonic() + SETTLING_S
    while time.monotonic() < end and _left(before, _held(site)):
        asyncio.run(_visit(site, 1, Figures()))
        time.sleep(VISIT_EVERY_S)
    return _held(site)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the load, print the figures, and give 1 where a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.load", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5, help="of load; default 5")
    parser.add_argument("--clients", type=int, default=32, help="visitors and others; default 32")
    options = parser.parse_args(arguments)
    print(
        f"{options.clients} clients, {VISITORS} visitors among them, {options.minutes:g} minutes", flush=True
    )
    with tempfile.TemporaryDirectory() as folder, serve(Path(folder)) as site:
        quiet = Figures()
        asyncio.run(_visit(site, FIRST, Figures()))
        asyncio.run(_visit(site, UNDISTURBED, quiet))
        first = _held(site)
        asyncio.run(_under_load(site, WARM_UP, options.clients))
        before = _settled(site, first)
        loaded = asyncio.run(_under_load(site, options.minutes, options.clients))
        after = _settled(site, before)
    errors = [*quiet.errors, *loaded.errors]
    ratio = float("inf")
    for name, visits in (("undisturbed", quiet.visits), ("under load", loaded.visits)):
        if visits:
            p50, p95 = np.percentile(visits, (50, 95))
            print(f"{name}: {len(visits)} visits, p50 {p50:.2f} s, p95 {p95:.2f} s")
    if quiet.visits and loaded.visits:
        ratio = float(np.percentile(loaded.visits, 95) / np.percentile(quiet.visits, 95))
    print(f"p95 under load / undisturbed: {ratio:.2f} (bar 3)")
    print(f"visitors asked to come back: {loaded.busy}")
    print(f"errors: {len(errors)} (bar 0)", *errors[:20], sep="\n  ")
    for name, *values in zip(("megabytes", "threads", "files"), first, before, after, strict=True):
        print("{}: {:.0f} at the start, {:.0f} before the load, {:.0f} after it".format(name, *values))
    print(*(f"  {name}: {count}" for name, count in sorted(loaded.refused.items())), sep="\n")
    return int(bool(errors) or ratio > 3 or _left(before, after))


def _left(before: tuple[float, int, int], after: tuple[float, int, int]) -> bool:
    """Whether more than 100 MB, a thread or a file is left."""
    return after[0] > before[0] + 100 or after[1] > before[1] or after[2] > before[2]


if __name__ == "__main__":
    raise SystemExit(main())
