"""A visitor's way through the Photo set tab, in a real browser on the real page."""

import csv
import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image, ImageEnhance
from playwright.sync_api import Page, Route, expect
from skimage.data import astronaut

from cilf import AgeEstimator
from cilf.demo.photo_set.views import SENDERS
from cilf.photo_set.results import COLUMNS
from tests.browser.conftest import SCHEMES
from tests.browser.running import HOPPER, PATIENCE_S, Site, findings
from tests.video.clips import RATE, panned, portraits, write_clip

expect.set_options(timeout=1000 * PATIENCE_S)

Visit = Callable[..., Page]
Shoot = Callable[..., None]


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four photos with two faces in one of them, a wall, and a text that is named like a photo."""
    folder = tmp_path_factory.mktemp("album")
    hopper, collins = Image.open(HOPPER).convert("RGB"), Image.fromarray(astronaut())
    hopper.save(folder / "1 Grace & <b>co.jpg", quality=92)
    collins.save(folder / "2 Eileen.png")
    (folder / "3 notes.jpg").write_text("This is no picture.")
    pair = Image.new("RGB", (1100, 640), (196, 202, 208))
    pair.paste(hopper, (20, 20))
    pair.paste(collins, (560, 60))
    pair.save(folder / "4 both.webp", quality=92)
    Image.new("RGB", (300, 200), (90, 130, 80)).save(folder / "5 meadow.png")
    ImageEnhance.Brightness(hopper).enhance(0.8).save(folder / "6 darker.jpg", quality=92)
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def holiday(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two in it: ten photos of one face each, one of them cut off, and what is passed over."""
    return make_holiday(tmp_path_factory.mktemp("few") / "holiday", 10)


def make_holiday(folder: Path, count: int) -> Path:
    hopper, collins = Image.open(HOPPER).convert("RGB"), Image.fromarray(astronaut())
    for number in range(count):
        path = folder / ("beach" if number % 2 else "hills") / f"{number:02}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        portrait = (hopper, collins)[number % 2]
        ImageEnhance.Brightness(portrait).enhance(0.7 + 0.02 * number).save(path)
    broken = folder / "hills" / "04.jpg"
    broken.write_bytes(broken.read_bytes()[:4000])
    (folder / ".thumbnails").mkdir()
    (folder / ".thumbnails" / "0.jpg").write_bytes(broken.read_bytes())
    (folder / "notes.txt").write_text("no photo")
    return folder


def opened(visit: Visit, **options: object) -> Page:
    page = visit(**options)
    page.get_by_role("tab", name="Photo set").click()
    page.locator("#photo-set [data-do=files]").wait_for()
    return page


def give(page: Page, files: list[Path]) -> None:
    page.set_input_files("#photo-set [data-part=files]", files)


def wait_for_end(page: Page) -> None:
    expect(page.locator("#photo-set [data-part=message] p")).to_have_text(re.compile("^(Done|Stopped)"))


def download(page: Page, kind: str) -> bytes:
    with page.expect_download() as started:
        page.click(f"#photo-set [data-table={kind}]")
    assert started.value.suggested_filename == f"ages.{kind}"
    return Path(started.value.path()).read_bytes()


def estimator() -> AgeEstimator:
    return AgeEstimator.from_pretrained()


def test_a_short_video(visit: Visit, site: Site, tmp_path: Path, album: list[Path]) -> None:
    clip = write_clip(tmp_path / "clip.mp4", panned(portraits(), 2 * RATE))
    page = opened(visit)
    give(page, [album[0], clip])
    wait_for_end(page)
    expect(page.locator("#photo-set [data-part=count]")).to_have_text("2 of 2 files")
    expect(page.locator("#photo-set [data-part=rows] tr")).to_have_count(3)
    expect(page.locator("#photo-set tbody")).to_contain_text("In 12 frames from 0.0 to 1.8 s")
    assert findings(page) == []
    frames = [row["frames"] for row in csv.DictReader(io.StringIO(download(page, "csv").decode()))]
    assert frames == ["", "12", "12"]


def test_a_set_with_a_broken_file(visit: Visit, shoot: Shoot, site: Site, album: list[Path]) -> None:
    page = opened(visit)
    shoot(page, "-empty")
    give(page, album)
    wait_for_end(page)
    expect(page.locator("#photo-set [data-part=count]")).to_have_text("6 of 6 photos")
    expect(page.locator("#photo-set [data-part=rows] tr")).to_have_count(7)
    expect(page.locator("#photo-set [data-part=gallery] li")).to_have_count(5)
    failures = page.locator("#photo-set [data-part=failure-list] li")
    expect(failures).to_have_count(2)
    expect(failures.filter(has_text="3 notes.jpg")).to_contain_text("not a picture")
    expect(failures.filter(has_text="5 meadow.png")).to_contain_text("no face", ignore_case=True)
    expect(page.locator("#photo-set [data-part=histogram]")).to_contain_text("5 faces")
    expect(page.locator("#photo-set tbody")).to_contain_text("<b>co")  # shown as it is named
    shoot(page)
    assert findings(page) == []

    rows = list(csv.DictReader(io.StringIO(download(page, "csv").decode())))
    assert tuple(rows[0]) == COLUMNS
    real = estimator()
    expected: list[tuple[str, float | None]] = []
    for path in album:
        try:
            faces = real.predict(path)
        except Exception:
            faces = []
        expected += [(path.name, face.age) for face in faces] or [(path.name, None)]
    assert [row["path"] for row in rows] == [name for name, _ in expected]
    for row, (_, age) in zip(rows, expected, strict=True):
        assert float(row["age"]) == pytest.approx(age, abs=1e-3) if age is not None else row["age"] == ""
    assert [row["status"] for row in rows if row["path"].startswith(("3", "5"))] == ["unreadable", "no_face"]

    records = json.loads(download(page, "json"))
    assert [record["path"] for record in records] == [row["path"] for row in rows]
    table = pd.read_parquet(io.BytesIO(download(page, "parquet")))
    assert list(table.columns) == list(COLUMNS)
    assert len(table) == 7
    assert site.files() == []
    assert "notes" not in site.log.read_text()


def test_sorting_the_table(visit: Visit, album: list[Path]) -> None:
    page = opened(visit)
    give(page, album)
    wait_for_end(page)
    head = page.get_by_role("columnheader", name="Age")

    def ages() -> list[str]:
        return page.locator("#photo-set [data-part=rows] tr td:nth-child(3)").all_inner_texts()

    head.get_by_role("button").focus()
    page.keyboard.press("Enter")
    expect(head).to_have_attribute("aria-sort", "ascending")
    figures = ages()
    assert figures[-2:] == ["–", "–"]
    assert [*map(int, figures[:5])] == sorted(map(int, figures[:5]))
    page.keyboard.press("Enter")
    expect(head).to_have_attribute("aria-sort", "descending")
    assert [*map(int, ages()[:5])] == sorted(map(int, figures[:5]), reverse=True)
    assert ages()[-2:] == ["–", "–"]


def test_a_folder(visit: Visit, shoot: Shoot, holiday: Path) -> None:
    page = opened(visit)
    page.set_input_files("#photo-set [data-part=folder]", holiday)
    expect(page.locator("#photo-set [data-part=rows] tr").first).to_be_visible()
    shoot(page, "-working")
    wait_for_end(page)
    rows = list(csv.DictReader(io.StringIO(download(page, "csv").decode())))
    assert len(rows) == 10
    assert {row["path"].rsplit("/", 1)[0] for row in rows} == {"holiday/beach", "holiday/hills"}
    assert [row["path"] for row in rows if row["status"] == "unreadable"] == ["holiday/hills/04.jpg"]
    shoot(page)


def test_a_zip(visit: Visit, shoot: Shoot, site: Site, album: list[Path], tmp_path: Path) -> None:
    archive = tmp_path / "holiday.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in album:
            packed.write(path, f"day 1/{path.name}")
        packed.write(album[0], "__MACOSX/day 1/._1.jpg")
        packed.writestr("day 1/.hidden.jpg", b"")
        packed.writestr("readme.txt", "no photo")
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(archive.read_bytes()[:9000])
    page = opened(visit)
    give(page, [damaged, archive, album[1]])
    wait_for_end(page)
    expect(page.locator("#photo-set [data-part=count]")).to_have_text("8 of 8 photos")
    expect(page.locator("#photo-set [data-part=failure-list]")).to_contain_text("damaged.zip")
    rows = list(csv.DictReader(io.StringIO(download(page, "csv").decode())))
    names = [f"holiday.zip/day 1/{path.name}" for path in album]
    assert list(dict.fromkeys(row["path"] for row in rows)) == ["damaged.zip", *names, album[1].name]
    assert site.files() == []


def test_stopping_keeps_what_is_done(visit: Visit, shoot: Shoot, tmp_path: Path) -> None:
    page = opened(visit)
    page.set_input_files("#photo-set [data-part=folder]", make_holiday(tmp_path / "holiday", 40))
    expect(page.locator("#photo-set [data-part=rows] tr").first).to_be_visible()
    page.click("#photo-set [data-do=stop]")
    wait_for_end(page)
    expect(page.locator("#photo-set [data-part=message]")).to_contain_text("Stopped after")
    shown = page.locator("#photo-set [data-part=rows] tr").count()
    assert 0 < shown < 40
    rows = list(csv.DictReader(io.StringIO(download(page, "csv").decode())))
    assert len(rows) == shown
    shoot(page)
    give(page, [HOPPER])  # the page goes on
    expect(page.locator("#photo-set [data-part=message]")).to_contain_text("1 face in 1 photo")
    expect(page.locator("#photo-set [data-part=rows] tr")).to_have_count(1)


def test_a_call_that_fails_ends_the_set_for_all_senders(visit: Visit, album: list[Path]) -> None:
    page = opened(visit)
    held: list[Route] = []

    def answer(route: Route) -> None:
        """The others wait until the last sender's call has failed."""
        held.append(route)
        if len(held) == SENDERS:
            route.fulfill(status=500, json={"problem": "Out of order."})
            for other in held[:-1]:
                other.continue_()

    page.route("**/photo-set/*/photo", answer)
    give(page, album)
    expect(page.locator("#photo-set [data-part=message]")).to_contain_text(
        "Out of order. The table holds what"
    )
    expect(page.locator("#photo-set [data-part=count]")).to_have_text(f"{SENDERS - 1} of 6 photos")
    assert len(held) == SENDERS
    page.unroute("**/photo-set/*/photo")
    give(page, [HOPPER])  # the page goes on
    expect(page.locator("#photo-set [data-part=message]")).to_contain_text("1 face in 1 photo")


def test_what_is_lost_is_sent_once_more_and_a_failing_download_is_said(
    visit: Visit, album: list[Path]
) -> None:
    page = opened(visit)
    message = page.locator("#photo-set [data-part=message]")
    lost: list[Route] = []

    def lose_the_first(route: Route) -> None:
        if lost:
            route.continue_()
        else:
            lost.append(route)
            route.abort()

    page.route("**/photo-set/*/photo", lose_the_first)
    give(page, album)
    give(page, [HOPPER])
    expect(message).to_contain_text("A set is being processed.")
    wait_for_end(page)
    expect(message).to_contain_text("Done: ")
    expect(page.locator("#photo-set [data-part=rows] tr")).to_have_count(7)
    assert lost
    page.route("**/table.csv", lambda route: route.fulfill(status=404, body="This set is gone."))
    page.click("#photo-set [data-table=csv]")
    expect(message).to_have_text("This set is gone.")
    # A set that the server does not begin takes nothing from the page.
    page.route("**/photo-set/*/start", lambda route: route.fulfill(status=404, json={"problem": "Reload."}))
    give(page, [HOPPER])
    expect(message).to_contain_text("Reload. The table holds what is done")
    expect(page.locator("#photo-set [data-part=rows] tr")).to_have_count(7)


def test_two_visitors_and_a_single_photo(visit: Visit, holiday: Path, album: list[Path]) -> None:
    first, second, third = opened(visit), opened(visit), visit()
    first.set_input_files("#photo-set [data-part=folder]", holiday)
    give(second, album)
    third.set_input_files("#photo input[type=file]", HOPPER)
    expect(third.locator("#age")).to_be_visible()
    wait_for_end(second)
    wait_for_end(first)
    expect(first.locator("#photo-set [data-part=rows] tr")).to_have_count(10)
    expect(second.locator("#photo-set [data-part=rows] tr")).to_have_count(7)


def test_dropping(visit: Visit) -> None:
    page = opened(visit)
    page.evaluate("""async () => {
        const canvas = Object.assign(document.createElement("canvas"), {width: 60, height: 40});
        const picture = await new Promise(resolve => canvas.toBlob(resolve, "image/png"));
        const data = new DataTransfer();
        data.items.add(new File([picture], "dropped.png", {type: "image/png"}));
        const area = document.querySelector("#photo-set [data-part=drop]");
        area.dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true}));
    }""")
    wait_for_end(page)
    expect(page.locator("#photo-set [data-part=failure-list]")).to_contain_text("dropped.png")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_narrow_window_needs_no_sideways_scrolling(
    visit: Visit, shoot: Shoot, album: list[Path], scheme: str
) -> None:
    page = opened(visit, viewport={"width": 360, "height": 740}, color_scheme=scheme)
    width = "document.documentElement.scrollWidth"
    assert page.evaluate(width) <= 360
    shoot(page, "-empty")
    give(page, album)
    wait_for_end(page)
    assert page.evaluate(width) <= 360
    shoot(page)


def test_dark_mode(visit: Visit, shoot: Shoot, album: list[Path]) -> None:
    page = opened(visit, color_scheme="dark")
    give(page, album[:2])
    wait_for_end(page)
    for area in ("body", "#photo-set .cilf-card"):
        colour = page.locator(area).first.evaluate("e => getComputedStyle(e).backgroundColor")
        assert max(map(int, re.findall(r"\d+", colour)[:3])) < 80, f"{area} is {colour}"
    shoot(page)
