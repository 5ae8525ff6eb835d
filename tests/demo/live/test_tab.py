"""What the Live tab answers to a visitor's frames, over HTTP as the page asks it, without a trained model."""

import base64
import io
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from cilf.demo import texts
from cilf.demo.live.streams import Streams
from cilf.demo.live.tab import LiveTab
from cilf.demo.server.model_host import ModelHost
from cilf.errors import WeightsError
from cilf.prediction import FacePrediction
from tests.stand_in import FakeEstimator, make_face

HEIGHT, WIDTH = 240, 320


def frame(at: float, first: bool = False, size: tuple[int, int] = (WIDTH, HEIGHT)) -> dict[str, Any]:
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG")
    address = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    return {"picture": address, "at": at, "first": first}


class Page:
    """The tab on a page that is served, and the calls that its script makes."""

    def __init__(self, host: ModelHost, streams: Streams) -> None:
        with gr.Blocks(analytics_enabled=False) as page:
            self.tab = LiveTab(host, streams)
        self.client = TestClient(gr.routes.App.create_app(page))

    def call(self, name: str, data: Any, visitor: str = "one") -> Any:
        body = {"data": data, "component_id": self.tab.camera._id, "fn_name": name, "session_hash": visitor}
        answer = self.client.post("/gradio_api/component_server/", json=body)
        assert answer.status_code == 200
        return answer.json()

    def send(self, frame: dict[str, Any], visitor: str = "one") -> dict[str, Any]:
        return self.call("live_frame", frame, visitor)


def served(faces: list[FacePrediction], streams: Streams) -> Page:
    host = ModelHost(lambda: FakeEstimator(faces))
    host.start()
    host.get()
    return Page(host, streams)


@pytest.fixture
def streams() -> Streams:
    return Streams()


@pytest.fixture
def page(streams: Streams) -> Page:
    return served([make_face(41.2, (80.0, 60.0, 160.0, 120.0))], streams)


def test_a_face_comes_back_with_its_place_and_age(page: Page) -> None:
    page.send(frame(0.0, first=True))
    [face] = page.send(frame(0.1))["faces"]
    assert face["box"] == pytest.approx([0.25, 0.25, 0.5, 0.5])
    assert face["years"] == 41
    assert (face["low"], face["high"]) == pytest.approx((33.2, 50.2))


def test_each_visitor_has_faces_of_his_own(page: Page, streams: Streams) -> None:
    for visitor in ("one", "two"):
        page.send(frame(0.0, first=True), visitor)
    for visitor in ("one", "two"):
        assert [face["number"] for face in page.send(frame(0.1), visitor)["faces"]] == [1]
    page.call("live_stop", None, "one")
    assert len(streams) == 1
    assert page.send(frame(0.2), "one")["faces"] == []  # begins again
    assert page.send(frame(0.2), "two")["faces"] != []


def test_a_start_begins_anew(page: Page) -> None:
    page.send(frame(5.0, first=True))
    assert page.send(frame(5.1))["faces"] != []
    assert page.send(frame(5.2, first=True))["faces"] == []


def test_who_lost_the_place_is_told_on_the_page() -> None:
    now = [0.0]
    page = served([make_face()], Streams(most=1, idle=1000, clock=lambda: now[0]))
    page.send(frame(0.0, first=True), "one")
    assert "visitors are live" in page.send(frame(0.0, first=True), "two")["problem"]
    now[0] = 1000.0
    assert "faces" in page.send(frame(0.0, first=True), "two")
    assert "press Start to go on" in page.send(frame(0.1), "one")["problem"]
    assert "faces" in page.send(frame(0.1), "two")


def test_who_has_no_place_costs_no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cilf.demo.limits.REFUSAL_S", 0.0)
    page = served([make_face()], Streams(most=1))
    page.send(frame(0.0, first=True), "one")
    monkeypatch.setattr("cilf.demo.live.tab._opened", lambda address: pytest.fail("it was decoded"))
    for number in range(3):
        assert "visitors are live" in page.send(frame(0.0, first=True), f"other {number}")["problem"]


def test_another_model_begins_anew() -> None:
    """Its embeddings have another length, and its ages are another's opinion."""
    box = (80.0, 60.0, 160.0, 120.0)
    old, new = make_face(41.2, box), replace(make_face(20.0, box), embedding=np.ones(7, np.float32))
    host = ModelHost(lambda: FakeEstimator([old]))
    host.start()
    host.get()
    page = Page(host, Streams())
    page.send(frame(0.0, first=True))
    assert page.send(frame(0.1))["faces"][0]["years"] == 41
    host.replace(lambda: FakeEstimator([new]))
    assert page.send(frame(0.2))["faces"] == []
    assert page.send(frame(0.3))["faces"][0]["years"] == 20


def test_a_second_frame_is_not_kept_in_line(page: Page) -> None:
    """Who sends on without an answer is not served twice."""
    gate, begun = threading.Event(), threading.Event()
    predict_now = FakeEstimator.predict

    class Slow(FakeEstimator):
        def predict(self, *arguments: Any, **options: Any) -> list[FacePrediction]:
            begun.set()
            gate.wait(60)
            return predict_now(self, *arguments, **options)

    slow = Slow([make_face()])
    host = ModelHost(lambda: slow)
    host.start()
    host.get()
    page = Page(host, Streams())
    with page.client, ThreadPoolExecutor(1) as other:
        first = other.submit(page.send, frame(0.0, first=True))
        assert begun.wait(60)
        assert page.send(frame(0.1)) == {"busy": True}
        gate.set()
        assert "spent" in first.result()
    assert len(slow.photos) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "bad",
    [
        {"picture": "data:image/jpeg;base64,????", "at": 0.0},
        {"picture": "data:image/jpeg;base64," + base64.b64encode(b"no picture").decode(), "at": 0.0},
        {"picture": "", "at": 0.0},
        {"picture": "data:image/jpeg;base64," + "A" * (2 << 20), "at": 0.0},
        {"at": 0.0},
        {"picture": frame(0.0)["picture"]},
        {"picture": frame(0.0)["picture"], "at": "soon"},
        frame(0.0, size=(2000, 40)),
    ],
)
def test_a_bad_frame_gets_a_sentence(page: Page, bad: dict[str, Any]) -> None:
    assert page.send(bad)["problem"].endswith(".")
    assert "faces" in page.send(frame(0.0))  # and the page goes on


def test_frames_before_the_model_are_told_to_wait() -> None:
    gate = threading.Event()

    def load() -> FakeEstimator:
        gate.wait()
        return FakeEstimator([make_face()])

    host = ModelHost(load)
    host.start()
    page = Page(host, Streams())
    assert page.send(frame(0.0))["wait"] == texts.LIVE_MODEL_FIRST
    gate.set()
    host.get()
    assert "faces" in page.send(frame(0.1))


def test_a_missing_model_is_said() -> None:
    def load() -> FakeEstimator:
        raise WeightsError("the folder 'x' is empty")

    host = ModelHost(load)
    host.start()
    with pytest.raises(WeightsError):
        host.get()
    assert "is empty" in Page(host, Streams()).send(frame(0.0))["problem"]


def test_no_file_is_written(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # which it read from TMPDIR once
    for index in range(5):
        page.send(frame(index / 10))
    assert list(tmp_path.rglob("*")) == []


def test_other_threads_keep_pytorch_s_threads(page: Page) -> None:
    import torch

    usual = torch.get_num_threads()
    page.send(frame(0.0))
    assert torch.get_num_threads() == usual
    with ThreadPoolExecutor(1) as new:
        assert new.submit(torch.get_num_threads).result() == usual
    assert page.tab._worker.submit(torch.get_num_threads).result() == 1
