"""Every kind of picture comes out as upright 8-bit RGB, or as one sentence."""

import io
import struct
import subprocess
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import EpsImagePlugin, Image, features

from cilf.errors import PhotoError
from cilf.face import images
from cilf.face.finder import FaceFinder, align
from cilf.face.images import MAX_PIXELS, open_photo, open_photo_bytes, open_pyramid, open_pyramid_bytes

RED, GREEN, BLUE, WHITE = (220, 30, 30), (30, 200, 60), (40, 60, 210), (255, 255, 255)


def four_colours(width: int = 48, height: int = 32) -> Image.Image:
    """Red, green, blue and white quarters: no two of the eight turns of it are alike."""
    picture = Image.new("RGB", (width, height), WHITE)
    picture.paste(RED, (0, 0, width // 2, height // 2))
    picture.paste(GREEN, (width // 2, 0, width, height // 2))
    picture.paste(BLUE, (0, height // 2, width // 2, height))
    return picture


def quarters(photo: np.ndarray) -> np.ndarray:
    """The colours in the middles of the four quarters, (4, 3)."""
    height, width = photo.shape[:2]
    return np.array([photo[y * height // 4, x * width // 4] for y in (1, 3) for x in (1, 3)], dtype=int)


def assert_four_colours(photo: np.ndarray, tolerance: int = 0) -> None:
    assert photo.dtype == np.uint8
    assert photo.shape == (32, 48, 3)
    assert photo.flags.c_contiguous
    np.testing.assert_allclose(quarters(photo), [RED, GREEN, BLUE, WHITE], atol=tolerance)


LOSSY = 12  # grey levels that strong compression may change the middle of a plain quarter by

FORMATS = [
    ("photo.png", {}, 0),
    ("photo.bmp", {}, 0),
    ("photo.tiff", {"compression": "tiff_lzw"}, 0),
    ("photo.webp", {"lossless": True}, 0),
    ("photo.gif", {}, LOSSY),
    ("photo.jpg", {"quality": 90}, LOSSY),
    ("photo.avif", {"quality": 90}, LOSSY),
]


@pytest.mark.parametrize(("name", "options", "tolerance"), FORMATS, ids=[name for name, *_ in FORMATS])
def test_common_formats_open(tmp_path: Path, name: str, options: dict, tolerance: int) -> None:
    if name.endswith(".avif") and not features.check("avif"):
        pytest.skip("this Pillow is built without AVIF")
    four_colours().save(tmp_path / name, **options)
    assert_four_colours(open_photo(tmp_path / name), tolerance)
    assert_four_colours(open_photo(str(tmp_path / name)), tolerance)


def test_mpo_opens(tmp_path: Path) -> None:
    four_colours().save(
        tmp_path / "photo.jpg", "MPO", save_all=True, append_images=[four_colours()], quality=90
    )
    with Image.open(tmp_path / "photo.jpg") as image:
        assert image.format == "MPO"
        assert_four_colours(open_photo(image), LOSSY)
    assert_four_colours(open_photo(tmp_path / "photo.jpg"), LOSSY)


def test_heic_opens(tmp_path: Path) -> None:
    pillow_heif.from_pillow(four_colours()).save(tmp_path / "photo.heic", quality=90)
    assert_four_colours(open_photo(tmp_path / "photo.heic"), LOSSY)


# How a camera stores the upright picture so that the EXIF turn of this number sets it right again.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("turn", STORED)
@pytest.mark.parametrize("name", ["photo.jpg", "photo.png"])
def test_every_exif_turn_comes_out_upright(tmp_path: Path, turn: int, name: str) -> None:
    transpose = STORED[turn]
    stored = four_colours() if transpose is None else four_colours().transpose(transpose)
    exif = Image.Exif()
    exif[0x0112] = turn
    stored.save(tmp_path / name, exif=exif)
    assert_four_colours(open_photo(tmp_path / name), LOSSY)
    with Image.open(tmp_path / name) as image:
        assert_four_colours(open_photo(image), LOSSY)
        assert image.getexif()[0x0112] == turn, "the caller's picture is left as it was"


def encoded(picture: Image.Image, format_name: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, format_name, **options)
    return file.getvalue()


@pytest.mark.parametrize("turn", STORED)
@pytest.mark.parametrize(("format_name", "tolerance"), [("PNG", 0), ("JPEG", LOSSY)])
def test_a_large_file_is_halved_on_the_way(
    monkeypatch: pytest.MonkeyPatch, turn: int, format_name: str, tolerance: int
) -> None:
    """What is left of it, and the size that coordinates are in."""
    monkeypatch.setattr(images, "LEAST_LONGER_SIDE", 48)
    monkeypatch.setattr(images, "_STRIP", 1000)  # several strips
    upright, transpose = four_colours(48 * 4, 32 * 4), STORED[turn]
    exif = Image.Exif()
    exif[0x0112] = turn
    stored = upright if transpose is None else upright.transpose(transpose)
    pyramid = open_pyramid_bytes(encoded(stored, format_name, exif=exif), "me")
    assert_four_colours(pyramid.pixels, tolerance)
    assert (pyramid.width, pyramid.height) == upright.size
    assert open_pyramid(np.asarray(upright)).pixels.shape == (128, 192, 3), "an array is taken as it is"


def test_faces_of_a_halved_photo_are_in_its_own_pixels(
    monkeypatch: pytest.MonkeyPatch, finder: FaceFinder, grace_hopper: np.ndarray
) -> None:
    """Box, key points and crop are those of the whole photo."""
    data = encoded(Image.fromarray(grace_hopper).resize((2048, 2400)), "JPEG", quality=95)
    whole = open_pyramid_bytes(data, "hopper.jpg")
    monkeypatch.setattr(images, "LEAST_LONGER_SIDE", 1200)
    halved = open_pyramid_bytes(data, "hopper.jpg")
    assert (len(whole.pixels), len(halved.pixels)) == (2400, 1200)
    [expected], [face] = finder.find(whole), finder.find(halved)
    np.testing.assert_allclose(face.box, expected.box, atol=2)
    np.testing.assert_allclose(face.keypoints, expected.keypoints, atol=2)
    crops = align(whole, expected), align(halved, face)
    assert np.abs(np.subtract(*crops, dtype=int)).mean() < 2


MODES: list[tuple[str, Callable[[], Image.Image], str]] = [
    ("palette", lambda: four_colours().quantize(8), "png"),
    ("transparent", lambda: four_colours().convert("RGBA"), "png"),
    ("cmyk", lambda: four_colours().convert("CMYK"), "tiff"),
    ("ycbcr", lambda: four_colours().convert("YCbCr"), "jpg"),
]


@pytest.mark.parametrize(("make", "suffix"), [mode[1:] for mode in MODES], ids=[mode[0] for mode in MODES])
def test_colour_modes_become_rgb(tmp_path: Path, make: Callable[[], Image.Image], suffix: str) -> None:
    make().save(tmp_path / f"photo.{suffix}")
    assert_four_colours(open_photo(tmp_path / f"photo.{suffix}"), LOSSY)
    assert_four_colours(open_photo(make()), LOSSY)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparency_is_laid_on_white(tmp_path: Path, mode: str) -> None:
    clear = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    clear.paste((0, 0, 0, 255), (0, 0, 16, 32))
    photo = open_photo(clear.convert(mode))
    assert (photo[:, :15] == 0).all()
    assert (photo[:, 17:] == 255).all()


def test_transparent_palette_is_laid_on_white(tmp_path: Path) -> None:
    picture = Image.new("P", (32, 32), 1)
    picture.putpalette([0, 0, 0, 90, 90, 90])
    picture.paste(0, (0, 0, 16, 32))
    picture.save(tmp_path / "photo.gif", transparency=0)
    photo = open_photo(tmp_path / "photo.gif")
    assert (photo[:, :16] == 255).all()
    assert (photo[:, 16:] == 90).all()


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_16_bit_grey_is_scaled(tmp_path: Path, suffix: str) -> None:
    levels = np.linspace(0, 65535, 64).astype(np.uint16)
    Image.fromarray(np.tile(levels, (32, 1))).save(tmp_path / f"photo.{suffix}")
    photo = open_photo(tmp_path / f"photo.{suffix}")
    np.testing.assert_allclose(photo[5, :, 1], levels / 257, atol=0.6)


def test_grey_of_fewer_bits_than_its_mode_is_not_black(tmp_path: Path) -> None:
    """Of a scanner with 12 bits, and of a picture that a program has converted to whole numbers."""
    shares = np.linspace(0, 1, 64)
    Image.fromarray(np.tile(shares * 4095, (32, 1)).astype(np.uint16)).save(tmp_path / "photo.tiff")
    np.testing.assert_allclose(open_photo(tmp_path / "photo.tiff")[5, :, 1], shares * 255, atol=0.6)
    grey = Image.fromarray(np.tile(shares * 255, (32, 1)).astype(np.uint8)).convert("I")
    np.testing.assert_allclose(open_photo(grey)[5, :, 1], shares * 255, atol=1.1)


@pytest.mark.parametrize("name", ["photo.png", "photo.webp", "photo.jpg"])
def test_a_sound_picture_with_damaged_exif_data_opens(tmp_path: Path, name: str) -> None:
    pixels = np.full((32, 48, 3), 90, np.uint8)
    options: dict[str, Any] = {"dpi": (72, 72)} if name.endswith("jpg") else {}
    Image.fromarray(pixels).save(tmp_path / name, exif=b"Exif\0\0no such header", quality=100, **options)
    np.testing.assert_allclose(open_photo(tmp_path / name), pixels, atol=3)


@pytest.mark.parametrize("top", [1.0, 255.0, 65535.0])
def test_floating_point_grey_is_scaled(tmp_path: Path, top: float) -> None:
    shares = np.linspace(0, 1, 64)
    Image.fromarray(np.tile(shares * top, (32, 1)).astype(np.float32)).save(tmp_path / "photo.tiff")
    np.testing.assert_allclose(open_photo(tmp_path / "photo.tiff")[5, :, 2], shares * 255, atol=0.6)


@pytest.mark.parametrize("name", ["photo.gif", "photo.webp", "photo.png"])
def test_first_frame_of_an_animation(tmp_path: Path, name: str) -> None:
    options = {"lossless": True} if name.endswith("webp") else {}
    later = [Image.new("RGB", (48, 32), colour) for colour in (RED, BLUE)]
    four_colours().save(tmp_path / name, save_all=True, append_images=later, **options)
    assert_four_colours(open_photo(tmp_path / name), LOSSY)


def jpeg(**options: Any) -> bytes:
    buffer = io.BytesIO()
    four_colours().save(buffer, "JPEG", **options)
    return buffer.getvalue()


def in_scans(data: bytes, count: int) -> bytes:
    """The JPEG with its last scan as often as that."""
    start = data.rindex(b"\xff\xda")
    return data[:start] + count * data[start:-2] + data[-2:]


def test_scans_are_those_of_the_picture_itself() -> None:
    assert images.count_scans(jpeg()) == 1
    assert 5 < images.count_scans(jpeg(progressive=True)) < 20
    assert images.count_scans(jpeg(restart_marker_blocks=1, progressive=True)) < 20
    markers = 1000 * b"\xff\xda\x00\x02"
    assert images.count_scans(jpeg(comment=markers)) == 1
    assert images.count_scans(jpeg() + markers) == 1  # the film of a phone's moving picture
    for end in range(0, 600, 7):
        assert images.count_scans(jpeg()[:end]) <= 1


@pytest.mark.parametrize("kind", ["path", "bytes", "image"])
def test_a_jpeg_of_endless_scans_is_refused_before_it_is_decoded(tmp_path: Path, kind: str) -> None:
    data = in_scans(jpeg(progressive=True), 5000)
    (tmp_path / "photo.jpg").write_bytes(data)
    opened: dict[str, Callable[[], np.ndarray]] = {
        "path": lambda: open_photo(tmp_path / "photo.jpg"),
        "bytes": lambda: open_photo_bytes(data, "photo.jpg"),
        "image": lambda: open_photo(Image.open(io.BytesIO(data))),
    }
    with pytest.raises(PhotoError, match="more than 100 scans"):
        opened[kind]()


def test_arrays_are_taken_as_they_are() -> None:
    photo = np.array(four_colours())
    assert_four_colours(open_photo(photo))
    assert_four_colours(open_photo(np.asfortranarray(photo)))
    grey = open_photo(photo[:, :, 0])
    assert grey.shape == photo.shape
    assert (grey == photo[:, :, :1]).all()


WRONG_SHAPES = st.sampled_from([(), (20,), (20, 30, 1), (20, 30, 4), (3, 20, 30), (1, 20, 30, 3)])


@given(array=WRONG_SHAPES.flatmap(lambda shape: arrays(np.uint8, shape, fill=st.just(7))))
@settings(max_examples=20)
def test_wrong_shapes_are_named(array: np.ndarray) -> None:
    with pytest.raises(PhotoError, match="HxWx3") as raised:
        open_photo(array)
    assert "x".join(map(str, array.shape)) in str(raised.value)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint16, bool, object])
def test_wrong_types_are_named(dtype: type) -> None:
    with pytest.raises(PhotoError, match="uint8") as raised:
        open_photo(np.zeros((20, 30, 3), dtype))
    assert str(np.dtype(dtype)) in str(raised.value)


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises so many pixels and holds none: a decoder finds it damaged."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def truncated(format_name: str) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, format_name)
    return file.getvalue()[: file.tell() // 2]


def tiny(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "PNG")
    return file.getvalue()


BAD_FILES = [
    ("empty.jpg", b"", "empty"),
    ("text.jpg", b"Dear Sir or Madam, this is no picture.", "known format"),
    ("cut off.jpg", truncated("JPEG"), "damaged or cut off"),
    ("cut off.png", truncated("PNG"), "damaged or cut off"),
    ("only a header.png", png_header(300, 200), "damaged or cut off"),
    ("dot.png", tiny(1, 1), "1x1"),
    ("line.png", tiny(400, 2), "400x2"),
    ("bomb.png", png_header(20_000, 20_000), "at most 120 megapixels"),
    ("large.png", png_header(11_000, 11_000), "11000x11000"),
    ("half a header.png", png_header(300, 200)[:20], "known format|cannot be opened"),
]


@pytest.mark.parametrize(("name", "content", "words"), BAD_FILES, ids=[name for name, *_ in BAD_FILES])
def test_bad_files_end_in_one_sentence(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(PhotoError, match=words) as raised:
            open_photo(tmp_path / name)
    assert_sentence(raised.value, tmp_path / name)


# A drawing in PostScript, an endless program, which Pillow would hand to Ghostscript.
ENDLESS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\n{ } loop\n"


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Which programs were started; none of them runs."""
    started: list[object] = []

    def start(command: object, *_: object, **__: object) -> None:
        started.append(command)
        raise OSError("no program may be started")

    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", "gs")  # as where Ghostscript is installed
    return started


def test_a_postscript_file_named_as_a_photo_is_refused_unread(tmp_path: Path, programs: list[object]) -> None:
    path = tmp_path / "holiday.jpg"
    path.write_bytes(ENDLESS)
    with pytest.raises(PhotoError, match="known format") as raised:
        open_photo(path)
    assert_sentence(raised.value, path)
    with pytest.raises(PhotoError, match="known format"):
        open_photo_bytes(ENDLESS, "holiday.jpg")
    with Image.open(path) as image, pytest.raises(PhotoError, match="EPS"):
        open_photo(image)
    assert programs == []


@pytest.mark.parametrize("format_name", ["PPM", "PCX", "TGA", "ICO", "ICNS", "JPEG2000", "SGI", "IM", "DIB"])
def test_formats_that_no_camera_writes_are_refused(format_name: str) -> None:
    file = io.BytesIO()
    four_colours().save(file, format_name)
    with pytest.raises(PhotoError, match="known format"):
        open_photo_bytes(file.getvalue(), "photo.jpg")
    with Image.open(file) as image, pytest.raises(PhotoError, match=image.format):
        open_photo(image)


@pytest.mark.parametrize(
    ("format_name", "mode", "most"),
    [
        ("WEBP", "RGB", 50),
        ("AVIF", "RGB", 70),
        ("HEIF", "RGB", 100),
        ("JPEG", "CMYK", 75),
        ("PNG", "RGB", 120),
    ],
)
def test_formats_that_take_more_memory_hold_fewer_pixels(format_name: str, mode: str, most: int) -> None:
    class Unread(Image.Image):
        def load(self) -> None:
            raise AssertionError("it was decoded")

    picture = Unread()
    picture.format, picture._size, picture._mode = format_name, (1000, most * 1000 + 1), mode
    with pytest.raises(PhotoError, match=f"at most {most} megapixels"):
        open_photo(picture)


@pytest.mark.parametrize(
    ("size", "words"), [((20_000, 20_000), "at most 120 megapixels"), ((1, 1), "at least")]
)
def test_the_size_is_checked_again_once_the_picture_is_decoded(size: tuple[int, int], words: str) -> None:
    class Grows(Image.Image):
        def load(self) -> None:
            self._size = size

    picture = Grows()
    picture._size, picture._mode = (32, 32), "RGB"
    with pytest.raises(PhotoError, match=words):
        open_photo(picture)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "nowhere.jpg", "does not exist"), (tmp_path, "is a folder")):
        with pytest.raises(PhotoError, match=words) as raised:
            open_photo(path)
        assert_sentence(raised.value, path)


def test_forbidden_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, **_: object) -> Image.Image:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(images.Image, "open", refuse)  # the test may run as root, who may read everything
    path = tmp_path / "photo.png"
    path.write_bytes(tiny(20, 20))
    with pytest.raises(PhotoError, match="permissions") as raised:
        open_photo(path)
    assert_sentence(raised.value, path)


def test_pictures_in_memory_are_named_as_such() -> None:
    for source in (Image.new("RGB", (1, 1)), np.zeros((1, 1, 3), np.uint8), np.zeros((20, 20), np.float32)):
        with pytest.raises(PhotoError, match=r"^the picture is"):
            open_photo(source)


def test_pillows_own_limit_is_left_alone(tmp_path: Path) -> None:
    before = Image.MAX_IMAGE_PIXELS
    (tmp_path / "large.png").write_bytes(png_header(11_000, 11_000))
    with pytest.raises(PhotoError):
        open_photo(tmp_path / "large.png")
    assert before == Image.MAX_IMAGE_PIXELS
    assert 108e6 < MAX_PIXELS < 400e6, "between the largest phone photos and a bomb"


def assert_sentence(error: PhotoError, path: Path) -> None:
    """What, which file, and after a semicolon what to do; on one line."""
    what, _, advice = str(error).partition("; ")
    assert str(path) in what
    assert advice
    assert "\n" not in str(error)
