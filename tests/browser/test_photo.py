"""A visitor's way through the Photo tab, in a real browser on the real page."""

import base64
import io
import re
from collections.abc import Callable
from pathlib import Path

import pillow_heif
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from skimage.data import astronaut

from cilf.demo import texts
from cilf.demo.photo.prompt_presets import PAIRS
from tests.browser.conftest import SCHEMES
from tests.browser.running import HOPPER, Site, keep_to, open_page, serve, upload, wait_until

Visit = Callable[..., Page]
Shoot = Callable[..., None]


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three faces side by side: Hopper, Collins, and Hopper again, smaller."""
    hopper, collins = Image.open(HOPPER).convert("RGB"), Image.fromarray(astronaut())
    wall = Image.new("RGB", (1400, 700), (196, 202, 208))
    wall.paste(hopper, (60, 60))
    wall.paste(collins, (540, 90))
    wall.paste(hopper.resize((256, 300)), (1100, 200))
    path = tmp_path_factory.mktemp("photos") / "family.png"
    wall.save(path)
    return path


def test_hopper(visit: Visit, shoot: Shoot, site: Site) -> None:
    page = visit()
    upload(page, HOPPER)
    expect(page.locator("#age")).to_have_text(re.compile(r"^\d{1,3}$"))
    expect(page.locator("#age-card")).to_contain_text(re.compile(r"90 % interval \d+ to \d+"))
    expect(page.locator("#over")).to_have_text("Yes.")
    expect(page.locator("#correction tbody tr").first).to_contain_text("first guess")
    expect(page.locator("#distribution [role=img]")).to_be_visible()
    expect(page.locator("#scores tbody tr")).to_have_count(5)
    expect(page.locator("#heat img").nth(1)).to_have_attribute("alt", re.compile("Heat map"))
    expect(page.locator("#faces")).to_be_hidden()  # one face needs no picker
    assert wait_until(lambda: not site.files()), "the visitor's photo still lies on the disk"
    shoot(page)


def test_editing_prompts(visit: Visit, shoot: Shoot) -> None:
    page = visit()
    page.click("#example-hopper")
    expect(page.locator("#scores tbody tr")).to_have_count(5)
    editor = page.locator("#prompt-editor textarea")
    editor.fill("a photo of an old woman\n{{value}} ${1+1} <b>xylophone</b>")
    rows = page.locator("#scores tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.nth(1)).to_contain_text("{{value}} ${1+1} <b>xylophone</b>")  # shown as it was written
    expect(rows.nth(1)).to_contain_text("Not seen in training")
    expect(rows.nth(1)).to_contain_text("xylophone")
    expect(rows.nth(0)).to_contain_text("%")
    shoot(page)
    page.get_by_role("button", name="Life stages").click()
    expect(rows).to_have_count(5)
    assert len(editor.input_value().splitlines()) == 5
    page.get_by_role("button", name="Decades").click()
    expect(rows).to_have_count(9)
    expect(page.locator("#scores")).not_to_contain_text("Not seen in training")
    shoot(page, "-decades")


def test_opposites(visit: Visit, shoot: Shoot) -> None:
    page = visit()
    page.click("#example-hopper")
    rows = page.locator("#scores tbody tr")
    expect(rows).to_have_count(5)
    for name, pairs in PAIRS.items():
        page.get_by_role("button", name=name, exact=True).click()
        expect(page.locator("#scores .cilf-balance")).to_have_count(len(pairs))
        expect(rows).to_have_count(2 * len(pairs))
        expect(page.locator("#scores")).not_to_contain_text("Not seen in training")
        shoot(page, f"-{name.lower()}")
    expect(page.locator("#scores")).to_contain_text("a photo of a person")
    expect(page.locator("#scores")).to_contain_text("Compared by compact (bundled).")


def test_adding_removing_and_resetting_prompts(visit: Visit, shoot: Shoot) -> None:
    page = visit(viewport={"width": 360, "height": 740})
    page.click("#example-hopper")
    rows, crosses = page.locator("#scores tbody tr"), page.locator("#scores [data-prompt]")
    expect(rows).to_have_count(5)
    addition = page.get_by_label("Add a prompt")
    addition.fill('a "photo" of  a <b>grandfather</b>')
    addition.press("Enter")
    expect(rows).to_have_count(6)
    expect(addition).to_have_value("")
    expect(rows.nth(5)).to_contain_text('a "photo" of a <b>grandfather</b>')
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    shoot(page)
    crosses.nth(5).click()
    expect(rows).to_have_count(5)
    crosses.nth(1).focus()  # with the keyboard, one after the other
    page.keyboard.press("Enter")
    expect(rows).to_have_count(4)
    expect(crosses.nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    expect(rows).to_have_count(3)
    editor = page.locator("#prompt-editor textarea")
    assert len(editor.input_value().splitlines()) == 3
    page.get_by_role("button", name="Reset").click()
    expect(rows).to_have_count(5)
    expect(rows.nth(1)).to_contain_text("teenager")


def test_several_faces(visit: Visit, shoot: Shoot, family: Path) -> None:
    page = visit()
    upload(page, family)
    expect(page.locator("#message")).to_contain_text("3 faces")
    choices = page.locator("#faces input[type=radio]")
    expect(choices).to_have_count(3)
    expect(page.locator("#age-card")).to_contain_text("Face 1 of 3")
    # With the keyboard (Gradio gives each radio button a group of its own, so the Tab key walks through them) …
    choices.nth(0).focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(page.locator("#age-card")).to_contain_text("Face 2 of 3")
    expect(page.locator("#photo img")).to_be_visible()
    shoot(page)
    # … and with a click on the third face, at (1228, 275) of 1400x700 pixels.
    box = page.locator("#photo img").bounding_box()
    assert box is not None
    scale = min(box["width"] / 1400, box["height"] / 700)  # the picture may stand in a larger frame
    left, top = (box["width"] - 1400 * scale) / 2, (box["height"] - 700 * scale) / 2
    page.locator("#photo img").click(position={"x": left + 1228 * scale, "y": top + 275 * scale})
    expect(page.locator("#age-card")).to_contain_text("Face 3 of 3")
    expect(choices.nth(2)).to_be_checked()


def test_a_text_named_jpg(visit: Visit, shoot: Shoot, site: Site, tmp_path: Path) -> None:
    text = tmp_path / "holiday.jpg"
    text.write_text("This is no picture.")
    page = visit()
    upload(page, text)
    expect(page.locator("#message .cilf-problem")).to_contain_text("holiday.jpg")
    expect(page.locator("#message")).not_to_contain_text("Traceback")
    expect(page.locator("#results")).to_be_hidden()
    shoot(page)
    upload(page, HOPPER)  # the page goes on
    expect(page.locator("#age")).to_be_visible()
    expect(page.locator("#message .cilf-problem")).to_have_count(0)
    assert "holiday" not in site.log.read_text()


def test_a_photo_that_the_full_line_refuses(visit: Visit, shoot: Shoot) -> None:
    page = visit()
    page.click("#example-collins")
    expect(page.locator("#age")).to_be_visible()
    page.route("**/queue/join*", lambda route: route.fulfill(status=429, json={"detail": texts.BUSY}))
    upload(page, HOPPER)
    expect(page.get_by_text(texts.BUSY).first).to_be_visible()  # for some seconds, says Gradio
    expect(page.locator("#message .cilf-problem")).to_have_text(texts.REFUSED)
    expect(page.locator("#results")).to_be_hidden()
    expect(page.locator("#photo img")).to_have_count(0)
    shoot(page)
    page.unroute("**/queue/join*")
    upload(page, HOPPER)
    expect(page.locator("#age")).to_be_visible()


@pytest.mark.parametrize("way", ["chosen", "dropped"])
def test_a_phone_photo_whose_type_the_browser_does_not_know(visit: Visit, way: str) -> None:
    """As on Windows; handed in by a script, since Playwright gives a type to every file."""
    photo = io.BytesIO()
    pillow_heif.from_pillow(Image.open(HOPPER).convert("RGB")).save(photo)
    page = visit()
    with page.expect_file_chooser() as chooser:
        page.locator("#photo input[type=file]").locator("..").click()
    assert {"image/*", ".heic"} <= set((chooser.value.element.get_attribute("accept") or "").split(","))
    page.evaluate(
        """([way, data]) => {
            const file = new File([Uint8Array.from(atob(data), (each) => each.charCodeAt(0))], "IMG_1.HEIC");
            const transfer = new DataTransfer();
            transfer.items.add(file);
            const input = document.querySelector("#photo input[type=file]");
            if (transfer.files[0].type) throw new Error("the browser knows the type");
            if (way === "chosen") {
                input.files = transfer.files;
                input.dispatchEvent(new Event("change", { bubbles: true }));
            } else {
                const options = { dataTransfer: transfer, bubbles: true, cancelable: true };
                input.parentElement.dispatchEvent(new DragEvent("drop", options));
            }
        }""",
        [way, base64.b64encode(photo.getvalue()).decode()],
    )
    expect(page.locator("#age")).to_be_visible()
    expect(page.locator("#message .cilf-problem")).to_have_count(0)


def test_no_face(visit: Visit, shoot: Shoot, tmp_path: Path) -> None:
    meadow = tmp_path / "meadow.png"
    Image.new("RGB", (400, 300), (90, 130, 80)).save(meadow)
    page = visit()
    upload(page, meadow)
    expect(page.locator("#message")).to_contain_text("No face was found")
    shoot(page)
    page.click("#whole-picture")
    expect(page.locator("#age")).to_be_visible()
    expect(page.locator("#whole-picture")).to_be_hidden()


def test_a_snapshot(visit: Visit) -> None:
    """Chromium's stand-in for a camera shows a moving figure without a face."""
    page = visit(permissions=["camera"])
    page.get_by_label("Capture from camera").click()
    page.get_by_text("Click to Access Webcam").click()
    # A picture taken before the camera's first frame would be empty.
    page.wait_for_function("document.querySelector('#photo video')?.currentTime > 0.5")
    page.get_by_label("capture photo").click()
    expect(page.locator("#message")).to_contain_text("No face was found")


def test_pasting(visit: Visit) -> None:
    page = visit(permissions=["clipboard-read", "clipboard-write"])
    page.evaluate("""async () => {
        const canvas = Object.assign(document.createElement("canvas"), {width: 60, height: 40});
        const picture = await new Promise(resolve => canvas.toBlob(resolve, "image/png"));
        await navigator.clipboard.write([new ClipboardItem({"image/png": picture})]);
    }""")
    page.get_by_label("Paste from clipboard").click()
    expect(page.locator("#message")).to_contain_text("No face was found")


def test_emptying_the_photo(visit: Visit) -> None:
    page = visit()
    page.click("#example-hopper")
    expect(page.locator("#age")).to_be_visible()
    page.get_by_label("Remove Image").click()
    expect(page.locator("#results")).to_be_hidden()
    expect(page.locator("#nothing-yet")).to_be_visible()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_narrow_window_needs_no_sideways_scrolling(
    visit: Visit, shoot: Shoot, family: Path, scheme: str
) -> None:
    page = visit(viewport={"width": 360, "height": 740}, color_scheme=scheme)
    width = "document.documentElement.scrollWidth"
    assert page.evaluate(width) <= 360
    shoot(page, "-empty")
    upload(page, family)
    expect(page.locator("#age")).to_be_visible()
    assert page.evaluate(width) <= 360
    shoot(page)


def test_collins_in_dark_mode(visit: Visit, shoot: Shoot) -> None:
    page = visit(color_scheme="dark")
    page.click("#example-collins")
    expect(page.locator("#age")).to_have_text(re.compile(r"^\d{1,3}$"))
    for area in ("body", ".cilf-card"):
        colour = page.locator(area).first.evaluate("e => getComputedStyle(e).backgroundColor")
        assert max(map(int, re.findall(r"\d+", colour)[:3])) < 80, f"{area} is {colour}"
    shoot(page)


def test_missing_weights_are_said_on_the_page(browser: Browser, shoot: Shoot, tmp_path: Path) -> None:
    with serve(tmp_path, ["--weights", str(tmp_path / "nowhere")]) as site:
        context = browser.new_context()
        foreign = keep_to(site, context)
        page = open_page(context, site)
        expect(page.locator("#model-state")).to_contain_text("not available")
        expect(page.locator("#model-state")).to_contain_text("nowhere")
        page.click("#example-hopper")
        expect(page.locator("#message .cilf-problem")).to_contain_text("nowhere")
        shoot(page)
        context.close()
        assert foreign == []
