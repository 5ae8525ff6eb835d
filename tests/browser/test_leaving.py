"""What is left of a visitor on the disk and in the log: nothing. `tests/demo/test_page.py` is about the memory."""

import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Playwright, expect

from cilf.demo import texts
from cilf.demo.photo.tab import PREDICTIONS_AT_ONCE
from tests.browser.conftest import visits
from tests.browser.live_clip import numbered, swaying, write_y4m
from tests.browser.running import HOPPER, PATIENCE_S, everything, launch_browser, serve, upload, wait_until

NAME = "aunt-in-the-garden"


@contextmanager
def hub_without_end() -> Iterator[tuple[str, Callable[[], None]]]:
    """A Hub that does not come to the end of its answer, so that a model from it stays loading: its address, and what
    breaks the answer off."""
    over = threading.Event()

    class Dribble(BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
                while not over.wait(1):
                    self.request.sendall(b" ")

    with ThreadingTCPServer(("127.0.0.1", 0), Dribble) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", over.set
        finally:
            over.set()
            server.shutdown()


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


def test_nothing_stays_of_photos_that_were_never_predicted(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / f"{NAME}.jpg"
    Image.open(HOPPER).save(file)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with hub_without_end() as (address, break_off):
        monkeypatch.setenv("HF_ENDPOINT", address)
        with serve(tmp_path / "site", ["--weights", "somebody/somewhere"]) as site:
            before = set(everything(site.temporary))
            # Those that wait for the model, and one that waits in line behind them.
            pages = [browser.new_context().new_page() for _ in range(PREDICTIONS_AT_ONCE + 1)]
            for page in pages:
                page.set_default_timeout(1000 * PATIENCE_S)
                page.goto(site.address)
                upload(page, file)
                expect(page.locator("#photo img[src^='data:']")).to_be_visible()
                assert site.files() == []  # while it waits
            for page in pages[:PREDICTIONS_AT_ONCE]:
                expect(page.locator("#message")).to_contain_text(texts.MODEL_FIRST)
            for page in pages:
                page.context.close()
            assert wait_until(lambda: set(everything(site.temporary)) <= before)  # no folders either
            assert NAME not in site.log.read_text()
            break_off()  # the program waits at its end for those who wait for the model
