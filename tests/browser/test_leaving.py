"""What is left of a visitor on the disk and in the log: nothing. Of the memory speaks `tests/test_demo.py`."""

import zipfile
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Playwright, expect

from tests.browser.conftest import visits
from tests.browser.running import HOPPER, launch_browser, serve, upload, wait_until
from tests.live_clip import numbered, swaying, write_y4m

NAME = "aunt-in-the-garden"


def test_nothing_stays(playwright: Playwright, grace_hopper: np.ndarray, tmp_path: Path) -> None:
    photo, album = tmp_path / f"{NAME}.jpg", tmp_path / "album.zip"
    Image.open(HOPPER).save(photo)
    with zipfile.ZipFile(album, "w") as packed:
        packed.write(photo, photo.name)
    clip = write_y4m(tmp_path / "clip.y4m", numbered(swaying(grace_hopper, 2)))
    browser = launch_browser(playwright, f"--use-file-for-fake-video-capture={clip}")
    with serve(tmp_path / "site") as site, visits(browser, site) as visit:
        page = visit(permissions=["camera"])
        upload(page, photo)
        expect(page.locator("#age")).to_be_visible()
        page.get_by_role("tab", name="Live").click()
        page.click(".cilf-start")
        expect(page.locator(".cilf-live-label")).to_be_visible()
        page.get_by_role("tab", name="Photo set").click()
        page.set_input_files("#photo-set [data-part=files]", [photo, album])
        expect(page.locator("#photo-set [data-part=message]")).to_contain_text("2 faces in 2 photos")
        page.get_by_role("tab", name="Model").click()
        page.context.close()
        assert wait_until(lambda: not site.files()), site.files()
        assert NAME not in site.log.read_text()
    browser.close()
    assert list(site.temporary.iterdir()) == []  # when the program has ended, not even a folder
