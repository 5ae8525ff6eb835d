"""The fixed corpus: 700 inputs, each of which once was a fault, or is one of a kind that readers fail at."""

import base64
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Any

from PIL import Image

from tests.hostile import cases, seeds
from tests.hostile.cases import CALL, EVENT, FORM, FRAME, JSON, PREDICT, RECORD, UPLOAD, Case
from tests.hostile.mutation import LETTERS, VALUES, png_chunk
from tests.stand_in import packed

SIZE = 700

# Of the damaged inputs that fill the corpus.
SEED = 0


@cache
def corpus() -> tuple[Case, ...]:
    """All inputs, always the same in the same order: those made on purpose, then damaged ones."""
    made = [*_photos(), *_pixels(), *_archives(), *_checkpoints(), *_texts(), *_requests()]
    return (*made, *(cases.case(SEED, number, predictions=False) for number in range(SIZE - len(made))))


def case(number: int) -> Case:
    """Input `number` of the corpus."""
    return corpus()[number]


def _photos() -> Iterator[Case]:
    for data in seeds.photos().values():
        yield "photo", data
        yield "photo", data[: len(data) // 2]
        yield "photo", data[:-3] + b"\xff" * 40
    for data in seeds.foreign_files().values():
        yield "photo", data
    for width, height in (
        (1, 1),
        (1, 4000),
        (4000, 1),
        (15, 16),
        (16, 16),
        (16, 4000),
        (0xFFFFFFFF, 2),
        (0, 16),
    ):
        yield "photo", _png(width, height)
    for width, height in (
        (11_000, 10_900),
        (60_000, 60_000),
        (2**31 - 1, 2**31 - 1),
    ):  # claimed, with no pixels
        yield "photo", _png(width, height, content=b"")
        yield "photo", _bmp(width, height)
    yield "photo", b"\xff\xd8" + _jpeg_frame(65_000, 65_000)
    yield "file", b""
    for depth, colour in ((0, 2), (3, 0), (16, 3), (8, 7), (255, 255)):
        yield "photo", _png(16, 16, depth=depth, colour=colour)
    yield "photo", _png(32, 32, content=zlib.compress(bytes(10_000_000)))  # more pixels than are claimed
    yield "photo", _png(32, 32, extra=png_chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(20_000_000))))
    yield "photo", _png(32, 32, extra=png_chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(20_000_000))) * 3)
    yield "photo", _png(32, 32, extra=png_chunk(b"acTL", b"\xff" * 8) + png_chunk(b"fcTL", b"\xff" * 26))
    for turn in (0, 9, 65_535, -1, "6", b"\0" * 9, 1e300, (6, 6)):
        try:
            yield "photo", seeds.saved(seeds.picture(), "JPEG", exif=seeds.exif(turn))
        except Exception:  # a turn that Pillow does not write
            yield "photo", seeds.saved(seeds.picture(), "JPEG", exif=b"Exif\0\0II*\0" + bytes(30))
    yield (
        "photo",
        seeds.saved(seeds.picture(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12" * 90),
    )
    thin = seeds.photos()["tiff RGBA"].replace(
        b"\x01\x01\4\0\1\0\0\0\x18\0\0\0", b"\x01\x01\4\0\1\0\0\0\x18\0\x20\0"
    )
    for target in ("photo", "upload"):  # 40 x 2,097,176 pixels, of which 24 rows are there: it took 1.3 GB
        yield target, thin
    yield "photo", _tiff([(256, 4, 1, 2**31), (257, 4, 1, 2**31)])
    yield "photo", _tiff([(256, 4, 1, 40), (257, 4, 1, 40), (273, 4, 2**30, 8), (258, 3, 2**30, 8)])
    yield "photo", _tiff([(tag, 13, 2**28, tag) for tag in range(250, 400)])
    yield "photo", b"II*\0\x08\0\0\0\0\0\x08\0\0\0"  # a list of pages that leads to itself
    yield "photo", b"GIF89a\xff\xff\xff\xff\xf7\0\0" + bytes(768) + b",\0\0\0\0\xff\xff\xff\xff\0\x08"
    yield "photo", b"RIFF\xff\xff\xff\xffWEBPVP8X\n\0\0\0\xff\0\0\0\xff\xff\xff\xff\xff\xff"
    for brand in (b"heic", b"avif", b"mif1", b"msf1"):
        yield "photo", struct.pack(">I", 24) + b"ftyp" + brand + bytes(4) + b"mif1" + brand + bytes(40)
        yield "photo", struct.pack(">I", 24) + b"ftyp" + brand + bytes(4) + b"mif1" + brand + b"\xff" * 400


def _pixels() -> Iterator[Case]:
    for shape in (
        (),
        (0,),
        (3,),
        (20, 20, 4),
        (20, 20, 1),
        (0, 20, 3),
        (20, 0, 3),
        (20, 20, 3, 1),
        (1, 400, 3),
    ):
        yield "array", (shape, "uint8")
    for dtype in ("float32", "float64", "int64", "bool", "complex64", "uint16", "S3", "O", "datetime64[s]"):
        yield "array", ((20, 20, 3), dtype)
    for name in (
        "",
        ".",
        "/",
        "~",
        "\0",
        "a\0b",
        "/dev/full",
        "a" * 5000,
        "/proc/self/mem",
        "\ud800.png",
        "//x/y",
    ):
        yield "path", name
    plain = (Image.new("RGB", (64, 48)), Image.new("RGB", (16, 600), "white"), Image.new("1", (40, 40), 1))
    for image in (*plain, seeds.picture(), seeds.picture(600, 17), seeds.portrait()):
        yield "predict", seeds.saved(image, "PNG")


def _archives() -> Iterator[Case]:
    png = seeds.photos()["png L"]
    for data in seeds.archives().values():
        yield "archive", data
        yield "archive", data[:-10]
        yield "archive", b"MZ" * 500 + data  # in front of it a program
    for name in (*LETTERS, "../" * 50 + "a", "a/" * 30_000, "con", "C:\\a", "/etc/passwd", " ", "a" * 60_000):
        yield "archive", packed({f"x{name}.png".encode("utf-8", "replace").decode(): png}).getvalue()
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        yield "archive", packed({"a.png": png}, method).getvalue()
    yield "archive", packed({"bomb.png": bytes(70_000_000)}).getvalue()
    yield "archive", packed({f"{number}.png": b"" for number in range(10_001)}).getvalue()
    yield "archive", packed({"a.png": packed({"a.png": png}).getvalue()}).getvalue()
    stored = packed({"a.png": png}, 0).getvalue()
    yield "archive", stored.replace(b"a.png", b"\0.png")  # a member without a name
    for place, value in (
        (6, b"\x01\0"),
        (8, b"\x63\0"),
        (18, b"\xff" * 4),
        (22, b"\xff" * 4),
        (26, b"\xff\xff"),
    ):
        yield "archive", stored[:place] + value + stored[place + len(value) :]
    end = stored.rindex(b"PK\x05\x06")
    for place, value in (
        (8, b"\xff\xff"),
        (12, b"\xff" * 4),
        (16, b"\xff" * 4),
        (16, b"\0" * 4),
        (20, b"\xff\xff"),
    ):
        yield "archive", stored[: end + place] + value + stored[end + place + len(value) :]


def _checkpoints() -> Iterator[Case]:
    for content in (
        b"",
        b"[]",
        b"{}",
        b"null",
        b"NaN",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'"\\ud800"',
    ):
        yield "config", content
        yield "report", content
    yield "config", b" " * (5 << 20)
    yield "config", b'{"format": ' + b"9" * 100_000 + b"}"
    config = seeds.configuration()
    for value in VALUES:
        yield "config", json.dumps({**config, "model": value}).encode()
        yield "config", json.dumps({**config, "conformal": {**config["conformal"], "truth": value}}).encode()


def _texts() -> Iterator[Case]:
    for letters in LETTERS:
        yield "prompts", [f"a photo of {letters}"]
        yield "row", f"{letters}.jpg"
    for prompts in (
        ["a" * 121],
        ["😀" * 120],
        ["e\u0301" * 60],
        ["a"] * 101,
        [""],
        [None],
        "x" * 100_000,
        "\n" * 9,
        [],
    ):
        yield "prompts", prompts
    hosts = (
        "127.1",
        "0",
        "[::1]",
        "[::ffff:7f00:1]",
        "2130706433",
        "0x7f.1",
        "[fe80::1%25lo]",
        "localhost",
        "a..b",
        "x" * 300,
    )
    for host in hosts:
        yield "address", f"http://{host}/a.png"
    for address in (
        "http://", "http:///a", "http://[", "http://[x/a.png", "http://a:99999/", "http://a:b@/", "http://\u2100.example/",
        "HTTP://8.8.8.8/", "ftp://8.8.8.8/", "file:///etc/passwd", "//8.8.8.8/a.png", "http://8.8.8.8/" + "a" * 3000,
        "data:", "data:,", "data:image/png;base64,====", "data:image/png;base64," + "A" * 1_000_001, "\0", "http://\r\n/",
    ):  # fmt: skip
        yield "address", address


def _requests() -> Iterator[Case]:
    for value in VALUES:
        yield "record", value
        yield "endpoint", ("predict", {**PREDICT, "prompts": value})
        yield "endpoint", ("similarity", {**PREDICT, "face": value})
        yield "body", _post("/gradio_api/component_server/", _live({**CALL, "data": value}))
    for key in FRAME:
        for value in (None, "soon", 10**400, -1e300, float("nan"), [], {}):
            yield (
                "body",
                _post("/gradio_api/component_server/", _live({**CALL, "data": {**FRAME, key: value}})),
            )
    huge = seeds.saved(seeds.picture(), "JPEG").replace(
        struct.pack(">HH", 24, 40), struct.pack(">HH", 65_500, 65_500)
    )
    yield (
        "body",
        _post("/gradio_api/component_server/", _live({**CALL, "data": {**FRAME, "picture": _address(huge)}})),
    )
    for content in (b"", b"{", b"null", b"[]", b'"a"', b"[" * 100_000, b"\xff", b"{}"):
        for path in ("queue/join", "run/predict", "component_server/", "reset", "cancel", "call/predict"):
            yield "body", _post(f"/gradio_api/{path}", content)
    for content in (
        UPLOAD,
        UPLOAD[:40],
        b"--b--",
        b"",
        UPLOAD.replace(b"a.png", b"\xff\r\n"),
        b"--b\r\n:\r\n\r\n--b--",
    ):
        yield "body", ("POST", "/gradio_api/upload", content, FORM)
    yield "body", ("POST", "/gradio_api/upload", UPLOAD, {"Content-Type": "multipart/form-data"})
    yield "body", _post("/gradio_api/queue/join", json.dumps({**EVENT, "fn_index": 10**9}).encode())
    yield "body", ("POST", "/photo-set/none/photo", b"", {})
    yield "body", ("POST", "/photo-set/{token}/photo", b"x", {"Cilf-Name": "%ff%00", "Cilf-Place": "9" * 99})
    yield "body", ("POST", "/photo-set/{token}/archive", b"x", {"Content-Length": "-1"})
    yield "body", ("GET", "/photo-set/{token}/table.exe", b"", {})
    yield "endpoint", ("predict_set", {"files": [RECORD] * 101})


def _post(path: str, content: bytes) -> tuple[str, str, bytes, dict[str, str]]:
    return "POST", path, content, JSON


def _live(call: dict[str, Any]) -> bytes:
    return json.dumps(call).replace('"component_id": 0', '"component_id": LIVE').encode()


def _address(data: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()


def _png(
    width: int, height: int, depth: int = 8, colour: int = 2, content: bytes | None = None, extra: bytes = b""
) -> bytes:
    """A PNG file of black pixels, as far as they are few."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    lines = (1 + 3 * width) * height
    pixels = zlib.compress(bytes(lines if lines < 10**6 else 0)) if content is None else content
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + extra
        + png_chunk(b"IDAT", pixels)
        + png_chunk(b"IEND", b"")
    )


def _bmp(width: int, height: int) -> bytes:
    return (
        b"BM"
        + struct.pack("<IHHI", 54, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    )


def _jpeg_frame(width: int, height: int) -> bytes:
    return (
        b"\xff\xc0"
        + struct.pack(">HBHHB", 17, 8, height, width, 3)
        + b"\x01\x11\0\x02\x11\0\x03\x11\0\xff\xda"
    )


def _tiff(tags: list[tuple[int, int, int, int]]) -> bytes:
    """A TIFF file of nothing but a list of tags."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4)
