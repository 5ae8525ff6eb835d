"""Small whole inputs of every kind, of the tests' own making: what `mutation` damages and `corpus` begins with."""

import io
import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache
from typing import Any

import numpy as np
import pillow_heif
from matplotlib.cbook import get_sample_data
from PIL import Image, features
from pydantic import TypeAdapter

from cilf.checkpoint import CheckpointConfig
from tests import tiny
from tests.stand_in import packed

Json = Any


def picture(width: int = 40, height: int = 24, mode: str = "RGB") -> Image.Image:
    """Coloured noise over a gradient."""
    noise = np.random.default_rng(0).integers(0, 64, (height, width, 3), dtype=np.uint8)
    ramp = np.linspace(0, 190, width, dtype=np.uint8)[None, :, None]
    image = Image.fromarray(noise + ramp)
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    return image.convert(mode)


@cache
def portrait() -> Image.Image:
    """Grace Hopper, January 1984: a portrait of the public domain, small."""
    with get_sample_data("grace_hopper.jpg") as file:
        return Image.open(file).convert("RGB").resize((128, 150))


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The file that Pillow writes."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(turn: Any = 6) -> bytes:
    """EXIF data with a turn, a thumbnail's place and a maker's name."""
    tags = Image.Exif()
    tags[0x0112] = turn
    tags[0x010F] = "maker"
    tags[0x0201] = 99_999
    return tags.tobytes()


def _photos() -> Iterator[tuple[str, bytes]]:
    rgb, frames = picture(), [picture(mode="P"), picture(mode="P").rotate(180)]
    alpha = picture()
    alpha.putalpha(picture(mode="L"))
    yield "jpeg", saved(rgb, "JPEG")
    yield "jpeg progressive", saved(rgb, "JPEG", progressive=True, quality=30)
    yield "jpeg grey", saved(picture(mode="L"), "JPEG")
    yield "jpeg cmyk", saved(picture(mode="CMYK"), "JPEG")
    yield (
        "jpeg exif",
        saved(rgb, "JPEG", exif=exif(), icc_profile=b"\0" * 128 + b"garbage" * 30, comment=b"x" * 99),
    )
    yield "jpeg restarts", saved(rgb, "JPEG", restart_marker_blocks=1)
    yield "mpo", saved(rgb, "MPO", save_all=True, append_images=[rgb])
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        yield f"png {mode}", saved(picture(mode=mode), "PNG")
    yield (
        "png transparent",
        saved(picture(mode="P"), "PNG", transparency=3, exif=exif(8), icc_profile=b"garbage"),
    )
    yield "apng", saved(frames[0], "PNG", save_all=True, append_images=frames[1:], duration=9)
    yield "webp", saved(rgb, "WEBP", exif=exif())
    yield "webp lossless", saved(alpha, "WEBP", lossless=True)
    yield "webp animated", saved(rgb, "WEBP", save_all=True, append_images=frames)
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"):
        yield f"tiff {compression}", saved(rgb, "TIFF", compression=compression)
    yield "tiff group4", saved(picture(mode="1"), "TIFF", compression="group4")
    for mode in ("CMYK", "I;16", "F", "LAB", "P", "RGBA"):
        yield f"tiff {mode}", saved(picture(mode=mode), "TIFF")
    yield "tiff pages", saved(rgb, "TIFF", save_all=True, append_images=[rgb, picture(mode="L")])
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        yield f"bmp {mode}", saved(picture(mode=mode), "BMP")
    yield "gif", saved(picture(mode="P"), "GIF", transparency=1)
    yield "gif animated", saved(frames[0], "GIF", save_all=True, append_images=frames[1:], loop=0)
    heif = io.BytesIO()
    pillow_heif.from_pillow(rgb).save(heif, quality=50)
    yield "heif", heif.getvalue()
    if features.check("avif"):
        yield "avif", saved(rgb, "AVIF", quality=50, speed=10)


@cache
def photos() -> dict[str, bytes]:
    """A file of every format and mode that is read."""
    return dict(_photos())


@cache
def foreign_files() -> dict[str, bytes]:
    """Files of formats that are not read, some of which Pillow knows."""
    rgb = picture()
    return {
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n%%EndComments\n{ } loop\n%%EOF\n",
        "pdf": saved(rgb, "PDF"),
        "tga": saved(rgb, "TGA"),
        "ico": saved(rgb, "ICO"),
        "pcx": saved(rgb, "PCX"),
        "ppm": saved(rgb, "PPM"),
        "jpeg 2000": saved(rgb, "JPEG2000") if features.check("jpg_2000") else b"\0\0\0\x0cjP  \r\n\x87\n",
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        "html": b"<!doctype html><title>404</title>",
        "pickle": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
        "gzip": b"\x1f\x8b\x08\0\0\0\0\0\0\x03",
        "psd": b"8BPS\0\x01" + bytes(6) + b"\0\x03" + (30).to_bytes(4, "big") * 2 + b"\0\x08\0\x03",
        "fits": b"SIMPLE  =                    T".ljust(2880),
        "wmf": b"\xd7\xcd\xc6\x9a" + bytes(60),
        "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(60),
    }


@cache
def archives() -> dict[str, bytes]:
    """Zip files with photos in them."""
    members = {f"folder/{name}.png": data for name, data in list(photos().items())[:4]}
    return {
        "packed": packed(members).getvalue(),
        "stored": packed(members, 0).getvalue(),
        "unicode": packed({"ä\u202egnp.jpg": photos()["jpeg"], "../up.png": photos()["png L"]}).getvalue(),
    }


@cache
def configuration() -> Json:
    """The configuration of a whole checkpoint."""
    return TypeAdapter(CheckpointConfig).dump_python(tiny.SEEKING, mode="json")


def mtmsa_configuration() -> Json:
    """That of the second family."""
    return json.loads(json.dumps(asdict(tiny.MTMSA_CHECKPOINT)))


ADDRESSES = (
    "http://pictures.example/a.png",
    "https://user:secret@pictures.example:8443/a/b.jpg?c=d#e",
    "http://8.8.8.8/a.png",
    "http://127.0.0.1:80/a.png",
    "http://[2001:4860:4860::8888]/a.png",
    "data:image/png;base64,aGVsbG8=",
    "/gradio_api/file=/tmp/a.png",
)

PROMPTS = ("a photo of a child", "an old man", "a face")
