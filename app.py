"""The page: `python app.py`, then open the printed address."""

import gc
import logging
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

# NumPy's library reads this when it is imported: where it has several threads, they wait for work without giving up
# their core, which other visitors' photos want (OpenBLAS).
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from cilf.demo.gradio_import import without_interface_files
from cilf.demo.uploads import folder as upload_folder

# Gradio and the Hub's library read these once: no usage counts leave this computer, uploads lie in a folder of our own,
# and after a call Gradio does not sum up the last 10,000 ones, for a page of its own that is switched off.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "1")
os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", "1000000000")
os.environ.setdefault("GRADIO_TEMP_DIR", upload_folder.ours())

with without_interface_files():
    import gradio as gr

from cilf.demo import texts
from cilf.demo.api import Endpoints
from cilf.demo.charts import model_state
from cilf.demo.live.streams import Streams
from cilf.demo.live.tab import LiveTab
from cilf.demo.model.tab import LOADING_S, Load, ModelTab
from cilf.demo.panel import panel
from cilf.demo.photo.tab import PhotoTab
from cilf.demo.photo_set.sets import PhotoSets
from cilf.demo.photo_set.tab import PhotoSetTab, SetRoutes
from cilf.demo.server import launch as serving
from cilf.demo.server import tracebacks, zero_gpu
from cilf.demo.server.model_host import Estimator, ModelHost, age_estimator
from cilf.demo.server.sessions import SessionStore, Visits
from cilf.demo.server.settings import Settings, read
from cilf.demo.uploads.pixel_budget import give_memory_back, keep_little_memory
from cilf.errors import UsageError

# Uploads are removed as soon as they are read, and `upload_folder` sweeps those that nobody reads. In seconds: how
# often, and how old. A program uploads all photos of a set before it asks, and then stands in line with them.
SWEEP_EVERY, UPLOAD_AGE = 10, 1800


def build_page(
    host: ModelHost, load: Load, settings: Settings, sets: PhotoSets, visits: Visits, streams: Streams
) -> gr.Blocks:
    """Put the page together; it answers before the model is loaded.

    Args:
        host: the model in use.
        load: makes another model than the host's.
        settings: how the page is served.
        sets: the photo sets that `serving.serve` answers for.
        visits: holds the photos in view.
        streams: holds the live pictures in progress.
    """

    def forget(session: str) -> None:
        # Gradio would hold what the page showed, the photo among it, for other pages' sake. An event that is under way
        # writes its answer to what is dropped here.
        held = page.app.state_holder
        with held.lock:
            held.session_data.pop(session, None)
            held.time_last_used.pop(session, None)

    with gr.Blocks(title="CILF: age from a face", analytics_enabled=False) as page:
        with gr.Row(elem_classes="cilf-header"):
            panel(f"<h1>{texts.TITLE}</h1><p>{texts.SUBTITLE}</p>")
            state = panel(model_state("loading"), live=True, elem_id="model-state")
        clock = gr.Timer(LOADING_S)
        if settings.where:
            panel(f'<p class="cilf-where" id="where">{settings.where}</p>')
        with gr.Tabs(elem_id="tabs"):
            with gr.Tab("Photo", id="photo-tab"):
                PhotoTab(host, visits, forget)
            with gr.Tab("Live", id="live-tab"):
                LiveTab(host, streams)
            with gr.Tab("Photo set", id="photo-set-tab"):
                photo_set = PhotoSetTab(sets)
            with gr.Tab("Model", id="model-tab") as model:
                model_tab = ModelTab(host, load, settings, state, clock)

        def on_leave(request: gr.Request) -> None:
            session = str(request.session_hash)
            leave(session, visits, streams, sets)
            forget(session)

        Endpoints(host, forget)
        # Not in line: a full one would turn them away, and nothing on the page asks again.
        at_once: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
        gr.on(
            [page.load, model.select, clock.tick],
            model_tab.on_glance,
            model_tab.facts,
            model_tab.in_sight(),
            **at_once,
        )
        page.load(photo_set.on_load, outputs=photo_set.token, **at_once)
        page.unload(on_leave)
    return page


def leave(session: str, *stores: SessionStore) -> None:
    """Forget a visitor who left the page: the photo in view, the faces that are tracked, and the photo set.

    Args:
        session: the page that was left, as Gradio names it.
        stores: hold what the page remembers.
    """
    for store in stores:
        store.forget(session)


def load_first(load: Load, source: str | None) -> Estimator:
    """Load the page's first model.

    What is in memory before it stays there. Python need not search it for objects that refer to each other in a circle,
    again and again, which holds everybody up.
    """
    import cilf.estimator  # noqa: F401 - its modules stay as well

    gc.collect()
    gc.freeze()
    return load(source, None, None)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, put the page together, and serve it while the model loads."""
    settings = read(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    tracebacks.install()
    try:
        _serve(settings)
    except UsageError as error:
        sys.exit(f"app.py: {error}")


def _serve(settings: Settings) -> None:
    serving.check(settings)
    keep_little_memory()
    # A tenth of the default: a prediction asks for the interpreter after each call of NumPy and ONNX Runtime, and the
    # event loop after each pause.
    sys.setswitchinterval(0.0005)
    load = partial(age_estimator, device=settings.device, max_faces=settings.max_faces)
    host = ModelHost(partial(load_first, load, settings.weights), says_why=settings.alone)
    sets, visits, streams = PhotoSets(host), Visits(), Streams()
    page = build_page(host, load, settings, sets, visits, streams)
    # Gradio lists the names of uploads in order to remove them itself, which it is not asked to. An error refers to the
    # request that it ended, and that to the error. Large requests leave memory behind that the C library would keep.
    forgets = visits.forget_old, streams.forget_old, sets.forget_old, page.upload_file_set.clear
    upload_folder.keep_swept(SWEEP_EVERY, UPLOAD_AGE, *forgets, gc.collect, give_memory_back)
    host.start()  # not earlier: its imports would hold up the page's
    if zero_gpu.is_here():
        host.wait()  # what lies on a lent GPU has to be there when the page starts
    serving.serve(page, settings, SetRoutes(sets).routes())


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr] # the address reaches a log file at once
    # Ended like Ctrl-C, whatever runs it, so that our folder of uploads is removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    main()
