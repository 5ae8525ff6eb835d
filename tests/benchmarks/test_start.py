"""How soon the page is there: `pytest tests/benchmarks/test_start.py -s`. Asserts no time.

Records medians of a few starts on a warm disk, each a `python app.py` of its own that a new browser window opens.
"""

import time
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

from tests.benchmarks.results import record
from tests.browser.running import PATIENCE_S, launch_browser, open_page, serve

STARTS = 5

# Measured in the page: Playwright's movement of the mouse and the pauses of its `expect` (up to a second) would count
# otherwise. Seconds from the click to the first frame with an age.
NOTE_CLICKS = "addEventListener('click', () => (window.clicked = performance.now()), true)"
SECONDS_TO_AGE = (
    "() => document.querySelector('#age')?.offsetParent && (performance.now() - window.clicked) / 1000"
)


def test_start(tmp_path: Path) -> None:
    seconds = []
    with sync_playwright() as playwright:
        browser = launch_browser(playwright)
        for number in range(STARTS + 1):
            started = time.perf_counter()
            with serve(tmp_path / str(number)) as site:
                answered = time.perf_counter()
                page = open_page(browser.new_context(), site)
                ready = time.perf_counter()
                page.evaluate(NOTE_CLICKS)
                page.click("#example-hopper")
                shown = page.wait_for_function(SECONDS_TO_AGE, polling="raf", timeout=1000 * PATIENCE_S)
                seconds.append((answered - started, ready - started, shown.json_value()))
                page.context.close()
        browser.close()
    answered, ready, predicted = np.median(seconds[1:], axis=0)  # the first start warms the disk
    rows = {
        "the page answers": answered,
        "the model is ready": ready,
        "age of the first portrait, after the click": predicted,
    }
    record(
        "start",
        {name: {"s": float(value)} for name, value in rows.items()},
        command="pytest tests/benchmarks/test_start.py -s",
        method=f"`python app.py` on a warm disk, opened by a new browser window: medians of {STARTS} starts.",
    )
