"""The Model tab: what is loaded, how well it does, what it is unfit for; other weights; the way in for programs."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import Any

import gradio as gr

from cilf.demo import texts
from cilf.demo.charts import card, message, model_state, waiting
from cilf.demo.model import evidence
from cilf.demo.model.comparison import bundled_comparison, comparison
from cilf.demo.model.side_by_side import bundled_reports, side_by_side
from cilf.demo.panel import panel
from cilf.demo.server.model_host import Estimator, ModelHost
from cilf.demo.server.settings import Settings
from cilf.errors import CilfError
from cilf.hub import Progress
from cilf.model.registry import FAMILIES

# Loads weights: folder or Hub id (None for the bundled ones), revision, and what is called with the bytes downloaded.
Load = Callable[[str | None, str | None, Progress | None], Estimator]

GLANCE = 0.3  # seconds between two updates on a download

# Seconds after which an open page asks again what is loaded: before the model is there, and after.
LOADING_S, LOADED_S = 1.0, 10.0

Updates = dict[Any, Any]


class ModelTab:
    """Lays the tab out in the open `gr.Blocks` and answers its events.

    Only a page that nobody but this computer's user can open has the controls that load other weights: they read any
    folder of this computer, and change the model for all visitors.

    Args:
        host: holds the estimator.
        load: makes another one.
        settings: how the page is served.
        state: the line in the page's header that says what is loaded.
        clock: ticks every `LOADING_S`; not in a tab, where Gradio would start it only when that is opened.
    """

    def __init__(
        self, host: ModelHost, load: Load, settings: Settings, state: gr.HTML, clock: gr.Timer
    ) -> None:
        self._host = host
        self._load = load
        self._alone = settings.alone
        self.state = state
        self.clock = clock
        with gr.Row(elem_classes="cilf-main"):
            with gr.Column(scale=5, min_width=280):
                self.facts = panel(message(texts.NO_MODEL_YET, "hint"), elem_id="model-facts")
                self._lay_out_loading(settings.alone)
                self.systems = panel(elem_id="model-systems")
                self.limits = panel(elem_id="model-limits")
                mcp = texts.MCP_ON if settings.mcp else texts.MCP_OFF
                panel(card("programs", "For programs", mcp, texts.PROGRAMS_LEAD), elem_id="programs")
            with gr.Column(scale=7, min_width=280):
                self.measured = panel(elem_id="model-measured")
                self.adult = panel(elem_id="model-adult")
                self.card = panel(elem_id="model-card")
        if settings.alone:
            self._connect_loading()

    def _lay_out_loading(self, alone: bool) -> None:
        if not alone:
            panel(f'<p class="cilf-small" id="owner-chooses">{texts.OWNER_CHOOSES}</p>')
            return
        with gr.Column(elem_classes="cilf-card", elem_id="load-weights"):
            panel(f'<h2>Other weights</h2><p class="cilf-lead">{texts.LOAD_LEAD}</p>')
            with gr.Row(elem_id="bundled-weights"):
                self.bundled = {
                    family.bundled: gr.Button(
                        family.title, size="sm", min_width=100, elem_id=f"load-{family.bundled}"
                    )
                    for family in FAMILIES.values()
                    if family.bundled
                }
            self.source = gr.Textbox(
                label="Folder or Hub name",
                placeholder="a folder, or user/repository; empty for CILF compact",
                elem_id="weights-source",
            )
            self.revision = gr.Textbox(
                label="Revision, on the Hub",
                placeholder="branch, tag or commit; empty for the newest",
                elem_id="weights-revision",
            )
            self.button = gr.Button("Load these weights", variant="primary", elem_id="load-button")
            self.message = panel(live=True, elem_id="load-message")

    def _connect_loading(self) -> None:
        outputs = [self.message, *self._buttons(), self.state, *self._shown()]
        # One at a time by the host's lock, not by Gradio's queue, where a second window would show nothing until it is
        # its turn.
        hidden: dict[str, Any] = {
            "show_progress": "hidden",
            "concurrency_limit": None,
            "api_visibility": "private",
        }
        typed = [self.button.click, self.source.submit, self.revision.submit]
        gr.on(typed, self.on_load, [self.source, self.revision], outputs, **hidden)
        for name, button in self.bundled.items():
            button.click(partial(self.on_load, name, ""), None, outputs, **hidden)

    def _buttons(self) -> list[gr.Button]:
        return [self.button, *self.bundled.values()]

    def on_glance(self, shown: str) -> Updates:
        """The page was opened, or this tab, or the clock ticked: say what is in use, where the page does not say so.

        Args:
            shown: what the page shows of the facts.
        """
        if self._host.state == "loading":
            return {self.facts: gr.skip()}
        if (error := self._host.error) is not None:
            now = {
                self.state: model_state("failed", texts.sentence(error)),
                self.facts: message(texts.sentence(error)),
            }
        else:
            estimator = self._host.get()
            now = {self.state: model_state("ready", estimator.source)} | self._show(estimator)
        if now[self.facts] == shown:
            return {self.facts: gr.skip()}  # what the visitor has unfolded stays so
        # Only where pages can load other weights, another page may have done so.
        return now | {self.clock: gr.Timer(LOADED_S, active=self._alone)}

    def on_load(self, source: str, revision: str) -> Iterator[Updates]:
        """Other weights were asked for."""
        buttons = self._buttons()
        yield {self.message: waiting("Loading the weights")} | {
            button: gr.Button(interactive=False) for button in buttons
        }
        ready: Updates = {button: gr.Button(interactive=True) for button in buttons}
        counts: deque[tuple[int, int]] = deque(maxlen=1)
        worker = ThreadPoolExecutor(1, "load-weights")
        loading = worker.submit(
            self._host.replace,
            lambda: self._load(
                source.strip() or None,
                revision.strip() or None,
                lambda done, total: counts.append((done, total)),
            ),
        )
        # No `with` block, whose end waits for the thread: when the page is closed during a download, Gradio closes this
        # generator on the event loop, and no other page would be served until the download is over.
        worker.shutdown(wait=False)
        while not wait([loading], GLANCE).done:
            if counts:
                done, total = counts.pop()
                yield {self.message: waiting(texts.downloading(done, total), done / max(total, 1))}
        try:
            estimator = loading.result()
        except CilfError as error:
            old = None if self._host.error else self._host.get().source
            yield ready | {self.message: message(texts.old_weights(error, old))}
        else:
            yield (
                ready
                | {self.message: message(texts.NEW_WEIGHTS.format(estimator.source), "done")}
                | {self.state: model_state("ready", estimator.source)}
                | self._show(estimator)
            )

    def in_sight(self) -> list[gr.HTML | gr.Timer]:
        """What `on_glance` sets."""
        return [self.state, self.clock, *self._shown()]

    def _shown(self) -> list[gr.HTML]:
        return [self.facts, self.systems, self.limits, self.measured, self.adult, self.card]

    def _show(self, estimator: Estimator) -> Updates:
        pieces = evidence.of(estimator)
        return {
            self.facts: pieces.facts,
            self.systems: side_by_side(bundled_reports()) + comparison(bundled_comparison()),
            self.limits: pieces.limits,
            self.measured: pieces.measured,
            self.adult: pieces.adult,
            self.card: pieces.card,
        }
