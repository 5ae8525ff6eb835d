"""What the Photo set tab makes of many files: rows, failures, zip files, and who sees what."""

import asyncio
import csv
import html
import io
import json
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.testclient import TestClient

from cilf import AgeEstimator
from cilf.demo import texts
from cilf.demo.limits import MAX_NAME
from cilf.demo.photo_set import sets, views
from cilf.demo.photo_set import tab as photo_set
from cilf.demo.photo_set.sets import TABLE_KINDS, PhotoSet, PhotoSets
from cilf.demo.photo_set.shared_workers import SharedWorkers
from cilf.demo.photo_set.tab import Room, SetRoutes
from cilf.demo.server.model_host import ModelHost
from cilf.demo.uploads.images import Upload
from cilf.errors import DetectorError, UsageError, WeightsError
from cilf.photo_set.results import COLUMNS
from cilf.photo_set.workers import WorkerProcess
from cilf.prediction import FacePrediction
from tests.demo.conftest import hosting, wait_for, wait_until
from tests.faults.disk import full_disk
from tests.photo_set.generated import generated_photos
from tests.stand_in import Cropping, StandIn, face, packed, png

Answer = dict[str, Any]


class Visitor:
    """A page, as its script speaks with the server."""

    def __init__(self, photo_sets: PhotoSets, page: str = "page") -> None:
        self.client = TestClient(Starlette(routes=SetRoutes(photo_sets).routes()))
        self.token = photo_sets.open(page)

    def call(self, path: str, body: bytes = b"", **headers: str) -> Answer:
        named = {f"Cilf-{name}": quote(value) for name, value in headers.items()}
        response = self.client.post(f"/photo-set/{self.token}/{path}", content=body, headers=named)
        return {"code": response.status_code, **response.json()}

    def photo(self, name: str, body: bytes, place: int, **headers: str) -> Answer:
        return self.call("photo", body, name=name, place=str(place), **headers)

    def archive(self, name: str, body: bytes, place: int = 0) -> list[Answer]:
        opened = self.call("archive", body, name=name, place=str(place))
        answers = [opened]
        while answers[-1].get("more", opened["count"] > 0):
            answers.append(self.call("next"))
        return answers

    def table(self) -> pd.DataFrame:
        response = self.client.get(f"/photo-set/{self.token}/table.parquet")
        assert response.status_code == 200
        return pd.read_parquet(io.BytesIO(response.content))


@pytest.fixture
def photo_sets() -> PhotoSets:
    return PhotoSets(hosting(StandIn()))


@pytest.fixture
def visitor(photo_sets: PhotoSets) -> Visitor:
    return Visitor(photo_sets)


class TestSet:
    def test_rows_are_those_of_the_command_line(self, visitor: Visitor) -> None:
        answer = visitor.photo("two.png", png(2), 0)
        assert (answer["photos"], answer["faces"], answer["failed"]) == (1, 2, 0)
        assert answer["rows"].count("<tr>") == 2
        assert answer["gallery"].count("<img") == 2
        table = visitor.table()
        assert tuple(table.columns) == COLUMNS
        assert table["path"].tolist() == ["two.png"] * 2
        assert table["face"].tolist() == [0, 1]
        assert table["age"].tolist() == [30.5, 30.5]

    def test_bad_files_give_their_reason_and_the_others_go_on(self, visitor: Visitor) -> None:
        bad = {
            "empty.jpg": b"",
            "text.jpg": b"hello",
            "cut.png": png(1)[:60],
            "wall.png": png(0),
        }
        for place, (name, content) in enumerate(bad.items()):
            answer = visitor.photo(name, content, place)
            assert answer["failed"] == 1
            assert name in answer["failures"]
        assert visitor.photo("fine.png", png(1), 9)["faces"] == 1
        table = visitor.table()
        assert table["path"].tolist() == [*bad, "fine.png"]
        assert table["status"].tolist() == ["unreadable"] * 3 + ["no_face", "corrected"]
        assert table["error"].notna().tolist() == [True] * 4 + [False]

    @pytest.mark.parametrize(
        ("problem", "sentence"), [("large", "larger than 64 MB"), ("gone", "choose it again")]
    )
    def test_what_the_browser_could_not_send_has_a_row(
        self, visitor: Visitor, problem: str, sentence: str
    ) -> None:
        answer = visitor.photo("x.jpg", b"", 0, problem=problem)
        assert sentence in answer["failures"]
        assert visitor.table()["status"].tolist() == ["unreadable"]

    def test_a_body_over_the_limit_is_not_kept(
        self, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(photo_set, "MAX_PHOTO", 1000)
        assert "larger than" in visitor.photo("x.jpg", bytes(5000), 0)["failures"]

    def test_rows_stand_in_the_order_of_the_files_however_they_come(self, visitor: Visitor) -> None:
        for place in (2, 0, 1):
            visitor.photo(f"{place}.png", png(1), place)
        assert visitor.table()["path"].tolist() == ["0.png", "1.png", "2.png"]

    def test_names_are_shown_as_they_are_and_escaped(self, visitor: Visitor) -> None:
        name = 'Ünal/<img src=x onerror="alert(1)">.jpg'
        for answer in (visitor.photo(name, png(1), 0), visitor.photo(name, b"no picture", 1)):
            shown = answer["rows"] + answer["gallery"] + answer["failures"]
            assert "<img src=x" not in shown
            assert "Ünal/&lt;img" in shown
        assert visitor.table()["path"].tolist() == [name] * 2

    def test_a_zip_file_is_read_photo_by_photo(self, visitor: Visitor) -> None:
        members = {f"day {number}/a.png": png(number) for number in range(3)} | {"broken.jpg": b"x"}
        opened, *answers = visitor.archive("holiday.zip", packed(members).getvalue(), place=1)
        visitor.photo("first.png", png(1), 0)
        assert opened["count"] == 4
        assert sum(answer["photos"] for answer in answers) == 4
        assert sum(answer["faces"] for answer in answers) == 3
        table = visitor.table()
        assert list(dict.fromkeys(table["path"])) == [
            "first.png",
            "holiday.zip/broken.jpg",
            "holiday.zip/day 0/a.png",
            "holiday.zip/day 1/a.png",
            "holiday.zip/day 2/a.png",
        ]

    def test_a_zip_file_that_cannot_be_used_has_a_row(self, visitor: Visitor) -> None:
        [answer] = visitor.archive("holiday.zip", b"no zip")
        assert answer["count"] == 0
        assert "holiday.zip" in answer["failures"]
        assert visitor.table()["path"].tolist() == ["holiday.zip"]

    def test_a_zip_file_over_the_limit_is_not_kept(
        self, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(photo_set, "MAX_ARCHIVE", 1000)
        [answer] = visitor.archive("holiday.zip", packed({"a.png": bytes(5000)}, 0).getvalue())
        assert "larger than" in answer["failures"]

    def test_a_set_has_so_many_photos_at_most(
        self, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sets, "MAX_SET_PHOTOS", 2)
        for place in range(2):
            assert visitor.photo("a.png", png(1), place)["code"] == 200
        assert visitor.photo("a.png", png(1), 2) == {"code": 400, "problem": texts.SET_FULL}
        assert len(visitor.table()) == 2

    def test_a_long_name_is_shortened(self, visitor: Visitor) -> None:
        visitor.photo("a" * 40_000 + ".png", png(1), 0)
        visitor.archive("b.zip", packed({"b" * 40_000 + ".png": png(1)}).getvalue(), place=1)
        for name in visitor.table()["path"]:
            assert len(name) == MAX_NAME
            assert name.endswith(".png")

    def test_a_set_receives_one_zip_file_at_a_time(
        self, photo_sets: PhotoSets, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        content = packed({"a.png": png(1)})
        photo_set = photo_sets.get(visitor.token)
        assert photo_set is not None
        photo_set.open_archive(content, 0, "a.zip")
        with photo_sets.receiving_archive(photo_set):
            assert content.closed  # the last one makes room before the next comes
            assert visitor.call("archive", b"x", name="b.zip") == {"code": 400, "problem": texts.SET_ARCHIVE}
            monkeypatch.setattr(sets, "MAX_ARCHIVES", 1)
            other = Visitor(photo_sets, "other")
            assert other.call("archive", b"x", name="c.zip") == {"code": 400, "problem": texts.BUSY}
        assert visitor.archive("b.zip", packed({"a.png": png(1)}).getvalue())[-1]["photos"] == 1

    def test_stopping_drops_the_zip_file_and_keeps_the_rows(
        self, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(photo_set, "STEP_S", 0.0)  # a photo an answer
        visitor.call("archive", packed({f"{n}.png": png(1) for n in range(5)}).getvalue(), name="a.zip")
        assert visitor.call("next")["photos"] == 1
        assert "1 face" in visitor.call("finish")["histogram"]
        assert visitor.call("next") | {"histogram": ""} == {
            "code": 200,
            "photos": 0,
            "faces": 0,
            "rows": "",
            "gallery": "",
            "failures": "",
            "failed": 0,
            "histogram": "",
            "more": False,
        }
        assert len(visitor.table()) == 1

    def test_a_zip_file_is_closed_when_it_is_through_or_dropped(self) -> None:
        photo_set = PhotoSet()
        content = packed({"a.png": png(1)}).getvalue()
        for drop in (
            lambda: list(iter(photo_set.next_member, None)),
            photo_set.close_archive,
            photo_set.clear,
        ):
            file = io.BytesIO(content)
            assert photo_set.open_archive(file, 0, "a.zip") == 1
            drop()
            assert file.closed
            assert photo_set.next_member() is None

    def test_a_new_set_begins_empty(self, visitor: Visitor) -> None:
        visitor.photo("a.png", png(1), 0)
        assert visitor.call("start")["loading"] is False
        assert len(visitor.table()) == 0

    @pytest.mark.parametrize("kind", TABLE_KINDS)
    def test_tables_leave_no_file(
        self, visitor: Visitor, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        visitor.photo("a.png", png(1), 0)
        response = visitor.client.get(f"/photo-set/{visitor.token}/table.{kind}")
        assert response.status_code == 200
        assert f"ages.{kind}" in response.headers["content-disposition"]
        assert list(tmp_path.iterdir()) == []
        assert visitor.client.get(f"/photo-set/{visitor.token}/table.exe").status_code == 404

    @pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
    def test_no_cell_of_the_csv_is_a_formula(self, visitor: Visitor, start: str) -> None:
        name = f"{start}HYPERLINK(1).png"
        visitor.photo(name, png(1), 0)
        content = visitor.client.get(f"/photo-set/{visitor.token}/table.csv").content
        [line] = csv.DictReader(io.StringIO(content.decode(), newline=""))
        assert line["path"] == f"'{name}"
        assert float(line["age"]) == 30.5, "numbers stay numbers"
        assert visitor.table()["path"].tolist() == [name], "Parquet and JSON hold values alone"

    def test_nor_where_semicolons_separate_cells(self, visitor: Visitor) -> None:
        visitor.photo("a;=HYPERLINK(1);b;-c|@d.png", png(1), 0)
        content = visitor.client.get(f"/photo-set/{visitor.token}/table.csv").text
        assert content.splitlines()[1].startswith("a;'=HYPERLINK(1);b;'-c|'@d.png,")

    def test_a_full_disk_is_a_sentence_and_what_is_done_stays(self, visitor: Visitor) -> None:
        visitor.photo("a.png", png(1), 0)
        with full_disk(after=1 << 20):
            refused = visitor.call("archive", bytes(2 << 20), name="a.zip", place="1")
            assert (refused["code"], refused["problem"]) == (507, texts.DISK_FULL)
        with full_disk(after=100):
            for kind in TABLE_KINDS:
                answer = visitor.client.get(f"/photo-set/{visitor.token}/table.{kind}")
                assert (answer.status_code, answer.text) == (507, texts.DISK_FULL)
        assert visitor.table()["path"].tolist() == ["a.png"]

    def test_pages_are_served_while_an_answer_is_drawn(
        self, visitor: Visitor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Thumbnails and histograms are not drawn on the event loop."""
        drawn: list[str] = []

        def off_the_loop(name: str, draw: Callable[..., str]) -> Callable[..., str]:
            def drawing(*arguments: Any) -> str:
                with pytest.raises(RuntimeError, match="no running event loop"):
                    asyncio.get_running_loop()
                drawn.append(name)
                return draw(*arguments)

            return drawing

        for name in ("faces", "histogram"):
            monkeypatch.setattr(views, name, off_the_loop(name, getattr(views, name)))
        visitor.photo("a.png", png(1), 0)
        visitor.archive("b.zip", packed({"b.png": png(1)}).getvalue())
        visitor.archive("c.zip", b"no zip file")
        assert drawn.count("faces") >= 3
        drawn.clear()
        assert visitor.call("finish")["histogram"]
        assert drawn == ["histogram"]

    def test_the_unexpected_becomes_a_sentence(self) -> None:
        class Broken(StandIn):
            def predict(self, photo: np.ndarray, **_: Any) -> list[FacePrediction]:
                raise DetectorError("the detector is gone; install it")

        answer = Visitor(PhotoSets(hosting(Broken()))).photo("a.png", png(1), 0)
        assert answer == {"code": 400, "problem": "The detector is gone; install it."}

    def test_a_missing_model_is_said(self) -> None:
        def load() -> StandIn:
            raise WeightsError("the folder 'x' is empty")

        host = ModelHost(load)
        host.start()
        assert "is empty" in Visitor(PhotoSets(host)).photo("a.png", png(1), 0)["problem"]


@pytest.mark.slow
class TestLargeSets:
    """From some photos on, worker processes find the faces."""

    @pytest.fixture
    def content(self, grace_hopper: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(grace_hopper).save(buffer, "JPEG")
        return buffer.getvalue()

    @pytest.mark.parametrize("few", [2, 100])
    def test_their_rows_are_those_of_small_ones(
        self, content: bytes, few: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(photo_set, "FEW", few)
        visitor = Visitor(PhotoSets(hosting(Cropping())))
        for place, body in enumerate([content, b"hello", content, b"", content]):
            assert visitor.photo(f"{place}.jpg", body, place)["photos"] == 1
        members = {f"{number}.jpg": content for number in range(7)} | {"7.jpg": b"hello"}
        answers = visitor.archive("a.zip", packed(members).getvalue(), place=5)
        assert sum(answer.get("photos", 0) for answer in answers) == 8
        assert "cannot be" not in "".join(answer.get("problem", "") for answer in answers)
        table = visitor.table()
        names = [f"{place}.jpg" for place in range(5)] + [f"a.zip/{name}" for name in members]
        assert table["path"].tolist() == names
        failed = table["status"] == "unreadable"
        assert table["path"][failed].tolist() == ["1.jpg", "3.jpg", "a.zip/7.jpg"]
        assert table["age"][~failed].nunique() == 1

    def test_the_page_lets_go_of_processes_that_nobody_uses(self, content: bytes) -> None:
        shared, estimator = SharedWorkers(idle=0.0), Cropping()
        for _ in range(2):
            with shared.use(estimator) as workers, shared.use(estimator) as same:
                assert workers is same
                assert workers.submit("a.jpg", content).result(120).faces
            assert wait_until(lambda: not shared._pools)
            assert wait_until(lambda: not any(map(is_running, workers._processes)))


def is_running(worker: WorkerProcess) -> bool:
    return worker._process is not None and worker._process.poll() is None


class TestVisitors:
    def test_nobody_sees_the_set_of_another(self, photo_sets: PhotoSets) -> None:
        mine, yours = Visitor(photo_sets, "mine"), Visitor(photo_sets, "yours")
        mine.photo("a.png", png(1), 0)
        assert len(yours.table()) == 0
        assert len(mine.table()) == 1
        yours.token = "guessed"
        assert yours.photo("b.png", png(1), 0) == {
            "code": 404,
            "problem": texts.SET_FORGOTTEN,
            "gone": True,
        }

    def test_a_left_page_is_forgotten_with_its_zip_file(self, photo_sets: PhotoSets) -> None:
        visitor = Visitor(photo_sets)
        file = packed({"a.png": png(1)})
        photo_set = photo_sets.get(visitor.token)
        assert photo_set is not None
        photo_set.open_archive(file, 0, "a.zip")
        photo_sets.forget("page")
        assert file.closed
        assert visitor.call("next")["code"] == 404

    def test_a_zip_file_that_nobody_asks_for_is_closed(self) -> None:
        photo_sets = PhotoSets(hosting(StandIn()), idle=0.0)
        visitor = Visitor(photo_sets)
        photo_set = photo_sets.get(visitor.token)
        assert photo_set is not None
        file = packed({"a.png": png(1)})
        photo_set.open_archive(file, 0, "a.zip")
        with photo_set.in_use():
            photo_sets.forget_old()
            assert not file.closed
        time.sleep(0.01)
        photo_sets.forget_old()
        assert file.closed
        assert visitor.call("next")["more"] is False

    def test_a_zip_file_on_its_way_keeps_its_place_though_its_page_is_left(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sets, "MAX_ARCHIVES", 1)
        photo_sets = PhotoSets(hosting(StandIn()))
        photo_set = photo_sets.get(photo_sets.open("page"))
        assert photo_set is not None
        file = packed({"a.png": png(1)})
        with photo_sets.receiving_archive(photo_set):
            other = photo_sets.get(photo_sets.open("page"))  # the same page, opened again
            assert other is not None
            with pytest.raises(UsageError, match="Many people"), photo_sets.receiving_archive(other):
                pass
            assert photo_set.forgotten
            photo_set.open_archive(file, 0, "a.zip")
        assert file.closed
        with photo_sets.receiving_archive(other):
            pass

    def test_one_call_for_the_next_photos_is_answered_and_one_may_wait(self) -> None:
        gate = threading.Event()

        class Held(StandIn):
            def predict(self, photo: np.ndarray, **_: Any) -> list[FacePrediction]:
                gate.wait(60)
                return [face(left=0.0)]

        photo_sets = PhotoSets(hosting(Held()))
        token = photo_sets.open("page")
        photo_set = photo_sets.get(token)
        assert photo_set is not None
        photo_set.open_archive(packed({f"{n}.png": png(1) for n in range(2)}), 0, "a.zip")
        codes: list[int] = []
        with TestClient(Starlette(routes=SetRoutes(photo_sets).routes())) as client:

            def ask() -> None:
                codes.append(client.post(f"/photo-set/{token}/next").status_code)

            threads = [threading.Thread(target=ask) for _ in range(5)]
            for thread in threads:
                thread.start()
            assert wait_until(lambda: len(codes) == 3)
            assert codes == [400] * 3
            gate.set()
            for thread in threads:
                thread.join()
        assert sorted(codes) == [200, 200, 400, 400, 400]
        assert len(photo_set) == 2

    def test_a_photo_larger_than_all_room_does_not_wait_for_ever(self) -> None:
        async def held() -> str:
            async with asyncio.timeout(10), Room(5).hold(7):
                return "held"

        assert wait_for(held()) == "held"

    def test_sets_left_lying_make_room(self) -> None:
        now = 0.0
        photo_sets = PhotoSets(hosting(StandIn()), seconds=60.0, max_photos=1, clock=lambda: now)
        old, new = Visitor(photo_sets, "old"), Visitor(photo_sets, "new")
        old.photo("a.png", png(1), 0)
        new.photo("a.png", png(1), 0)
        assert len(old.table()) == 1  # within its minute
        now = 100.0
        assert len(new.table()) == 1
        assert old.call("next")["code"] == 404

    def test_an_empty_set_makes_room_for_the_next_page(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sets, "MAX_SETS", 3)
        photo_sets = PhotoSets(hosting(StandIn()))
        used = Visitor(photo_sets, "used")
        used.photo("a.png", png(1), 0)
        for number in range(10):
            Visitor(photo_sets, f"empty {number}")
        assert len(photo_sets) == 3
        assert len(used.table()) == 1

    def test_all_sets_together_have_so_many_photos_at_most(self) -> None:
        photo_sets = PhotoSets(hosting(StandIn()), max_photos=1)
        first, second = Visitor(photo_sets, "first"), Visitor(photo_sets, "second")
        assert first.photo("a.png", png(1), 0)["code"] == 200
        assert second.photo("a.png", png(1), 0)["code"] == 200
        assert first.photo("b.png", png(1), 1) == {"code": 400, "problem": texts.BUSY}

    def test_photos_of_two_sets_take_turns(self) -> None:
        """While a photo of the first is predicted, that of the second waits; none is lost."""

        class Slow(StandIn):
            inside = most = 0

            def predict(self, photo: np.ndarray, **_: Any) -> list[FacePrediction]:
                self.inside += 1
                self.most = max(self.most, self.inside)
                time.sleep(0.01)
                self.inside -= 1
                return [face(left=0.0)]

        estimator = Slow()
        photo_sets = PhotoSets(hosting(estimator))
        tokens = [photo_sets.open(page) for page in "ab"]
        with TestClient(Starlette(routes=SetRoutes(photo_sets).routes())) as client:

            def send(token: str) -> None:
                for place in range(10):
                    client.post(
                        f"/photo-set/{token}/photo",
                        content=png(1),
                        headers={"Cilf-Name": "a.png", "Cilf-Place": str(place)},
                    )

            threads = [threading.Thread(target=send, args=(token,)) for token in tokens]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert estimator.most == 1
        assert [len(photo_sets.get(token) or ()) for token in tokens] == [10, 10]

    def test_no_more_photos_are_read_than_there_is_room_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        gate = threading.Event()

        class Held(StandIn):
            def predict(self, photo: np.ndarray, **_: Any) -> list[FacePrediction]:
                gate.wait(60)
                return [face(left=0.0)]

        come: list[int] = []
        read: list[int] = []
        length, body = photo_set._length, photo_set._body

        def counted_length(request: Request) -> int:
            come.append(0)
            return length(request)

        async def counted_body(request: Request, most: int, room: Room) -> bytes | None:
            read.append(0)
            return await body(request, most, room)

        monkeypatch.setattr(photo_set, "ROOM", 2 * len(png()) + 1)
        monkeypatch.setattr(photo_set, "_length", counted_length)
        monkeypatch.setattr(photo_set, "_body", counted_body)
        photo_sets = PhotoSets(hosting(Held()))
        tokens = [photo_sets.open(page) for page in "abcdef"]
        with TestClient(Starlette(routes=SetRoutes(photo_sets).routes())) as client:
            threads = [
                threading.Thread(
                    target=client.post, args=(f"/photo-set/{token}/photo",), kwargs={"content": png()}
                )
                for token in tokens
            ]
            for thread in threads:
                thread.start()
            while len(come) < len(tokens) or len(read) < 2:
                time.sleep(0.01)
            assert len(read) == 2
            gate.set()
            for thread in threads:
                thread.join()
        assert [len(photo_sets.get(token) or ()) for token in tokens] == [1] * len(tokens)

    @pytest.mark.parametrize("way", ["/photo", "/archive", "/video"])
    def test_who_stalls_gives_up_the_room(self, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
        monkeypatch.setattr(photo_set, "STALL_S", 0.0)

        class Stalling(Request):
            async def stream(self) -> AsyncGenerator[bytes, None]:
                yield b"x"
                await asyncio.Event().wait()

        [answer] = self.sent_at_once((Stalling, "a.png"), way=way)
        assert html.escape(texts.SET_STALLED.format("a.png")) in answer["failures"]

    @pytest.mark.parametrize("others", [True, False])
    def test_who_trickles_keeps_the_room_unless_others_wait(
        self, monkeypatch: pytest.MonkeyPatch, others: bool
    ) -> None:
        now = 0.0
        monkeypatch.setattr(photo_set, "time", SimpleNamespace(monotonic=lambda: now))
        monkeypatch.setattr(photo_set, "ROOM", len(png(1)))

        class Whole(Request):
            async def stream(self) -> AsyncGenerator[bytes, None]:
                yield png(1)

        class Trickling(Request):
            async def stream(self) -> AsyncGenerator[bytes, None]:
                nonlocal now
                for byte in png(1):
                    now += 0.9 * photo_set.STALL_S
                    await asyncio.sleep(0)
                    yield bytes([byte])

        first, *rest = self.sent_at_once((Trickling, "slow.png"), *[(Whole, "quick.png")] * others)
        assert [each["faces"] for each in rest] == [1] * others
        assert first["faces"] == (0 if others else 1)
        assert ("slow.png" in first["failures"]) == others

    @staticmethod
    def sent_at_once(*photos: tuple[type[Request], str], way: str = "/photo") -> list[Answer]:
        """The answers to photos whose bytes come as the requests' classes say."""
        photo_sets = PhotoSets(hosting(StandIn()))
        token = photo_sets.open("page")
        [answer] = [route.endpoint for route in SetRoutes(photo_sets).routes() if route.path.endswith(way)]

        async def send(kind: type[Request], name: str) -> Answer:
            headers = [(b"cilf-name", name.encode()), (b"content-length", str(len(png(1))).encode())]
            request = kind({"type": "http", "headers": headers, "path_params": {"token": token}})
            body: Answer = json.loads((await answer(request)).body)
            return body

        async def all_at_once() -> list[Answer]:
            return await asyncio.gather(*[send(*photo) for photo in photos])

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(asyncio.run, all_at_once()).result()


@pytest.fixture(scope="module")
def real() -> PhotoSets:
    return PhotoSets(hosting(AgeEstimator.from_pretrained()))


@pytest.mark.slow
def test_forty_photos_two_of_them_broken(real: PhotoSets) -> None:
    visitor = Visitor(real)
    for place, (name, content) in enumerate(generated_photos(40, broken=(7, 23))):
        assert visitor.photo(name, content, place)["photos"] == 1
    table = visitor.table()
    assert len(table) == 40
    assert table["path"].nunique() == 40
    failed = table[table["status"] == "unreadable"]
    assert failed["path"].tolist() == ["0007.jpg", "0023.jpg"]
    assert failed["error"].notna().all()
    assert table["age"].notna().sum() == 38
    with Upload("x", next(generated_photos(1))[1]).decoded() as first:
        again = real.host.get().predict(first)
    assert table["age"][0] == pytest.approx(again[0].age, abs=1e-3)
