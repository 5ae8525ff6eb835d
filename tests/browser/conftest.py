"""Fixtures that drive the real page in a real browser. Without a Chromium these tests are skipped, in CI they fail."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

from tests.browser.running import PATIENCE_S, Site, find_chromium, keep_to, launch_browser, open_page, serve

expect.set_options(timeout=1000 * PATIENCE_S)

# A window is as wide in the dark: that it looks well there a picture alone shows.
SCHEMES = ("light", pytest.param("dark", marks=pytest.mark.long))

SCREENSHOTS = Path(__file__).with_name("screenshots")


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    if find_chromium() is None:
        if os.environ.get("CILF_REQUIRE_BROWSER") == "1":
            pytest.fail("no Chromium is installed, and CILF_REQUIRE_BROWSER=1 asks for one")
        pytest.skip("no Chromium is installed")
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    browser = launch_browser(playwright)
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def site(playwright: Playwright, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The page as a user starts it."""
    with serve(tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture
def visit(browser: Browser, site: Site) -> Iterator[Callable[..., Page]]:
    """Opens the page in a new window; options as for a Playwright context. No window may ask any other host."""
    with visits(browser, site) as opened:
        yield opened


@contextmanager
def visits(browser: Browser, site: Site) -> Iterator[Callable[..., Page]]:
    """What the fixture `visit` does, for any browser."""
    contexts, foreign, errors = [], [], []

    def opened(**options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}} | options)
        contexts.append(context)
        foreign.append(keep_to(site, context))
        page = open_page(context, site)
        page.on("pageerror", lambda error: errors.append(str(error)))
        return page

    yield opened
    for context in contexts:
        context.close()
    assert [address for addresses in foreign for address in addresses] == []
    assert errors == []


@pytest.fixture
def shoot(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Takes a picture of the whole page into the ignored folder, named after the test's file and the test; with
    CILF_SCREENSHOTS=1 alone, since nobody sees them otherwise."""
    test = re.sub(r"\W+", "-", request.node.name).removeprefix("test_").strip("-")
    name = f"{request.path.stem.removeprefix('test_')}-{test}"

    def save_picture(page: Page, suffix: str = "") -> None:
        if os.environ.get("CILF_SCREENSHOTS") != "1":
            return
        SCREENSHOTS.mkdir(exist_ok=True)
        page.screenshot(path=SCREENSHOTS / f"{name}{suffix}.png", full_page=True, animations="disabled")

    return save_picture
