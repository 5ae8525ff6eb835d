"""What meets a stranger's input, each as one call: it returns, or raises one of our own errors, or something is wrong.

Nothing leaves this computer: names are not resolved, and behind every public address answers a stand-in.
"""

import io
import random
import socket
from collections.abc import Callable
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import app  # isort: skip - before Gradio, whose settings it makes
import gradio as gr
import httpx
import numpy as np
import safehttpx
from fastapi.testclient import TestClient

from cilf import AgeEstimator
from cilf.checkpoint import CONFIG, REPORT, read_config, read_report
from cilf.demo import texts
from cilf.demo.api import Endpoints
from cilf.demo.live.streams import Streams
from cilf.demo.photo_set.sets import PhotoSets
from cilf.demo.photo_set.tab import SetRoutes
from cilf.demo.server import gradio_patches, launch
from cilf.demo.server.model_host import ModelHost
from cilf.demo.server.sessions import Visits
from cilf.demo.server.settings import Settings
from cilf.demo.uploads import url_download
from cilf.demo.uploads.images import Upload
from cilf.demo.uploads.zip_archive import Archive
from cilf.errors import CilfError, UsageError
from cilf.face.images import open_photo, open_photo_bytes
from cilf.photo_set.results import COLUMNS
from cilf.photo_set.table import write_table
from cilf.prediction import FacePrediction
from tests.hostile import seeds
from tests.stand_in import FakeEstimator, make_face

# An archive is read no further: ten photos show what a thousand would.
MEMBERS = 10


class WrongAnswerError(Exception):
    """An answer that no input may get: a server error, or a number that is none."""


class Targets:
    """All targets, by name; what they need is made when it is first needed.

    Args:
        folder: takes files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, kind: str, data: Any) -> None:
        """Run one input through the target of its kind.

        Raises:
            CilfError: it is refused.
            Exception: anything else is a fault.
        """
        run: Callable[[Any], None] = getattr(self, kind)
        run(data)

    def prepare(self, kind: str) -> None:
        """Make what a target needs, so that no input is charged for it."""
        needs = {"prompts": "_estimator", "predict": "_estimator", "body": "_client"}
        getattr(self, needs.get(kind, "_endpoints"))

    def photo(self, data: bytes) -> None:
        """A file's bytes into pixels."""
        pixels = open_photo_bytes(data, "a.jpg")
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise WrongAnswerError(f"{pixels.dtype} {pixels.shape}")

    def upload(self, data: bytes) -> None:
        """The same as a visitor's upload, which large photos come out of halved."""
        with Upload("a.jpg", data).decoded():
            pass

    def file(self, data: bytes) -> None:
        """The same by way of the disk."""
        path = self._folder / "photo.jpg"
        path.write_bytes(data)
        open_photo(path)

    def path(self, data: str) -> None:
        """A name that may be no path."""
        open_photo(data)

    def array(self, data: tuple[tuple[int, ...], str]) -> None:
        """Pixels that are handed over, of any shape and type."""
        shape, dtype = data
        open_photo(np.zeros(shape, dtype))

    def archive(self, data: bytes) -> None:
        """A zip file, and the photos in it."""
        photos = Archive(io.BytesIO(data), "a.zip").photos()
        for _, upload in zip(range(MEMBERS), photos, strict=False):
            try:
                with upload.decoded():
                    pass
            except CilfError:
                pass

    def config(self, data: bytes) -> None:
        """A checkpoint's configuration."""
        (self._folder / CONFIG).write_bytes(data)
        read_config(self._folder)

    def report(self, data: bytes) -> None:
        """A checkpoint's evaluation report."""
        (self._folder / REPORT).write_bytes(data)
        read_report(self._folder)

    def address(self, data: str) -> None:
        """An address that a program names."""
        self.endpoint(("predict", {"photo": data}))

    def record(self, data: Any) -> None:
        """What else a program sends as a photo."""
        self.endpoint(("predict_set", {"files": [data, data]}))

    def prompts(self, data: Any) -> None:
        """Prompts of a program, through the tokenizer and the text tower; and the same as the page's editor."""
        if isinstance(data, str):
            data = texts.prompt_lines(data)[: texts.MAX_PROMPTS]
        for value in self._estimator.similarity(_face(), data).values():
            _require(-1 <= value <= 1, value)
        self._estimator.unknown_words(data)

    def row(self, data: str) -> None:
        """A file's name in every kind of table."""
        for kind in ("csv", "json", "parquet"):
            row = dict.fromkeys(COLUMNS) | {"path": data, "status": "unreadable", "error": data}
            write_table([row], self._folder / f"ages.{kind}")

    def body(self, data: tuple[str, str, bytes, dict[str, str]]) -> None:
        """A request to the running page: method, path, body and headers."""
        method, path, content, headers = data
        client = self._client  # with it come token and number
        address = path.replace("{token}", self._token)
        content = content.replace(b"LIVE", str(self._live).encode())
        answer = client.request(method, address, content=content, headers=_sendable(headers))
        if answer.status_code >= 500 or texts.LIVE_UNEXPECTED in answer.text:
            raise WrongAnswerError(f"{answer.status_code} {answer.text[:200]}")
        if answer.status_code >= 400:
            raise UsageError(f"HTTP {answer.status_code}")

    def endpoint(self, data: tuple[str, dict[str, Any]]) -> None:
        """A call of an endpoint for programs."""
        name, arguments = data
        try:
            getattr(self._endpoints, name)(**arguments)
        except gr.Error as error:
            raise error.__cause__ or UsageError(error.message) from None

    def predict(self, data: bytes) -> None:
        """A file's bytes all the way to ages, by the bundled model."""
        for face in self._estimator.predict(open_photo_bytes(data, "a.jpg"), ["a child"], no_face="whole"):
            require_sound(face)

    @cached_property
    def _estimator(self) -> AgeEstimator:
        return AgeEstimator.from_pretrained()

    @cached_property
    def _host(self) -> ModelHost:
        host = ModelHost(lambda: FakeEstimator([make_face()]))
        host.start()
        host.get()
        return host

    @cached_property
    def _endpoints(self) -> Endpoints:
        with gr.Blocks(analytics_enabled=False):
            return Endpoints(self._host, lambda session: None)

    @cached_property
    def _page(self) -> gr.Blocks:
        settings, sets = Settings(trusted_hosts=("testserver",)), PhotoSets(self._host)
        page = app.build_page(self._host, lambda *_: FakeEstimator(), settings, sets, Visits(), Streams())
        page.queue(max_size=settings.queue_size, api_open=False)
        gradio_patches.apply(page)
        options = {"routes": SetRoutes(sets).routes(), "middleware": launch.middleware(settings)}
        page.app = gr.routes.App.create_app(page, app_kwargs=options)
        self._token = sets.open("visitor")
        return page

    @cached_property
    def _client(self) -> TestClient:
        client = TestClient(self._page.app, raise_server_exceptions=False).__enter__()
        client.get("/gradio_api/startup-events")  # from then on the line moves
        return client

    @cached_property
    def _live(self) -> int:
        return next(each._id for each in self._page.blocks.values() if getattr(each, "elem_id", "") == "live")


def require_sound(face: FacePrediction) -> None:
    """Raise WrongAnswerError where a prediction holds what is no number, or an age out of range or interval."""
    low, high = face.interval
    _require(-1e-3 <= low <= face.age <= high <= 100 + 1e-3, (low, face.age, high))
    _require(abs(float(face.distribution.sum()) - 1) < 1e-3, "distribution")
    for values in (
        face.distribution,
        face.heatmap,
        face.embedding,
        face.box,
        list(face.similarities.values()),
    ):
        _require(bool(np.isfinite(values).all()), values)
    _require(
        all(np.isfinite([step.age, step.estimated_error, step.kept_error]).all() for step in face.trace),
        face.trace,
    )


def _require(true: bool, what: object) -> None:
    if not true:
        raise WrongAnswerError(str(what))


@cache
def _face() -> FacePrediction:
    return replace(make_face(), embedding=np.full(256, 1 / 16, np.float32))


def _sendable(headers: dict[str, str]) -> dict[str, str]:
    """Headers that a client can send: printable letters of ASCII."""
    pairs = ((_printable(name).replace(" ", "-"), _printable(value)) for name, value in headers.items())
    return {name or "x": value for name, value in pairs}


def _printable(text: str) -> str:
    return "".join(letter for letter in text if " " <= letter <= "~")


def cut_network() -> None:
    """Let this process resolve one name alone, and ask nobody: each public address has a stand-in's answer."""
    resolve = socket.getaddrinfo

    def numbers_only(host: Any, *rest: Any, **options: Any) -> Any:
        host = "8.8.8.8" if host == "pictures.example" else host
        return resolve(host, *rest, **options, flags=socket.AI_NUMERICHOST)

    socket.getaddrinfo = numbers_only
    safehttpx.AsyncSecureTransport = lambda number: httpx.MockTransport(_respond)
    url_download.PUBLIC_HOSTNAME_WHITELIST = []


def _respond(request: httpx.Request) -> httpx.Response:
    """A picture, a redirect or nonsense, always the same for an address."""
    rng = random.Random(str(request.url))
    headers = rng.choice(
        (
            {},
            {"Location": "//[x"},
            {"Location": "../" * 99},
            {"Content-Length": "-1"},
            {"Content-Encoding": "br"},
        )
    )
    status = rng.choice((200, 200, 206, 301, 307, 404, 500, 999))
    return httpx.Response(status, headers=headers, content=seeds.photos()["png RGB"])
