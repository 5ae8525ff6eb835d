"""Many photos, through `predict_many` and through the Photo set tab: `pytest tests/benchmarks/test_photo_set.py -s`.

Asserts that no photo is lost and how far resident memory may grow; records growth and pace.
"""

import io
import os
import resource
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from urllib.parse import quote

import pandas as pd
from starlette.applications import Starlette
from starlette.testclient import TestClient

from cilf import AgeEstimator
from cilf.demo.photo_set.sets import PhotoSets
from cilf.demo.photo_set.tab import SetRoutes
from cilf.demo.photo_set.views import SENDERS
from cilf.demo.server.model_host import ModelHost
from tests.benchmarks.results import record
from tests.photo_set.generated import generated_photos, pasted_photos

PHOTOS, BROKEN, PART = 1000, (123, 777), 100
PASTED = 300
MOST_GROWTH = 300.0  # MB
METHOD = (
    "Files with a pasted portrait through `predict_many`, the start of its processes included; and generated photos of "
    "0.2 to 1.5 megapixels through the routes of the Photo set tab, as many at once as a page sends."
)


def resident() -> float:
    """MB of this process in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


def processor_seconds() -> float:
    """Of this process and the children that it has waited for."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def test_files(tmp_path: Path) -> None:
    for name, content in pasted_photos(PASTED):
        (tmp_path / name).write_bytes(content)
    paths = sorted(tmp_path.iterdir())
    estimator = AgeEstimator.from_pretrained()
    estimator.predict(paths[0])
    busy, start = processor_seconds(), time.perf_counter()
    results = list(estimator.predict_many(paths))
    seconds = time.perf_counter() - start
    busy = (processor_seconds() - busy) / seconds / len(os.sched_getaffinity(0))
    assert [result.name for result in results] == list(map(str, paths))
    assert sum(len(result.faces) for result in results) >= 0.99 * PASTED
    record(
        "photo set",
        {f"{PASTED} files of 640×480": {"photos/s": PASTED / seconds, "share of all processors": busy}},
        command="pytest tests/benchmarks/test_photo_set.py -s",
        method=METHOD,
    )


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
        photos = generated_photos(PHOTOS, BROKEN)
        with ThreadPoolExecutor(SENDERS) as senders:
            for first in range(0, PHOTOS, PART):  # made while no time is taken
                part = [(name, content, first + n) for n, (name, content) in enumerate(islice(photos, PART))]
                start = time.perf_counter()
                list(senders.map(lambda photo: send(*photo), part))
                spent += time.perf_counter() - start
                highest = max(highest, resident())
        table = pd.read_parquet(io.BytesIO(client.get(f"/photo-set/{token}/table.parquet").content))
    figures = {"photos/s": PHOTOS / spent, "MB at the start": before, "MB more, at most": highest - before}
    record(
        "photo set",
        {f"{PHOTOS:,} photos": figures},
        command="pytest tests/benchmarks/test_photo_set.py -s",
        method=METHOD,
    )
    assert len(table) == PHOTOS
    unreadable = table[table["status"] == "unreadable"]
    assert unreadable["path"].tolist() == [f"{number:04}.jpg" for number in BROKEN]
    assert unreadable["error"].notna().all()
    assert table["age"].notna().sum() == PHOTOS - len(BROKEN)
    assert highest - before <= MOST_GROWTH
