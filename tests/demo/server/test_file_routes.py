"""No file of this computer is to be had through the page's addresses but what its visitor has uploaded."""

from pathlib import Path
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

import app
from cilf.demo.live.streams import Streams
from cilf.demo.photo_set.sets import PhotoSets
from cilf.demo.server.model_host import ModelHost
from cilf.demo.server.sessions import Visits
from cilf.demo.server.settings import Settings
from tests.stand_in import FakeEstimator

SECRET = "what nobody may read"


@pytest.fixture(scope="module")
def client() -> TestClient:
    host = ModelHost(FakeEstimator)
    page = app.build_page(host, lambda *_: FakeEstimator(), Settings(), PhotoSets(host), Visits(), Streams())
    return TestClient(page.app, raise_server_exceptions=False)


@pytest.mark.parametrize("route", ["file=", "file/", "stream/x/y/z/", "../file=", "proxy=file://"])
@pytest.mark.parametrize("way", ["{}", "/{}", "./{}", "%2e%2e/{}", "uploads/../{}", "file://{}", "{}%00.png"])
def test_files_of_the_server_are_not_served(client: TestClient, tmp_path: Path, route: str, way: str) -> None:
    file = tmp_path / "private" / "secret.txt"
    file.parent.mkdir()
    file.write_text(SECRET)
    answer = client.get(f"/gradio_api/{route}" + way.format(quote(str(file))))
    assert answer.status_code >= 400
    assert SECRET not in answer.text


@pytest.mark.parametrize(
    "path", ["app.py", "cilf/cli.py", "checkpoints/compact/config.json", ".git/config", ".env"]
)
def test_nor_are_those_of_the_program(client: TestClient, path: str) -> None:
    assert client.get(f"/gradio_api/file={path}").status_code in (403, 404)
