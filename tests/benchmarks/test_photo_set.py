"""A thousand photos through the Photo set tab: `pytest tests/benchmarks/test_photo_set.py -s`.

Asserts that no photo is lost and how far resident memory may grow; records growth and pace.
"""

import io
import time
from pathlib import Path
from urllib.parse import quote

import pandas as pd
from starlette.applications import Starlette
from starlette.testclient import TestClient

from cilf import AgeEstimator
from cilf.demo.photo_set.sets import PhotoSets
from cilf.demo.photo_set.tab import SetRoutes
from cilf.demo.server.model_host import ModelHost
from tests.benchmarks.results import record
from tests.photo_set.generated import generated_photos

PHOTOS, BROKEN = 1000, (123, 777)
MOST_GROWTH = 300.0  # MB


def resident() -> float:
    """MB of this process in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


def test_a_thousand_photos() -> None:
    host = ModelHost(AgeEstimator.from_pretrained)
    host.start()
    host.get()
    photo_sets = PhotoSets(host)
    token = photo_sets.open("page")
    with TestClient(Starlette(routes=SetRoutes(photo_sets).routes())) as client:

        def send(name: str, content: bytes, place: int) -> None:
            headers = {"Cilf-Name": quote(name), "Cilf-Place": str(place)}
            answer = client.post(f"/photo-set/{token}/photo", content=content, headers=headers)
            assert answer.json()["photos"] == 1

        send(*next(generated_photos(1)), 0)  # the libraries set themselves up
        client.post(f"/photo-set/{token}/start")
        before = highest = resident()
        spent = 0.0
        for place, (name, content) in enumerate(generated_photos(PHOTOS, BROKEN)):
            start = time.perf_counter()
            send(name, content, place)
            spent += time.perf_counter() - start
            highest = max(highest, resident())
        table = pd.read_parquet(io.BytesIO(client.get(f"/photo-set/{token}/table.parquet").content))
    figures = {"photos/s": PHOTOS / spent, "MB at the start": before, "MB more, at most": highest - before}
    record(
        "photo set",
        {f"{PHOTOS:,} photos": figures},
        command="pytest tests/benchmarks/test_photo_set.py -s",
        method="Generated photos through the routes of the Photo set tab, one at a time; resident memory.",
    )
    assert len(table) == PHOTOS
    unreadable = table[table["status"] == "unreadable"]
    assert unreadable["path"].tolist() == [f"{number:04}.jpg" for number in BROKEN]
    assert unreadable["error"].notna().all()
    assert table["age"].notna().sum() == PHOTOS - len(BROKEN)
    assert highest - before <= MOST_GROWTH
