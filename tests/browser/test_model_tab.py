"""A visitor's way through the Model tab, in a real browser on the real page."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from cilf.checkpoint import CARD, CONFIG, GRAPH, REPORT, WEIGHTS, bundled
from cilf.demo import texts
from cilf.model.registry import FAMILIES
from tests.browser.conftest import SCHEMES
from tests.browser.running import PATIENCE_S, Site, findings, keep_to, open_page, serve

expect.set_options(timeout=1000 * PATIENCE_S)

Visit = Callable[..., Page]
Shoot = Callable[..., None]


@pytest.fixture
def own_page(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Opens a page of the test's own, so that other weights in it disturb no other test."""
    with serve(tmp_path / "site") as site:
        yield from _opened(browser, site)


@pytest.fixture
def open_to_all(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Opens a page that is served to the whole network."""
    with serve(tmp_path / "site", ["--host", "0.0.0.0"]) as site:
        yield from _opened(browser, site)


def _opened(browser: Browser, site: Site) -> Iterator[Callable[..., Page]]:
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    foreign = keep_to(site, context)
    yield lambda: open_page(context, site)
    context.close()
    assert foreign == []


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A copy of the bundled weights, with a card that tries to fetch and to run something."""
    folder = tmp_path / "my-weights"
    folder.mkdir()
    for name in (CONFIG, WEIGHTS, GRAPH, REPORT):
        shutil.copy(bundled() / name, folder / name)
    (folder / CARD).write_text(
        "---\nlicense: other\n---\n# My <b>weights</b>\n\n![a face](https://example.org/face.png)\n\n"
        "<img src=https://example.org/x.png onerror='document.title=1'>\n\n[run](javascript:alert(1))\n"
    )
    return folder


def show(page: Page) -> None:
    page.get_by_role("tab", name="Model").click()
    expect(page.locator("#in-use")).to_be_visible()


def load(page: Page, source: str | Path) -> None:
    page.get_by_label("Folder or Hub name").fill(str(source))
    page.click("#load-button")


def test_what_is_loaded_and_how_well_it_does(visit: Visit, shoot: Shoot) -> None:
    page = visit()
    show(page)
    expect(page.locator("#in-use")).to_contain_text("compact")
    expect(page.locator("#model-facts code")).to_have_text(re.compile("^[0-9a-f]{64}$"))
    expect(page.locator("#model-measured tbody tr").first).to_contain_text("All test photos")
    expect(page.locator("#model-limits li").first).to_contain_text("errors are largest")
    expect(page.locator("#programs")).to_contain_text("/predict_set")
    page.click("#model-card summary")
    expect(page.locator("#model-card h3").first).to_be_visible()
    shoot(page)
    assert findings(page) == []


def test_the_api_page_shows_how_to_call_the_endpoints(visit: Visit) -> None:
    page = visit()
    page.get_by_role("button", name="Use via API").click()
    for name in ("/predict", "/predict_set", "/similarity"):
        expect(page.locator(".api-docs").get_by_text(name, exact=True).first).to_be_visible()
    expect(page.locator(".api-docs")).to_contain_text("gradio_client")


def test_wrong_weights_leave_the_old_ones_in_use(visit: Visit, shoot: Shoot, tmp_path: Path) -> None:
    page = visit()
    show(page)
    (tmp_path / "empty").mkdir()
    load(page, tmp_path / "empty")
    problem = page.locator("#load-message .cilf-problem")
    expect(problem).to_contain_text("holds no config.json")
    expect(problem).to_contain_text("Still in use: compact (bundled)")
    shoot(page)
    load(page, "<b>no/such/name</b>")
    expect(problem).to_contain_text("<b>no/such/name</b>")  # shown as it was written
    expect(page.locator("#model-state")).to_contain_text("compact (bundled)")
    expect(page.locator("#in-use")).to_have_text("compact (bundled)")
    page.get_by_role("tab", name="Photo", exact=True).click()
    page.click("#example-hopper")
    expect(page.locator("#age")).to_be_visible()


def test_right_weights_take_over_while_a_photo_in_view_keeps_its_own(
    own_page: Callable[[], Page], shoot: Shoot, weights: Path
) -> None:
    page, other = own_page(), own_page()
    show(other)
    page.click("#example-hopper")
    expect(page.locator("#age")).to_be_visible()
    age = page.locator("#age").inner_text()
    show(page)
    load(page, weights)
    expect(page.locator("#load-message .cilf-done")).to_contain_text("my-weights")
    expect(page.locator("#in-use")).to_contain_text("my-weights")
    expect(page.locator("#model-state")).to_contain_text("my-weights")
    page.click("#model-card summary")
    card = page.locator("#model-card .cilf-markdown")
    expect(card.locator("h3")).to_have_text("My <b>weights</b>")
    expect(card.locator("img, a")).to_have_count(0)
    shoot(page)
    page.get_by_role("tab", name="Photo", exact=True).click()
    page.locator("#prompt-editor textarea").fill("a child")
    expect(page.locator("#scores tbody tr")).to_have_count(1)
    page.click("#example-hopper")
    expect(page.locator("#age")).to_have_text(age)
    expect(other.locator("#in-use")).to_contain_text("my-weights")  # another window learns of it by itself
    expect(other.locator("#model-state")).to_contain_text("my-weights")


def test_every_system_that_comes_along_answers_both_portraits(
    own_page: Callable[[], Page], shoot: Shoot
) -> None:
    page = own_page()
    for family in [family for family in FAMILIES.values() if family.bundled]:
        show(page)
        page.click(f"#load-{family.bundled}")
        expect(page.locator("#in-use")).to_have_text(f"{family.bundled} (bundled)")
        expect(page.locator("#load-button")).to_be_enabled()
        expect(page.locator("#model-facts")).to_contain_text(family.summary)
        shoot(page, f"-{family.bundled}")
        page.get_by_role("tab", name="Photo", exact=True).click()
        for portrait in ("collins", "hopper"):
            picture = page.locator("#photo img")
            before = picture.get_attribute("src") if picture.count() else None
            page.click(f"#example-{portrait}")
            expect(picture).not_to_have_attribute("src", before or "")
            expect(page.locator("#age")).to_have_text(re.compile(r"^\d{1,3}$"))
        sentence = expect(page.locator("#scores"))
        if family.compares_texts:
            sentence.not_to_contain_text(texts.NO_TEXTS)
        else:
            sentence.to_contain_text(texts.NO_TEXTS)
        shoot(page, f"-{family.bundled}-photo")


def test_a_page_for_all_leaves_the_weights_to_its_owner(
    open_to_all: Callable[[], Page], shoot: Shoot
) -> None:
    page = open_to_all()
    expect(page.locator("#where")).to_contain_text("computer that serves this page")
    show(page)
    expect(page.locator("#owner-chooses")).to_contain_text("--weights")
    expect(page.locator("#load-button")).to_have_count(0)
    shoot(page)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_model_tab_in_a_narrow_window(visit: Visit, shoot: Shoot, scheme: str) -> None:
    page = visit(viewport={"width": 360, "height": 740}, color_scheme=scheme)
    show(page)
    page.click("#model-card summary")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    shoot(page)
