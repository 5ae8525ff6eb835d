"""A visitor's way through the Live tab, with a clip of a public-domain portrait for a camera."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, Playwright, Route, expect

from cilf.demo.texts import LIVE_SENTENCES
from tests.browser.conftest import SCHEMES, visits
from tests.browser.live_clip import beside, numbered, swaying, write_y4m
from tests.browser.running import PATIENCE_S, Site, findings, launch_browser, wait_until

expect.set_options(timeout=1000 * PATIENCE_S)

Visit = Callable[..., Page]
Shoot = Callable[..., None]


def camera_browser(playwright: Playwright, clip: Path) -> Browser:
    return launch_browser(playwright, f"--use-file-for-fake-video-capture={clip}")


@pytest.fixture(scope="module")
def camera(
    playwright: Playwright, grace_hopper: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Browser]:
    """A browser before whose camera Grace Hopper sways."""
    clip = write_y4m(tmp_path_factory.mktemp("clip") / "hopper.y4m", numbered(swaying(grace_hopper, 4)))
    browser = camera_browser(playwright, clip)
    yield browser
    browser.close()


@pytest.fixture
def live(camera: Browser, site: Site) -> Iterator[Visit]:
    """Opens the Live tab in a new window; options as for a Playwright context."""
    with visits(camera, site) as visit:

        def opened(**options: object) -> Page:
            page = visit(**{"permissions": ["camera"]} | options)
            page.get_by_role("tab", name="Live").click()
            expect(page.locator(".cilf-start")).to_be_visible()
            return page

        yield opened


def has_camera(page: Page) -> bool:
    """Whether the page holds the camera."""
    return bool(page.evaluate("document.querySelector('#live video').srcObject?.active ?? false"))


def test_start_age_and_stop(live: Visit, shoot: Shoot, site: Site) -> None:
    page = live()
    shoot(page, "-before")
    page.click(".cilf-start")
    expect(page.locator(".cilf-live-label")).to_have_text(re.compile(r"^\d{1,3}$"))
    expect(page.locator(".cilf-live-card")).to_contain_text(re.compile(r"90 % interval \d+ to \d+"))
    expect(page.locator(".cilf-spoken")).to_have_text(re.compile(r"^1 face in view: about \d+ years\.$"))
    expect(page.locator(".cilf-figures")).to_have_text(
        re.compile(r"[\d.]+ frames a second · \d+ ms behind the camera")
    )
    assert page.locator(".cilf-start").inner_text() == "Stop"
    stage, box = page.locator(".cilf-stage").bounding_box(), page.locator(".cilf-live-box").bounding_box()
    assert stage is not None
    assert box is not None
    # The portrait's face stands in the middle of the picture.
    assert abs(box["x"] + box["width"] / 2 - stage["x"] - stage["width"] / 2) < 0.2 * stage["width"]
    assert 0.1 * stage["width"] < box["width"] < 0.6 * stage["width"]
    shoot(page)
    assert findings(page) == []
    assert site.files() == []
    page.click(".cilf-start")
    expect(page.locator(".cilf-start")).to_have_text("Start")
    expect(page.locator(".cilf-live-box")).to_have_count(0)
    expect(page.locator(".cilf-live-card")).to_have_count(0)
    assert not has_camera(page)
    page.locator(".cilf-start").press("Enter")  # with the keyboard, and a second time
    expect(page.locator(".cilf-live-label")).to_be_visible()
    assert site.files() == []
    assert "Traceback" not in site.log.read_text()


@pytest.mark.parametrize("fail", [lambda route: route.abort(), lambda route: route.fulfill(status=503)])
def test_a_call_that_fails_switches_the_camera_off(live: Visit, fail: Callable[[Route], None]) -> None:
    page = live()
    page.click(".cilf-start")
    expect(page.locator(".cilf-live-label")).to_be_visible()
    page.route("**/component_server/**", fail)
    expect(page.locator(".cilf-live-message")).to_have_text(LIVE_SENTENCES["silent"])
    expect(page.locator(".cilf-live-box")).to_have_count(0)
    assert not has_camera(page)


def test_two_visitors_at_once(live: Visit) -> None:
    one, two = live(), live()
    for page in (one, two):
        page.click(".cilf-start")
    for page in (one, two):
        expect(page.locator(".cilf-live-label")).to_have_text(re.compile(r"^\d{1,3}$"))
    one.click(".cilf-start")
    expect(one.locator(".cilf-live-label")).to_have_count(0)
    expect(two.locator(".cilf-live-label")).to_be_visible()


def test_a_start_while_the_last_frame_is_still_in_line(live: Visit) -> None:
    """The new stream begins as a first one does, and the old one's end does not take its place away."""
    page = live()
    calls: list[str] = []
    held: list[Route] = []

    def server(route: Route) -> None:
        body = json.loads(route.request.post_data or "")
        first = body["fn_name"] == "live_frame" and body["data"]["first"]
        calls.append("first" if first else body["fn_name"])
        if not held:
            held.append(route)  # stands in line until the test lets it go
        elif calls == ["first"] * 2:
            route.fulfill(json={"busy": True})
        else:
            route.continue_()

    page.route("**/component_server/**", server)
    page.click(".cilf-start")
    assert wait_until(lambda: bool(page.evaluate("1") and held))
    page.click(".cilf-start")
    page.click(".cilf-start")
    expect(page.locator(".cilf-live-label")).to_be_visible()
    assert calls[:3] == ["first", "first", "first"]
    held[0].fulfill(json={"faces": []})
    expect(page.locator(".cilf-figures")).to_contain_text("frames a second")
    assert "live_stop" not in calls
    page.click(".cilf-start")
    assert wait_until(lambda: bool(page.evaluate("1")) and "live_stop" in calls)


def test_another_tab_switches_the_camera_off(live: Visit) -> None:
    page = live()
    page.click(".cilf-start")
    expect(page.locator(".cilf-live-label")).to_be_visible()
    page.get_by_role("tab", name="Photo", exact=True).click()
    assert wait_until(lambda: not has_camera(page))
    page.get_by_role("tab", name="Live").click()
    expect(page.locator(".cilf-start")).to_have_text("Start")


def test_another_tab_of_the_browser_switches_the_camera_off(live: Visit) -> None:
    page = live()
    page.click(".cilf-start")
    expect(page.locator(".cilf-live-label")).to_be_visible()
    # A browser without a window never hides a page.
    page.evaluate("""() => {
        Object.defineProperty(document, "hidden", {value: true});
        document.dispatchEvent(new Event("visibilitychange"));
    }""")
    assert not has_camera(page)
    expect(page.locator(".cilf-start")).to_have_text("Start")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        ("NotAllowedError", "does not let this page use the camera"),
        ("NotFoundError", "No camera was found"),
        ("NotReadableError", "another program"),
    ],
)
def test_without_a_camera_the_page_says_what_to_do(
    live: Visit, shoot: Shoot, error: str, sentence: str
) -> None:
    page = live()
    page.evaluate(
        "name => { navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', name); }; }",
        error,
    )
    page.click(".cilf-start")
    expect(page.locator(".cilf-live-message .cilf-problem")).to_contain_text(sentence)
    expect(page.locator(".cilf-start")).to_have_text("Start")
    shoot(page)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_two_faces_in_a_narrow_window(
    playwright: Playwright,
    site: Site,
    shoot: Shoot,
    tmp_path: Path,
    grace_hopper: np.ndarray,
    eileen_collins: np.ndarray,
    scheme: str,
) -> None:
    # Without tiles a face is found when it fills a fifth of the picture's width.
    pair = beside(
        swaying(grace_hopper, 2, left=0.25, height=0.95),
        swaying(eileen_collins[:330, 60:390], 2, left=0.75, height=0.95),
    )
    browser = camera_browser(playwright, write_y4m(tmp_path / "pair.y4m", pair))
    with visits(browser, site) as visit:
        page = visit(permissions=["camera"], viewport={"width": 360, "height": 740}, color_scheme=scheme)
        page.get_by_role("tab", name="Live").click()
        page.click(".cilf-start")
        labels = page.locator(".cilf-live-label")
        expect(labels).to_have_count(2)
        expect(labels.first).to_have_text(re.compile(r"^1 · \d+$"))
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        shoot(page)
    browser.close()
