"""How quick and how calm the Live tab is: `pytest tests/benchmarks/test_live_speed.py -s`. Asserts no time.

Records medians of one run on the machine as it is; the project's bars are for two free cores.
"""

import base64
import http.client
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import sync_playwright

from cilf import AgeEstimator
from cilf.tracking import FaceTracker
from tests.benchmarks.results import record
from tests.browser.live_clip import RATE, number, numbered, still, swaying, write_y4m
from tests.browser.running import Site, launch_browser, open_page, serve

SECONDS = 20
COMMAND = "pytest tests/benchmarks/test_live_speed.py -s"

# What the page's script sent last, and what the camera shows when its answer has been drawn: one entry a frame.
WATCH = """() => {
    const seen = window.seen = [], pen = new OffscreenCanvas(320, 240).getContext("2d", {willReadFrequently: true});
    const video = document.querySelector("#live video");
    let sent = null;
    const ask = window.fetch;
    window.fetch = (address, options) => {
        if (String(address).includes("component_server") && String(options?.body).includes("live_frame"))
            sent = JSON.parse(options.body).data.picture;
        return ask(address, options);
    };
    new MutationObserver(() => {
        const answered = sent;
        requestAnimationFrame(() => {
            if (!answered || !video.videoWidth) return;
            pen.drawImage(video, 0, 0, 320, 240);
            const row = pen.getImageData(0, 232, 320, 1).data.filter((_, index) => index % 4 === 0);
            seen.push({sent: answered, row: Array.from(row), at: performance.now()});
        });
    }).observe(document.querySelector(".cilf-overlay"), {subtree: true, childList: true, attributes: true});
}"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serve(tmp_path_factory.mktemp("site")) as site:
        yield site


def seconds_of_processor(site: Site) -> float:
    """What the page's program has used of the processor so far (Linux)."""
    fields = Path(f"/proc/{site.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def jpeg(frame: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def test_server_alone(site: Site, grace_hopper: np.ndarray) -> None:
    """One visitor's frames, each sent when the last one is answered."""
    frames = [jpeg(frame) for frame in swaying(grace_hopper, 2)]
    connection = http.client.HTTPConnection(urlsplit(site.address).netloc, timeout=120)

    def ask(method: str, path: str, body: object = None) -> dict:
        connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        return json.loads(connection.getresponse().read())

    components = ask("GET", "/config")["components"]
    [live] = [part["id"] for part in components if part["props"].get("elem_id") == "live"]

    def send(index: int) -> dict:
        frame = {"picture": frames[index % len(frames)], "at": index / 15, "first": index == 0}
        return ask(
            "POST",
            "/gradio_api/component_server/",
            {"data": frame, "component_id": live, "fn_name": "live_frame", "session_hash": "bench"},
        )

    while "spent" not in send(0):
        time.sleep(0.5)
    times, spent, faces, used = [], [], 0, seconds_of_processor(site)
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        start = time.perf_counter()
        answer = send(len(times) + 1)
        times.append(1000 * (time.perf_counter() - start))
        spent.append(answer["spent"])
        faces += len(answer["faces"])
    used = 1000 * (seconds_of_processor(site) - used) / len(times)
    record_speed(
        "the server alone",
        {
            "frames/s": len(times) / SECONDS,
            "round trip, ms": float(np.median(times)),
            "our code, ms": float(np.median(spent)),
            "processor of the server, ms a frame": used,
            "faces a frame": faces / len(times),
        },
    )


def record_speed(what: str, row: dict[str, float]) -> None:
    method = f"320×240, one face, {SECONDS} s; medians. The delay is read from numbers in the clip's frames."
    record("Live", {what: row}, command=COMMAND, method=method)


def test_page(site: Site, grace_hopper: np.ndarray, tmp_path: Path) -> None:
    """Browser and server together; the delay is read from the numbers in the clip's frames."""
    count = 8 * RATE
    clip = write_y4m(tmp_path / "clip.y4m", numbered(swaying(grace_hopper, count / RATE)))
    with sync_playwright() as playwright:
        browser = launch_browser(playwright, f"--use-file-for-fake-video-capture={clip}")
        page = open_page(browser.new_context(permissions=["camera"]), site)
        page.get_by_role("tab", name="Live").click()
        page.click(".cilf-start")
        page.locator(".cilf-live-label").wait_for()
        page.evaluate(WATCH)
        used = seconds_of_processor(site)
        page.wait_for_timeout(1000 * SECONDS)
        used = seconds_of_processor(site) - used
        seen = page.evaluate("window.seen")
        browser.close()
    delays = []
    for one in seen:
        picture = Image.open(io.BytesIO(base64.b64decode(one["sent"].partition(",")[2])))
        sent = number(np.asarray(picture.convert("RGB")))
        shown = number(np.repeat(np.array(one["row"], np.uint8)[None, :, None], 240, axis=0))
        if sent is not None and shown is not None:
            delays.append(1000 * ((shown - sent) % count) / RATE)
    seconds = (seen[-1]["at"] - seen[0]["at"]) / 1000
    record_speed(
        "with the browser on the same cores",
        {
            "frames/s": (len(seen) - 1) / seconds,
            "overlay behind the picture, ms": float(np.median(delays)),
            "processor of the server, ms a frame": 1000 * used / len(seen),
        },
    )


@pytest.mark.parametrize("rate", [6, 15])
def test_smoothing(rate: int, grace_hopper: np.ndarray, eileen_collins: np.ndarray) -> None:
    """A still face, and then another in its place."""
    torch.set_num_threads(1)
    estimator = AgeEstimator.from_pretrained()

    def ages(tracker: FaceTracker, portrait: np.ndarray, seconds: float, start: float) -> np.ndarray:
        """(2, frame): ages of single frames, and temporally smoothed ones."""
        pairs = []
        for index, frame in enumerate(still(portrait, seconds, rate=rate)):
            faces = estimator.predict(frame, tiles=False)
            tracked = tracker.update(faces, start + index / rate)
            if len(faces) == len(tracked) == 1:
                pairs.append((faces[0].age, tracked[0].age))
        return np.array(pairs).T

    rows = {}
    for name, portrait in (("Grace Hopper", grace_hopper), ("Eileen Collins", eileen_collins)):
        tracker = FaceTracker()
        single, smoothed = ages(tracker, portrait, 10, 0.0)
        rows[f"{name}, {rate} frames/s"] = {
            "deviation of single frames, years": float(np.std(single)),
            "smoothed, years": float(np.std(smoothed)),
        }
    before = smoothed[-1]
    single, smoothed = ages(tracker, grace_hopper, 3, 10.0)
    share = (smoothed - before) / (np.mean(single) - before)
    rows[f"another face, {rate} frames/s"] = {"90 % of the step, s": int(np.argmax(share >= 0.9)) / rate}
    record("age in Live", rows, command=COMMAND, method="A still face for 10 s, then another in its place.")
