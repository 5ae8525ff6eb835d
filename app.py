"""The page: `python app.py`, then open the printed address."""

import argparse
import asyncio
import logging
from collections.abc import AsyncIterator, Sequence

import gradio as gr

from cilf.demo import charts, texts, theme
from cilf.demo.loading import Estimator, ModelHost
from cilf.demo.panel import panel
from cilf.demo.photo import PhotoTab
from cilf.demo.photo_set import PhotoSetTab, SetRoutes
from cilf.demo.sets import PhotoSets
from cilf.demo.visits import Visits

# Uploads are removed as soon as they are read; this net catches what a broken connection leaves, in seconds.
CACHE_CHECK, CACHE_AGE = 60, 300

# Gradio keeps each page's last contents in memory until this many newer pages have come.
PAGES_KEPT = 100

MAX_UPLOAD = "64mb"


def build_page(host: ModelHost, sets: PhotoSets | None = None) -> gr.Blocks:
    """Put the page together; it answers before the model is loaded. `sets` are those that `launch` serves."""
    visits = Visits()
    sets = sets or PhotoSets(host)
    with gr.Blocks(
        title="CILF: age from a face", analytics_enabled=False, delete_cache=(CACHE_CHECK, CACHE_AGE)
    ) as page:
        with gr.Row(elem_classes="cilf-header"):
            panel(f"<h1>{texts.TITLE}</h1><p>{texts.SUBTITLE}</p>")
            state = panel(charts.model_state("loading"), live=True, elem_id="model-state")
        with gr.Tabs(elem_id="tabs"):
            with gr.Tab("Photo", id="photo-tab"):
                PhotoTab(host, visits)
            with gr.Tab("Photo set", id="photo-set-tab"):
                photo_set = PhotoSetTab(sets)

        async def follow_loading() -> AsyncIterator[str]:
            while host.state == "loading":
                yield charts.model_state("loading")
                await asyncio.sleep(0.3)
            yield _model_state(host)

        def leave(request: gr.Request) -> None:
            visits.forget(str(request.session_hash))
            sets.forget(str(request.session_hash))
            # Gradio would hold what the page showed, the photo among it, for other pages' sake.
            page.app.state_holder.session_data.pop(str(request.session_hash), None)

        page.load(
            follow_loading,
            outputs=state,
            show_progress="hidden",
            concurrency_limit=None,
            api_visibility="private",
        )
        page.load(
            photo_set.on_load, outputs=photo_set.token, show_progress="hidden", api_visibility="private"
        )
        page.unload(leave)
    return page


def launch(page: gr.Blocks, sets: PhotoSets, host: str | None, port: int | None) -> None:
    """Serve the page until the program is stopped. Everything that it loads comes from its own address."""
    page.queue().launch(
        server_name=host,
        server_port=port,
        theme=theme.make_theme(),
        css_paths=theme.STYLE_SHEETS,
        head=theme.HEAD,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        max_file_size=MAX_UPLOAD,
        state_session_capacity=PAGES_KEPT,
        app_kwargs={"routes": SetRoutes(sets).routes()},
    )


def _model_state(host: ModelHost) -> str:
    if host.error is not None:
        return charts.model_state("failed", texts.sentence(host.error))
    return charts.model_state("ready", host.get().source)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, start to load the model, and serve the page."""
    parser = argparse.ArgumentParser(prog="app.py", description="Serve the page that tells ages from faces.")
    parser.add_argument("--host", help="address to listen on; default 127.0.0.1, this computer alone")
    parser.add_argument("--port", type=int, help="port to listen on; default the first free one from 7860")
    parser.add_argument(
        "--weights", help="folder or Hugging Face Hub id of other weights; default the bundled ones"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")

    def load() -> Estimator:
        # Imported here, in the loading thread: PyTorch takes seconds, and the page need not wait for it.
        from cilf.estimator import AgeEstimator

        return AgeEstimator.from_pretrained(options.weights)

    host = ModelHost(load)
    host.start()
    sets = PhotoSets(host)
    launch(build_page(host, sets), sets, options.host, options.port)


if __name__ == "__main__":
    main()
