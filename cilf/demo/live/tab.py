"""The Live tab: the camera's picture with every face's smoothed age on it.

The picture never comes back: the browser shows the camera itself and draws the boxes that we answer with over it. It
sends its newest frame when the last is answered, so that a slow machine drops frames instead of falling behind.
Frames travel as a call of a server function: Gradio's own streaming would put each through its queue and, coming and
going, through a file.
"""

import asyncio
import io
import logging
import sys
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from cilf.demo import limits, texts
from cilf.demo.live.streams import Streams
from cilf.demo.panel import panel
from cilf.demo.server.model_host import Estimator, ModelHost
from cilf.demo.uploads.images import decode_address
from cilf.errors import CilfError, PhotoError, UsageError
from cilf.face.images import open_photo
from cilf.tracking import TrackedFace

log = logging.getLogger(__name__)

SCRIPT = Path(__file__).with_name("live.js")

# The browser sends frames up to 640 pixels wide; a JPEG of such a size is far smaller.
MAX_FRAME_BYTES = 1 << 20
MAX_FRAME_SIDE = 1280

# Browsers count a frame's time from the page's opening or from 1970; no clock counts further.
LATEST = 1e12

# Each face costs some tens of milliseconds; in a larger crowd the nearest ones are followed.
MAX_FACES = 8

Answer = dict[str, Any]


class LiveTab:
    """Lays the tab out in the open `gr.Blocks` and answers the browser's frames.

    Args:
        host: gives the estimator, once it is loaded.
        streams: remembers the tracked faces of each visitor who is live.
    """

    def __init__(self, host: ModelHost, streams: Streams) -> None:
        self._host = host
        self._streams = streams
        # Frames of all visitors take turns in one thread: each stands in line with one frame at most.
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="live")
        self._single_threaded = False
        self._in_line: set[str] = set()
        self._last_estimator: weakref.ref[Estimator] | None = None  # it predicted the last frame

        async def live_frame(frame: dict[str, Any], request: gr.Request) -> Answer:
            page = await _page(request)
            if page in self._in_line:
                # Our script waits for its answer, unless it was stopped and started again.
                return {"busy": True}
            try:  # so that only those wait in line who have a place
                self._streams.tracker(page, isinstance(frame, dict) and bool(frame.get("first")))
            except CilfError as error:
                await asyncio.sleep(limits.REFUSAL_S)
                return {"problem": texts.sentence(error)}
            self._in_line.add(page)
            try:
                return await asyncio.get_running_loop().run_in_executor(
                    self._worker, self.on_frame, frame, page
                )
            finally:
                self._in_line.discard(page)

        async def live_stop(_: Any, request: gr.Request) -> None:
            self._streams.forget(await _page(request))

        self.camera = gr.HTML(
            _markup(),
            apply_default_css=False,
            js_on_load=SCRIPT.read_text(encoding="utf-8"),
            server_functions=[live_frame, live_stop],
            sentences=texts.LIVE_SENTENCES,
            elem_id="live",
        )
        panel(f'<p class="cilf-small">{texts.LIVE_PRIVACY}</p><p class="cilf-small">{texts.LIMITS}</p>')

    def on_frame(self, frame: dict[str, Any], page: str) -> Answer:
        """Answer one frame of a visitor.

        Args:
            frame: `picture`, a JPEG's `data:` address; `at`, when it was taken, in seconds; `first`, whether a stream
                begins with it.
            page: the visitor's session.

        Returns:
            `faces`, each with its number, box (shares of the frame's width and height), years, interval and a note
            where no promise holds; and `spent`, our part of the delay in milliseconds; or `wait`, a sentence, while the
            model is loading; or `problem`, a sentence with which the stream ends. A page that sends another frame
            meanwhile gets `busy`.
        """
        start = time.perf_counter()
        if self._host.state == "loading":
            return {"wait": texts.LIVE_MODEL_FIRST}
        try:
            estimator = self._host.get()
            self._keep_to_one_core()
            faces = self._predict(estimator, frame, page)
            return {"faces": faces, "spent": 1000 * (time.perf_counter() - start)}
        except CilfError as error:
            return {"problem": texts.sentence(error)}
        except Exception:
            log.exception("a frame could not be handled")
            return {"problem": texts.LIVE_UNEXPECTED}

    def _predict(self, estimator: Estimator, frame: dict[str, Any], page: str) -> list[dict[str, Any]]:
        at = frame.get("at") if isinstance(frame, dict) else None
        if not isinstance(at, int | float) or not abs(at) < LATEST:
            raise UsageError("the frame has no time in seconds; press Start again")
        self._follow_exchanges(estimator)
        tracker = self._streams.tracker(page, bool(frame.get("first")))  # who has no place costs no decoding
        picture = _opened(str(frame.get("picture")))
        # The further views of a face are its next frames, whose evidence the tracker keeps.
        faces = estimator.predict(picture, tiles=False, max_faces=MAX_FACES, max_views=1)
        height, width = picture.shape[:2]
        return [_shown(face, width, height) for face in tracker.update(faces, float(at))]

    def _follow_exchanges(self, estimator: Estimator) -> None:
        """Another model's ages and embeddings cannot be averaged with those before."""
        if self._last_estimator is None or self._last_estimator() is not estimator:
            self._streams.restart()
            self._last_estimator = weakref.ref(
                estimator
            )  # the old model leaves the memory before a frame comes

    def _keep_to_one_core(self) -> None:
        """Compute in the worker's own thread; the other core is the browser's, or another visitor's.

        A small crop gains little from a second thread, and where another program holds the core, each of PyTorch's many
        small steps waits for it: on two busy cores a frame took eight times as long with two threads.
        """
        if (
            self._single_threaded or "torch" not in sys.modules
        ):  # where a graph computes, each call keeps to its thread
            return
        import torch

        usual = torch.get_num_threads()
        torch.set_num_threads(1)  # of this thread, and by default of all that begin later, so ...
        with ThreadPoolExecutor(1) as other:
            other.submit(torch.set_num_threads, usual).result()  # ... give those their default back
        self._single_threaded = True


async def _page(request: gr.Request) -> str:
    """The session that calls a server function; Gradio hands the bare request on, whose body it has read already."""
    body: dict[str, Any] = await request.json()
    return str(body["session_hash"])


def _opened(address: str) -> np.ndarray:
    """The picture in a frame's `data:` address, HxWx3 uint8 RGB.

    Raises:
        PhotoError: it is none, or larger than a frame.
    """
    data = decode_address(address, "the frame", MAX_FRAME_BYTES)
    try:
        image = Image.open(io.BytesIO(data), formats=["JPEG"])
    except Exception:  # no picture, or one that claims a size at which Pillow suspects harm
        raise PhotoError("the frame is no picture; press Start again") from None
    if max(image.size) > MAX_FRAME_SIDE:
        raise PhotoError(
            f"the frame has {image.width}×{image.height} pixels; {MAX_FRAME_SIDE} a side are enough"
        )
    return open_photo(image)


def _shown(face: TrackedFace, width: int, height: int) -> dict[str, Any]:
    x0, y0, x1, y1 = face.box
    low, high = face.interval
    return {
        "number": face.number,
        "box": [x0 / width, y0 / height, x1 / width, y1 / height],
        "years": face.years,
        "age": face.age,
        "low": low,
        "high": high,
        "note": texts.no_promise(face.caveat),
    }


def _markup() -> str:
    return f"""
<div class="cilf-live">
  <div class="cilf-live-left">
    <div class="cilf-stage">
      <video muted playsinline aria-label="{escape(texts.LIVE_VIDEO)}"></video>
      <div class="cilf-overlay" aria-hidden="true"></div>
      <div class="cilf-rest" aria-hidden="true">
        <svg viewBox="0 0 64 48" width="88" height="66">
          <rect x="4" y="9" width="40" height="30" rx="6"/><path d="M44 21l14-8v22l-14-8z"/>
        </svg>
        <p>{escape(texts.LIVE_REST)}</p>
      </div>
    </div>
    <div class="cilf-live-controls">
      <button type="button" class="cilf-start">{escape(texts.LIVE_START)}</button>
      <label class="cilf-cameras" hidden>{escape(texts.LIVE_CAMERA)} <select></select></label>
      <p class="cilf-figures" aria-live="off"></p>
    </div>
    <div class="cilf-live-message" role="status" aria-live="polite"></div>
  </div>
  <div class="cilf-live-right">
    <ul class="cilf-live-faces" aria-label="{escape(texts.LIVE_FACES)}"></ul>
    <div class="cilf-card cilf-waiting cilf-live-empty">
      <h2>{escape(texts.LIVE_EMPTY_TITLE)}</h2>
      <p class="cilf-lead">{escape(texts.LIVE_EMPTY)}</p>
    </div>
    <p class="cilf-hidden cilf-spoken" role="status" aria-live="polite"></p>
  </div>
</div>"""
