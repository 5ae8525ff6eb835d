"""What the Model tab shows of weights that anybody may have written, and how other weights take over."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr
import pytest

from cilf.demo import texts
from cilf.demo.charts import message
from cilf.demo.model import tab as model_tab
from cilf.demo.model.tab import ModelTab
from cilf.demo.panel import panel
from cilf.demo.server.model_host import Estimator, ModelHost
from cilf.demo.server.settings import Settings
from cilf.errors import WeightsError
from cilf.hub import Progress
from tests.demo.conftest import blocks, hosting
from tests.stand_in import Documented


def model_tab_of(host: ModelHost, load: Callable[..., Estimator], settings: Settings) -> ModelTab:
    with blocks():
        return ModelTab(host, load, settings, panel(), gr.Timer())


def test_what_was_asked_for_is_loaded() -> None:
    asked = []

    def load(source: str | None, revision: str | None, progress: Progress) -> Estimator:
        asked.append((source, revision))
        return Documented("new")

    host = hosting(Documented("old"))
    tab = model_tab_of(host, load, Settings())
    first, last = tab.on_load(" a/b ", "v1")
    assert "progressbar" in first[tab.message]
    assert "new" in last[tab.message]
    assert "new" in last[tab.state]
    assert list(tab.on_load("", " "))[-1][tab.facts]
    assert asked == [("a/b", "v1"), (None, None)]


def test_an_open_page_follows_what_another_one_loaded() -> None:
    host = hosting(Documented("old"))
    tab = model_tab_of(host, lambda *_: Documented("new"), Settings())
    first = tab.on_glance("")
    assert "old" in first[tab.state]
    assert tab.on_glance(first[tab.facts]) == {tab.facts: gr.skip()}
    host.replace(lambda: Documented("new"))
    answer = tab.on_glance(first[tab.facts])
    assert "new" in answer[tab.facts]
    assert "new" in answer[tab.state]
    assert tab.on_glance(answer[tab.facts]) == {tab.facts: gr.skip()}


@pytest.mark.parametrize(
    ("settings", "on"),
    [(Settings(), True), (Settings(share=True), False), (Settings(space="a/b"), False)],
)
def test_a_page_looks_on_where_the_weights_may_change(settings: Settings, on: bool) -> None:
    """One for others asks no more once the model is there."""
    gate = threading.Event()

    def load() -> Estimator:
        assert gate.wait(120)
        return Documented("new")

    host = ModelHost(load)
    host.start()
    tab = model_tab_of(host, load, settings)
    assert tab.clock.active
    assert tab.on_glance("") == {tab.facts: gr.skip()}
    gate.set()
    host.wait()
    assert tab.on_glance("")[tab.clock].active == on


def test_a_missing_model_is_said() -> None:
    def load() -> Estimator:
        raise WeightsError("the folder 'x' is empty")

    host = ModelHost(load)
    host.start()
    host.wait()
    tab = model_tab_of(host, lambda *_: Documented("new"), Settings())
    answer = tab.on_glance("")
    assert "is empty" in answer[tab.state]
    assert "is empty" in answer[tab.facts]


def stalled(gate: threading.Event) -> tuple[ModelTab, Iterator[dict[Any, Any]]]:
    """A page that shows a download which goes no further than a quarter until the gate opens."""

    def load(source: str | None, revision: str | None, progress: Progress) -> Estimator:
        progress(3_000_000, 12_000_000)
        assert gate.wait(120)
        return Documented("new")

    tab = model_tab_of(hosting(Documented("old")), load, Settings())
    return tab, tab.on_load("a/b", "")


def test_a_download_shows_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_tab, "GLANCE", 0.001)
    gate = threading.Event()
    tab, shown = stalled(gate)
    next(shown)
    message = next(shown)[tab.message]
    assert "3 of 12 MB" in message
    assert 'aria-valuenow="25"' in message
    gate.set()
    assert "new" in list(shown)[-1][tab.message]


def test_a_page_that_is_closed_does_not_wait_for_its_download(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_tab, "GLANCE", 0.001)
    gate = threading.Event()
    _, shown = stalled(gate)
    next(shown)
    next(shown)
    closing = threading.Thread(target=shown.close, daemon=True)
    closing.start()
    closing.join(30)
    waits = closing.is_alive()
    gate.set()
    assert not waits


def test_an_error_names_what_stays_in_use() -> None:
    def load(source: str | None, revision: str | None, progress: Progress) -> Estimator:
        raise WeightsError("'<b>' is empty")

    tab = model_tab_of(hosting(Documented("old")), load, Settings())
    *_, last = tab.on_load("<b>", "")
    assert last[tab.message] == message("'<b>' is empty. Still in use: old.")
    assert tab.state not in last


@pytest.mark.parametrize(
    "settings", [Settings(share=True), Settings(host="0.0.0.0"), Settings(space="user/name")]
)
def test_a_page_for_others_has_no_way_to_load_weights(settings: Settings) -> None:
    host = hosting(Documented("old"))
    with blocks() as page:
        tab = ModelTab(host, lambda *_: Documented("new"), settings, panel(), gr.Timer())
    assert not page.fns
    assert not hasattr(tab, "button")
    assert texts.OWNER_CHOOSES in str(page.get_config_file()["components"])
