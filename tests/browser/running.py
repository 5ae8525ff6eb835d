"""What driving the real page takes: the page's program in a process of its own, and Debian's Chromium."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from matplotlib.cbook import get_sample_data
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, Request

ROOT = Path(__file__).resolve().parents[2]

# Grace Hopper, January 1984: a portrait of the public domain.
HOPPER = Path(get_sample_data("grace_hopper.jpg", asfileobj=False))

# Nothing of the browser's own may go to the network or wait for a graphics card.
CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)

# How long anything may take before a test gives up on it: generous, since a busy machine is no failure.
PATIENCE_S = 120


@dataclass(frozen=True)
class Site:
    """A running page: its address, the folder of its temporary files, the file that its output goes to, and its
    process."""

    address: str
    temporary: Path
    log: Path
    pid: int

    def files(self) -> list[Path]:
        """What lies in the folder of temporary files, uploads among it."""
        return [path for path in everything(self.temporary) if path.is_file()]


def everything(folder: Path) -> list[Path]:
    """What lies in a folder, however deep, also while it is being emptied: `Path.rglob` of Python 3.11 fails where a
    folder vanishes."""
    return [Path(parent, name) for parent, folders, files in os.walk(folder) for name in (*folders, *files)]


def find_chromium() -> str | None:
    """Path of an installed Chromium or Chrome, or None."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for name in names if (path := shutil.which(name))), None)


@contextmanager
def serve(folder: Path, arguments: Sequence[str] = ()) -> Iterator[Site]:
    """Run `python app.py` on a free port until the block ends; `folder` takes its temporary files and its output."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    temporary, log = folder / "temporary", folder / "page.log"
    temporary.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "app.py", "--host", "127.0.0.1", "--port", str(port), *arguments]
    # A short heartbeat lets the program notice within a second that a page was left.
    own = {name: value for name, value in os.environ.items() if not name.startswith(("CILF_", "GRADIO_"))}
    environment = own | {"TMPDIR": str(temporary), "GRADIO_HEARTBEAT_INTERVAL": "1"}
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_for(address, process, log)
            yield Site(address, temporary, log, process.pid)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def launch_browser(playwright: Playwright, *flags: str) -> Browser:
    """The installed Chromium, without a window; `flags` go to it too."""
    return playwright.chromium.launch(
        executable_path=find_chromium(), args=[*CHROMIUM_FLAGS, *flags], timeout=1000 * PATIENCE_S
    )


def open_page(context: BrowserContext, site: Site) -> Page:
    """Open the page and wait until the model is ready, or known to be missing."""
    context.set_default_timeout(1000 * PATIENCE_S)
    page = context.new_page()
    page.goto(site.address)
    page.locator("#model-state .cilf-ready, #model-state .cilf-failed").wait_for()
    return page


def upload(page: Page, file: Path) -> None:
    """Choose a photo on the Photo tab."""
    page.set_input_files("#photo input[type=file]", file)


def findings(page: Page) -> list[str]:
    """What axe-core calls serious or critical: rule and element, with what is wrong."""
    response: dict[str, Any] = Axe().run(page).response
    return [
        f"{rule['id']} at {node['target']}: {node['failureSummary']}"
        for rule in response["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


def wait_until(true: Callable[[], bool]) -> bool:
    """Whether it comes true before patience ends."""
    end = time.monotonic() + PATIENCE_S
    while not true() and time.monotonic() < end:
        time.sleep(0.2)
    return true()


def keep_to(site: Site, context: BrowserContext) -> list[str]:
    """The list in which the addresses that a window asks for collect, but for those of the page's own host: no other
    can be reached (`CHROMIUM_FLAGS`)."""
    foreign: list[str] = []

    def note(request: Request) -> None:
        if not request.url.startswith((site.address, "data:", "blob:")):
            foreign.append(request.url)

    context.on("request", note)
    return foreign


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the page's program ended at once:\n{log.read_text()}")
        try:
            with urllib.request.urlopen(address, timeout=10):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"the page did not answer:\n{log.read_text()}")
