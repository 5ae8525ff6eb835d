"""What the tests of the page share: a photo, and a visitor's way through the Photo tab."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest

from cilf.demo import limits
from cilf.demo.photo.tab import PhotoTab
from cilf.demo.server.model_host import ModelHost
from cilf.demo.uploads.images import Upload


@pytest.fixture(autouse=True)
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Uploads lie in the test's own folder."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refusals come at once."""
    monkeypatch.setattr(limits, "REFUSAL_S", 0)


@pytest.fixture
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)


@contextmanager
def blocks() -> Iterator[gr.Blocks]:
    """What a tab is built in, without the web application of a whole page, whose routes take a quarter of a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gradio.routes.App.create_app", lambda *_, **__: None)
        with gr.Blocks(analytics_enabled=False) as page:
            yield page


def hosting(estimator: Any) -> ModelHost:
    host = ModelHost(lambda: estimator)
    host.start()
    host.get()
    return host


def request(page: str = "page") -> gr.Request:
    return gr.Request(session_hash=page)


def file_payload(file: Path) -> dict[str, Any]:
    return {"path": str(file), "orig_name": file.name, "url": f"/gradio_api/file={file}"}


def wait_until(true: Callable[[], bool]) -> bool:
    """Whether it comes true within two minutes: generous, since a busy machine is no failure."""
    end = time.monotonic() + 120
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return true()


def wait_for(work: Coroutine[Any, Any, Any]) -> Any:
    """Do asynchronous work in a thread of its own: while a browser is open, Playwright's event loop holds this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def pixels(upload: Upload) -> np.ndarray:
    """Of the photo: HxWx3 uint8 RGB."""
    with upload.decoded() as photo:
        return photo.pixels


def send(tab: PhotoTab, file: Path, prompts: str, request: gr.Request) -> Iterator[dict[Any, Any]]:
    """Send a photo; the answers when its turn comes."""
    wait_for(tab.on_arrived(file_payload(file), request))
    return tab.on_photo(prompts, request)
