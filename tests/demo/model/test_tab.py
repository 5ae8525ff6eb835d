"""What the Model tab shows of weights that anybody may have written, and how other weights take over."""

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr
import pytest

from cilf.checkpoint import REPORT, bundled
from cilf.demo import texts
from cilf.demo.model import evidence
from cilf.demo.model import tab as model_tab
from cilf.demo.model.model_card import to_html
from cilf.demo.model.tab import ModelTab
from cilf.demo.panel import panel
from cilf.demo.photo import charts
from cilf.demo.server.model_host import Estimator, ModelHost
from cilf.demo.server.settings import Settings
from cilf.errors import CilfError, WeightsError
from cilf.hub import Progress
from tests.demo.photo.test_tab import FakeEstimator, make_face


class Documented(FakeEstimator):
    def __init__(self, source: str, report: dict[str, Any] | None = None, card: str = "") -> None:
        super().__init__([make_face()])
        self.source, self.report, self.card = source, report, card  # type: ignore[misc]


@pytest.fixture
def report() -> dict[str, Any]:
    """The report of the bundled weights."""
    found: dict[str, Any] = json.loads((bundled() / REPORT).read_text(encoding="utf-8"))
    return found


class TestModelCard:
    def test_code_scrolls_with_the_keyboard(self) -> None:
        card = to_html("```python\nprint('<b>')\n```\n")
        assert card.startswith('<pre tabindex="0"><code')
        assert "<b>" not in card

    @pytest.mark.parametrize(
        "card",
        [
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "![<img src=x onerror=alert(1)>](https://example.org/x.png)",
            "![a][b]\n\n[b]: https://example.org/x.png",
            "[a](javascript:alert(1)) [b](data:text/html,x) [c](vbscript:x)",
            "# <iframe src=x>",
            "| <b> |\n|---|\n| <style>*{}</style> |",
            '[a](https://example.org/" onclick="alert(1))',
        ],
    )
    def test_nothing_in_it_is_obeyed_or_fetched(self, card: str) -> None:
        shown = to_html(card)
        for tag in (
            "<script",
            "<img",
            "<iframe",
            "<b>",
            "<style",
            'href="javascript',
            'href="data',
            ' src="',
            '" onclick',
        ):
            assert tag not in shown

    def test_metadata_is_left_out_and_headings_lie_below_the_pages(self) -> None:
        shown = to_html("---\nlicense: other\n---\n# Title\n\n## Part\n\n| a | b |\n|---|---|\n| 1 | 2 |\n")
        assert "license" not in shown
        assert "<h3>Title</h3>" in shown
        assert "<h4>Part</h4>" in shown
        assert "<td>1</td>" in shown

    def test_a_line_of_dashes_further_down_is_kept(self) -> None:
        assert "after" in to_html("before\n\n---\n\nbetween\n\n---\n\nafter")


class TestEvidence:
    def test_the_figures_are_those_of_the_report(self, report: dict[str, Any]) -> None:
        found = evidence.of(Documented("here", report))
        assert f"{report['all']['mae']:.1f} years" in found.facts
        for name, row in report["groups"].items():
            if len(name.split()) == 2:
                assert f'<th scope="row">{name.split()[1]}</th><td>{row["count"]:,}</td>' in found.measured
        assert "under 18" in found.adult
        assert "too young" in found.limits

    @pytest.mark.parametrize(
        "report",
        [
            None,
            {},
            {"all": {}},
            {"all": 5},
            {"all": {"mae": "<b>", "count": 1}},
            {"groups": {"age x": {}}},
            {"over_18": []},
        ],
    )
    def test_a_report_that_is_not_ours_counts_as_none(self, report: Any) -> None:
        found = evidence.of(Documented("here", report))
        assert texts.NO_REPORT in found.measured
        assert "<b>" not in found.facts

    def test_words_of_a_report_are_escaped(self, report: dict[str, Any]) -> None:
        groups = {"age <i>": report["groups"]["age 0–12"], "race <u>": report["groups"]["age 60+"]}
        found = evidence.of(Documented("<b>", report | {"groups": groups, "dataset": "<s>"}))
        for piece in (found.facts, found.measured, found.limits):
            assert not any(tag in piece for tag in ("<b>x", "<i>", "<u>", "<s>"))
        assert "&lt;b&gt;" in found.facts


class TestReplacing:
    def started(self, estimator: Estimator) -> ModelHost:
        host = ModelHost(lambda: estimator)
        host.start()
        host.wait()
        return host

    def test_the_new_one_is_handed_out_once_it_is_there(self) -> None:
        old, new = Documented("old"), Documented("new")
        host = self.started(old)

        def load() -> Estimator:
            assert host.get() is old
            return new

        assert host.replace(load) is new
        assert host.get() is new

    @pytest.mark.parametrize("error", [WeightsError("'x' is empty"), RuntimeError("out of order")])
    def test_where_it_cannot_be_loaded_the_old_one_stays(self, error: Exception) -> None:
        old = Documented("old")
        host = self.started(old)

        def load() -> Estimator:
            raise error

        with pytest.raises(CilfError):
            host.replace(load)
        assert host.get() is old
        assert host.state == "ready"

    def test_a_model_that_could_not_be_loaded_can_be_replaced(self) -> None:
        def load() -> Estimator:
            raise WeightsError("'x' is empty")

        host = ModelHost(load)
        host.start()
        host.wait()
        assert host.state == "failed"
        new = Documented("new")
        host.replace(lambda: new)
        assert host.state == "ready"
        assert host.get() is new


class TestTab:
    def tab(self, host: ModelHost, load: Callable[..., Estimator], settings: Settings) -> ModelTab:
        with gr.Blocks(analytics_enabled=False):
            return ModelTab(host, load, settings, panel(), gr.Timer())

    def test_what_was_asked_for_is_loaded(self) -> None:
        asked = []

        def load(source: str | None, revision: str | None, progress: Progress) -> Estimator:
            asked.append((source, revision))
            return Documented("new")

        host = TestReplacing().started(Documented("old"))
        tab = self.tab(host, load, Settings())
        first, last = tab.on_load(" a/b ", "v1")
        assert "progressbar" in first[tab.message]
        assert "new" in last[tab.message]
        assert "new" in last[tab.state]
        assert list(tab.on_load("", " "))[-1][tab.facts]
        assert asked == [("a/b", "v1"), (None, None)]

    def test_an_open_page_follows_what_another_one_loaded(self) -> None:
        host = TestReplacing().started(Documented("old"))
        tab = self.tab(host, lambda *_: Documented("new"), Settings())
        page = gr.Request(headers={"host": "here"})
        first = tab.on_glance("", page)
        assert "old" in first[tab.state]
        assert "http://here" in first[tab.programs]
        assert tab.on_glance(first[tab.facts], page) == {tab.facts: gr.skip()}
        host.replace(lambda: Documented("new"))
        answer = tab.on_glance(first[tab.facts], page)
        assert "new" in answer[tab.facts]
        assert "new" in answer[tab.state]
        assert tab.on_glance(answer[tab.facts], page) == {tab.facts: gr.skip()}

    @pytest.mark.parametrize(
        ("settings", "on"),
        [(Settings(), True), (Settings(share=True), False), (Settings(space="a/b"), False)],
    )
    def test_a_page_looks_on_where_the_weights_may_change(self, settings: Settings, on: bool) -> None:
        """One for others asks no more once the model is there."""
        gate = threading.Event()

        def load() -> Estimator:
            assert gate.wait(120)
            return Documented("new")

        host = ModelHost(load)
        host.start()
        tab = self.tab(host, load, settings)
        page = gr.Request(headers={"host": "here"})
        assert tab.clock.active
        assert tab.on_glance("", page) == {tab.facts: gr.skip()}
        gate.set()
        host.wait()
        assert tab.on_glance("", page)[tab.clock].active == on

    def test_a_missing_model_is_said(self) -> None:
        def load() -> Estimator:
            raise WeightsError("the folder 'x' is empty")

        host = ModelHost(load)
        host.start()
        host.wait()
        tab = self.tab(host, lambda *_: Documented("new"), Settings())
        answer = tab.on_glance("", gr.Request(headers={"host": "here"}))
        assert "is empty" in answer[tab.state]
        assert "is empty" in answer[tab.facts]

    def stalled(self, gate: threading.Event) -> tuple[ModelTab, Iterator[dict[Any, Any]]]:
        """A page that shows a download which goes no further than a quarter until the gate opens."""

        def load(source: str | None, revision: str | None, progress: Progress) -> Estimator:
            progress(3_000_000, 12_000_000)
            assert gate.wait(120)
            return Documented("new")

        tab = self.tab(TestReplacing().started(Documented("old")), load, Settings())
        return tab, tab.on_load("a/b", "")

    def test_a_download_shows_how_far_it_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(model_tab, "GLANCE", 0.001)
        gate = threading.Event()
        tab, shown = self.stalled(gate)
        next(shown)
        message = next(shown)[tab.message]
        assert "3 of 12 MB" in message
        assert 'aria-valuenow="25"' in message
        gate.set()
        assert "new" in list(shown)[-1][tab.message]

    def test_a_page_that_is_closed_does_not_wait_for_its_download(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(model_tab, "GLANCE", 0.001)
        gate = threading.Event()
        _, shown = self.stalled(gate)
        next(shown)
        next(shown)
        closing = threading.Thread(target=shown.close, daemon=True)
        closing.start()
        closing.join(30)
        waits = closing.is_alive()
        gate.set()
        assert not waits

    def test_an_error_names_what_stays_in_use(self) -> None:
        def load(source: str | None, revision: str | None, progress: Progress) -> Estimator:
            raise WeightsError("'<b>' is empty")

        tab = self.tab(TestReplacing().started(Documented("old")), load, Settings())
        *_, last = tab.on_load("<b>", "")
        assert last[tab.message] == charts.message("'<b>' is empty. Still in use: old.")
        assert tab.state not in last

    @pytest.mark.parametrize(
        "settings", [Settings(share=True), Settings(host="0.0.0.0"), Settings(space="user/name")]
    )
    def test_a_page_for_others_has_no_way_to_load_weights(self, settings: Settings) -> None:
        host = TestReplacing().started(Documented("old"))
        with gr.Blocks(analytics_enabled=False) as page:
            tab = ModelTab(host, lambda *_: Documented("new"), settings, panel(), gr.Timer())
        assert not page.fns
        assert not hasattr(tab, "button")
        assert texts.OWNER_CHOOSES in str(page.get_config_file()["components"])
