"""Takes the README's picture of the page into `assets/`: `python -m tests.browser.readme_picture`.

The only face on it is Grace Hopper's, in a portrait of the public domain.
"""

import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.browser.running import ROOT, launch_browser, open_page, serve

PICTURE = ROOT / "assets" / "page.png"


def main() -> None:
    """Start the page, let it predict the portrait, and save the picture."""
    with (
        tempfile.TemporaryDirectory() as folder,
        serve(Path(folder)) as site,
        sync_playwright() as playwright,
    ):
        browser = launch_browser(playwright)
        context = browser.new_context(viewport={"width": 1280, "height": 960}, color_scheme="light")
        page = open_page(context, site)
        page.click("#example-hopper")
        page.locator("#age").wait_for()
        page.locator("#example-hopper").blur()
        PICTURE.parent.mkdir(exist_ok=True)
        page.screenshot(path=PICTURE, animations="disabled")
        browser.close()


if __name__ == "__main__":
    main()
