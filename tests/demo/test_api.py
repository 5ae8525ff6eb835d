"""What programs get from the running page: the numbers of `AgeEstimator`, through `gradio_client` and through MCP."""

import asyncio
import base64
import json
import os
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from inspect import unwrap
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr
import httpx
import numpy as np
import pytest
from gradio.context import Context
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, TextContent
from PIL import Image

import app
from cilf import AgeEstimator, FacePrediction
from cilf.demo.api import MAX_FILES, Endpoints
from cilf.demo.photo.tab import PhotoTab
from cilf.demo.server.model_host import ModelHost
from cilf.demo.server.sessions import Visits
from cilf.demo.uploads import api_inputs, images, url_download
from cilf.demo.uploads import folder as upload_folder
from cilf.errors import PhotoError
from cilf.photo_set.results import COLUMNS
from cilf.similarity.scores import NEUTRAL
from tests.browser.running import Site, serve
from tests.demo.conftest import blocks
from tests.stand_in import FakeEstimator, make_face

Answer = TypeVar("Answer")

PROMPTS = ["a photo of a child", "a photo of an old person"]
EXTRAS = ("trace", "distribution", "similarities", "scored_by")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serve(tmp_path_factory.mktemp("site"), ["--mcp"]) as site:
        yield site


@pytest.fixture(scope="module")
def client(site: Site) -> Client:
    return Client(site.address, verbose=False)


@pytest.fixture(scope="module")
def family(
    tmp_path_factory: pytest.TempPathFactory, grace_hopper: np.ndarray, eileen_collins: np.ndarray
) -> Path:
    """Hopper beside Collins."""
    wall = Image.new("RGB", (1100, 640), "white")
    wall.paste(Image.fromarray(grace_hopper), (20, 20))
    wall.paste(Image.fromarray(eileen_collins), (560, 20))
    path = tmp_path_factory.mktemp("photos") / "family.png"
    wall.save(path)
    return path


@pytest.fixture(scope="module")
def faces(family: Path) -> list[FacePrediction]:
    return AgeEstimator.from_pretrained().predict(family, PROMPTS)


def check(records: list[dict[str, Any]], faces: list[FacePrediction]) -> None:
    """The records say of each face what the estimator says."""
    assert len(records) == len(faces) == 2
    for number, (record, face) in enumerate(zip(records, faces, strict=True)):
        assert tuple(record) == (*COLUMNS, *EXTRAS)
        assert record["face"] == number
        assert [record[edge] for edge in ("x0", "y0", "x1", "y1")] == pytest.approx(face.box)
        assert record["age"] == pytest.approx(face.age, abs=1e-3)
        assert (record["age_low"], record["age_high"]) == pytest.approx(face.interval, abs=1e-3)
        assert record["status"] == face.status
        assert record["error"] is None
        assert [step["age"] for step in record["trace"]] == pytest.approx(
            [step.age for step in face.trace], abs=1e-3
        )
        assert record["distribution"] == pytest.approx(face.distribution.tolist(), abs=1e-5)
        assert record["similarities"] == pytest.approx(face.similarities, abs=1e-5)
        assert (record["over_18"], record["caveat"]) == (face.over(18), face.caveat or None)


class TestBounds:
    """What a program may ask for at once."""

    @pytest.fixture
    def endpoints(self) -> Iterator[Endpoints]:
        with blocks():
            yield Endpoints(ModelHost(FakeEstimator), lambda session: None)  # still loading

    def test_a_set_has_so_many_files_at_most(self, endpoints: Endpoints) -> None:
        with pytest.raises(gr.Error, match="101 files; give at most 100 at a time"):
            endpoints.predict_set(["data:,"] * 101)

    @pytest.mark.parametrize(
        ("prompts", "words"),
        [
            (["a" * 32_000], "32000 letters; give prompts of at most 120"),
            (["a child"] * 101, "101 prompts; give at most 100 at a time"),
            ("a child", "not a list"),
            ({"a child": 1}, "not a list"),
        ],
    )
    def test_prompts_are_refused_before_the_photo_is_read(
        self, prompts: Any, words: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(api_inputs, "read", lambda *_: pytest.fail("the photo was read"))
        host = ModelHost(lambda: FakeEstimator([make_face()]))
        host.start()
        with blocks():
            endpoints = Endpoints(host, lambda session: None)
        for endpoint in (Endpoints.predict, Endpoints.similarity):
            with pytest.raises(gr.Error, match=words):
                unwrap(endpoint)(
                    endpoints, "data:,", prompts
                )  # Gradio passes on any type, the tests' checks do not

    def test_a_malformed_address_does_not_stop_the_others(self, tmp_path: Path) -> None:
        Image.effect_noise((80, 60), 50).convert("RGB").save(tmp_path / "good.png")
        good = "data:image/png;base64," + base64.b64encode((tmp_path / "good.png").read_bytes()).decode()
        host = ModelHost(lambda: FakeEstimator([make_face()]))
        host.start()
        with blocks():
            endpoints = Endpoints(host, lambda session: None)
        records = json.loads(endpoints.predict_set(["http://[x/a.png", "/gradio_api/file=%00", good]))
        assert [record["status"] for record in records] == ["unreadable", "unreadable", "accepted"]
        assert all("; give a" in record["error"] for record in records[:2])

    def test_what_a_slow_program_uploads_is_there_when_it_asks(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A full set of 5 MB each comes over 10 Mbit/s, and stands in line behind another one's addresses."""
        first = tmp_path / "first.jpg"
        first.touch()
        then = time.time() - MAX_FILES * 5 * 8 / 10 - url_download.ADDRESSES_S
        os.utime(first, (then, then))
        upload_folder.sweep(tmp_path, app.UPLOAD_AGE)
        assert first.exists()

    def test_the_addresses_of_a_set_share_their_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        budgets: list[url_download.Budget] = []

        async def fetch(address: str, name: str, most: int, budget: url_download.Budget) -> bytes:
            budgets.append(budget)
            raise PhotoError("not now")

        monkeypatch.setattr(api_inputs, "fetch", fetch)
        host = ModelHost(FakeEstimator)
        host.start()
        with blocks():
            endpoints = Endpoints(host, lambda session: None)
        for _ in range(2):
            endpoints.predict_set(["http://pictures.example/a.png"] * 3)
        assert len(budgets) == 6
        assert len({id(budget) for budget in budgets}) == 2

    def test_an_address_is_no_larger_than_an_upload(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(images, "MAX_PHOTO", 1000)
        upload = api_inputs.read("data:image/jpeg;base64," + "A" * 2000)
        with pytest.raises(PhotoError, match="larger"), upload.decoded():
            pass

    def test_programs_take_turns_in_a_line_of_their_own(self, endpoints: Endpoints) -> None:
        assert Context.root_block is not None
        PhotoTab(ModelHost(FakeEstimator), Visits())
        events = Context.root_block.fns.values()
        programs = [each for each in events if each.api_visibility == "public"]
        assert len(programs) == 3
        assert {each.concurrency_limit for each in programs} == {1}
        visitors = {each.concurrency_id for each in events if each not in programs}
        assert visitors.isdisjoint(each.concurrency_id for each in programs)


@pytest.mark.slow
class TestGradioClient:
    def test_predict(self, client: Client, site: Site, family: Path, faces: list[FacePrediction]) -> None:
        records = json.loads(client.predict(handle_file(family), PROMPTS, api_name="/predict"))
        check(records, faces)
        assert {record["path"] for record in records} == {"family.png"}
        assert site.files() == []

    def test_a_set_keeps_the_good_photos_beside_a_bad_one(
        self, client: Client, site: Site, family: Path, faces: list[FacePrediction], tmp_path: Path
    ) -> None:
        bad, plain = tmp_path / "bad.jpg", tmp_path / "plain.png"
        bad.write_text("no picture")
        Image.new("RGB", (64, 64), "green").save(plain)
        files = [handle_file(each) for each in (bad, family, plain)]
        records = json.loads(client.predict(files, api_name="/predict_set"))
        assert [record["status"] for record in records[::3]] == ["unreadable", "no_face"]
        assert "bad.jpg" in records[0]["error"]
        assert all(records[0][extra] is None for extra in EXTRAS)
        assert [record["age"] for record in records[1:3]] == pytest.approx(
            [face.age for face in faces], abs=1e-3
        )
        assert site.files() == []

    def test_similarity(self, client: Client, family: Path, faces: list[FacePrediction]) -> None:
        answer = client.predict(handle_file(family), PROMPTS, 1, api_name="/similarity")
        records = json.loads(answer)
        similarities = {record["prompt"]: record["similarity"] for record in records}
        assert similarities == pytest.approx(faces[1].similarities, abs=1e-5)
        assert sum(record["share"] for record in records) == pytest.approx(1)
        neutral = AgeEstimator.from_pretrained().similarity(faces[1], [NEUTRAL])[NEUTRAL]
        assert records[0]["above_neutral"] == pytest.approx(records[0]["similarity"] - neutral, abs=1e-5)
        assert {record["scored_by"] for record in records} == {"compact (bundled)"}

    @pytest.mark.parametrize(
        ("call", "sentence"),
        [
            (lambda client, photo, bad: client.predict(handle_file(bad), api_name="/predict"), "bad.jpg"),
            (
                lambda client, photo, bad: client.predict(handle_file(photo), [""], api_name="/predict"),
                "is empty",
            ),
            (
                lambda client, photo, bad: client.predict(
                    handle_file(photo), ["a"] * 101, api_name="/predict"
                ),
                "100",
            ),
            (
                lambda client, photo, bad: client.predict(
                    handle_file(photo), ["a"], 5, api_name="/similarity"
                ),
                "from 0",
            ),
            (lambda client, photo, bad: client.predict("holiday", api_name="/predict"), "upload"),
        ],
    )
    def test_an_error_is_one_sentence(
        self,
        client: Client,
        site: Site,
        family: Path,
        tmp_path: Path,
        call: Callable[[Client, Path, Path], str],
        sentence: str,
    ) -> None:
        bad = tmp_path / "bad.jpg"
        bad.write_text("no picture")
        with pytest.raises(AppError) as caught:
            call(client, family, bad)
        assert sentence in str(caught.value)
        assert str(caught.value).endswith(".")
        assert "\n" not in str(caught.value)
        assert site.files() == []
        assert "Traceback" not in site.log.read_text()
        assert "bad.jpg" not in site.log.read_text()

    @pytest.mark.parametrize("meta", [{}, {"meta": {"_type": "gradio.FileData"}}])
    def test_other_files_of_the_server_are_neither_read_nor_removed(
        self, client: Client, family: Path, meta: dict[str, Any]
    ) -> None:
        # What `handle_file` makes is uploaded by the client first; a bare path would reach the server as it is.
        with pytest.raises((AppError, ValueError)):
            _post(client, {"path": str(family)} | meta)
        assert family.is_file()

    @pytest.mark.parametrize("meta", [{}, {"meta": {"_type": "gradio.FileData"}}])
    def test_an_address_in_the_server_s_network_is_not_fetched(
        self, client: Client, site: Site, meta: dict[str, Any]
    ) -> None:
        with pytest.raises(AppError, match="cannot be fetched" if meta else "is not a photo"):
            _post(client, {"path": f"{client.src.rstrip('/')}/a.png"} | meta)
        assert site.files() == []

    def test_the_parameters_are_documented(self, client: Client) -> None:
        named = client.view_api(return_format="dict")["named_endpoints"]
        parameters = {
            name: [each["parameter_name"] for each in endpoint["parameters"]]
            for name, endpoint in named.items()
        }
        assert parameters == {
            "/predict": ["photo", "prompts"],
            "/predict_set": ["files"],
            "/similarity": ["photo", "prompts", "face"],
        }


def _post(client: Client, photo: dict[str, Any]) -> str:
    """Call `/predict` as a program would that does not use `gradio_client`."""
    base = f"{client.src.rstrip('/')}/gradio_api/call/predict"
    event = httpx.post(base, json={"data": [photo, None]}, timeout=60).json()["event_id"]
    answer = httpx.get(f"{base}/{event}", timeout=60).text
    if "event: error" in answer:
        raise AppError(answer)
    return answer


def run(work: Coroutine[Any, Any, Answer]) -> Answer:
    """Do asynchronous work in a thread of its own: while a browser is open, Playwright's event loop holds this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


@pytest.mark.slow
class TestMcp:
    def call(self, site: Site, tool: str, arguments: dict[str, Any]) -> CallToolResult:
        async def called() -> CallToolResult:
            async with (
                streamable_http_client(f"{site.address}/gradio_api/mcp/") as (read, write, _),
                ClientSession(read, write) as session,
            ):
                await session.initialize()
                return await session.call_tool(tool, arguments)

        return run(called())

    def records(self, answer: CallToolResult) -> list[dict[str, Any]]:
        assert not answer.isError, answer
        (content,) = answer.content
        assert isinstance(content, TextContent)
        records: list[dict[str, Any]] = json.loads(content.text)
        return records

    def test_the_tools_say_what_they_do(self, site: Site) -> None:
        async def listed() -> dict[str, Any]:
            async with (
                streamable_http_client(f"{site.address}/gradio_api/mcp/") as (read, write, _),
                ClientSession(read, write) as session,
            ):
                await session.initialize()
                return {tool.name: tool for tool in (await session.list_tools()).tools}

        tools = run(listed())
        assert set(tools) == {"predict", "predict_set", "similarity"}
        for tool in tools.values():
            assert "JSON" in tool.description
            for name, schema in tool.inputSchema["properties"].items():
                assert schema.get("description"), f"{tool.name}: {name}"
        assert tools["predict"].inputSchema["required"] == ["photo"]

    def test_predict(self, site: Site, family: Path, faces: list[FacePrediction]) -> None:
        address = "data:image/png;base64," + base64.b64encode(family.read_bytes()).decode()
        check(self.records(self.call(site, "predict", {"photo": address, "prompts": PROMPTS})), faces)
        assert site.files() == []

    def uploaded(self, site: Site, file: Path) -> str:
        """The address of an upload, as Gradio's own `upload_mcp` hands files over."""
        files = {"files": (file.name, file.read_bytes())}
        answer = httpx.post(f"{site.address}/gradio_api/upload", files=files, timeout=60)
        return f"{site.address}/gradio_api/file={answer.json()[0]}"

    def test_an_uploaded_file(self, site: Site, family: Path, faces: list[FacePrediction]) -> None:
        photo = self.uploaded(site, family)
        records = self.records(self.call(site, "predict_set", {"files": [photo]}))
        assert [record["age"] for record in records] == pytest.approx([face.age for face in faces], abs=1e-3)
        assert site.files() == []

    def test_one_answer_leaves_an_equal_upload_to_another(self, site: Site, family: Path) -> None:
        photos = [self.uploaded(site, family) for _ in range(2)]
        for photo in photos:
            assert len(self.records(self.call(site, "predict", {"photo": photo}))) == 2
        assert site.files() == []

    def test_similarity(self, site: Site, family: Path, faces: list[FacePrediction]) -> None:
        address = "data:image/png;base64," + base64.b64encode(family.read_bytes()).decode()
        arguments = {"photo": address, "prompts": PROMPTS, "face": 1}
        similarities = {
            record["prompt"]: record["similarity"]
            for record in self.records(self.call(site, "similarity", arguments))
        }
        assert similarities == pytest.approx(faces[1].similarities, abs=1e-5)

    @pytest.mark.parametrize("foreign", [{"Host": "rebound.example"}, {"Origin": "https://foreign.example"}])
    def test_other_web_pages_are_refused(self, site: Site, foreign: dict[str, str]) -> None:
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        accept = {"Accept": "application/json, text/event-stream"}
        address = f"{site.address}/gradio_api/mcp/"
        assert httpx.post(address, json=call, headers=accept).status_code == 200
        assert httpx.post(address, json=call, headers=accept | foreign).status_code == 403

    def test_an_error_is_one_sentence(self, site: Site) -> None:
        answer = self.call(site, "predict", {"photo": "data:image/png;base64,aGVsbG8="})
        assert answer.isError
        (content,) = answer.content
        assert isinstance(content, TextContent)
        assert "not a picture" in content.text
        assert "Traceback" not in content.text
