"""Pictures between the browser and the page: uploads are read and removed, and what is shown travels without a file."""

import base64
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cilf.demo.limits import MAX_PHOTO, MEGABYTE, shortened
from cilf.demo.uploads.pixel_budget import IN_WORK, LARGE, give_memory_back
from cilf.errors import PhotoError
from cilf.face.images import count_pixels, open_pyramid_bytes
from cilf.face.pyramid import Pyramid

# Above this the JPEG that is sent to the browser shows no difference on a screen.
JPEG_QUALITY = 90

# What a browser shows by itself begins so, and goes back to it as it came, up to so many bytes: more would take long,
# and the result replaces it anyway.
SHOWN_BY_BROWSERS = {
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG": "image/png",
    b"GIF8": "image/gif",
    b"RIFF": "image/webp",
}
MAX_PREVIEW = MEGABYTE


@dataclass(frozen=True)
class Upload:
    """A photo from a visitor or a program, in memory: its name and its bytes, or in `error` why there are none."""

    name: str
    data: bytes = field(default=b"", repr=False)
    error: str = ""

    @classmethod
    def read(cls, name: str, read: Callable[[], bytes]) -> "Upload":
        """Keep the bytes that `read` gives, or the sentence of the `PhotoError` that it raises."""
        try:
            return cls(name, read())
        except PhotoError as error:
            return cls(name, error=str(error))

    @classmethod
    def from_payload(cls, payload: dict[str, Any] | None) -> "Upload | None":
        """Read what `gr.Image` sends to an event with `preprocess=False`: an uploaded file, or a `data:` address; None
        when the area was emptied."""
        if not payload:
            return None
        name = shortened(str(payload.get("orig_name") or "photo"))
        address = payload.get("url") or ""
        if address.startswith("data:"):
            return cls.from_address(name, address)
        return cls.from_file(name, Path(str(payload.get("path"))))

    @classmethod
    def from_address(cls, name: str, address: str) -> "Upload":
        """Read the bytes in a `data:` address."""
        return cls.read(name, lambda: decode_address(address, name, MAX_PHOTO))

    @classmethod
    def from_file(cls, name: str, path: Path) -> "Upload":
        """Read an uploaded file and remove it from the disk; no other file of this computer is touched."""

        def content() -> bytes:
            try:
                if path.stat().st_size > MAX_PHOTO:
                    raise PhotoError(too_large(name, MAX_PHOTO))
                return path.read_bytes()
            except OSError:
                raise PhotoError(f"'{name}' is no longer there; choose it again") from None
            finally:
                remove(path)

        if not is_uploaded(path):
            return cls(name, error=f"'{name}' is no longer there; choose it again")
        return cls.read(name, content)

    @contextmanager
    def held(self) -> Iterator[bytes]:
        """The photo's bytes; it counts among the pixels in work until the block ends.

        Raises:
            PhotoError: there are none.
        """
        if self.error:
            raise PhotoError(self.error)
        with IN_WORK.hold(count_pixels(self.data)):
            yield self.data

    @contextmanager
    def decoded(self) -> Iterator[Pyramid]:
        """Decode the photo, which counts among the pixels in work until the block ends.

        Raises:
            PhotoError: it cannot be read; the sentence names it as the visitor does.
        """
        with self.held() as data:
            photo = open_pyramid_bytes(data, self.name)
            if photo.width * photo.height >= LARGE:
                give_memory_back()
            yield photo


def is_uploaded(path: Path) -> bool:
    """Whether a path lies in Gradio's folder of uploads."""
    from gradio.utils import get_upload_folder  # seconds to import, and nothing else here needs it

    try:
        return path.resolve().is_relative_to(Path(get_upload_folder()).resolve())
    except (ValueError, OSError, RuntimeError):  # no path at all ("%00"), or one that leads to itself
        return False


def remove(path: Path) -> None:
    """Remove an uploaded file from the disk, and the folder that Gradio made for it."""
    try:
        path.unlink()
        path.parent.rmdir()
    except OSError:
        pass  # it is gone already


def too_large(name: str, limit: int) -> str:
    """The sentence on a file that has more than `limit` bytes."""
    return f"'{name}' is larger than {limit // MEGABYTE:,} MB; give a smaller file"


def shown(picture: np.ndarray) -> dict[str, Any]:
    """The picture (HxWx3 uint8) as `gr.Image` takes it from an event with `postprocess=False`.

    The picture travels inside the answer; Gradio's own postprocessing would write it to the disk first.
    """
    return _in_the_answer(jpeg_address(picture), "photo.jpg", "image/jpeg")


def preview(upload: Upload) -> dict[str, Any] | None:
    """A photo as it came, to be shown until its result is there, since a browser that asks for its file late finds it
    gone; None where it is large, or in a format that browsers do not show."""
    mime = next((mime for start, mime in SHOWN_BY_BROWSERS.items() if upload.data.startswith(start)), None)
    if mime is None or len(upload.data) > MAX_PREVIEW:
        return None
    return _in_the_answer(_address(upload.data, mime), upload.name, mime)


def _in_the_answer(address: str, name: str, mime: str) -> dict[str, Any]:
    meta = {"_type": "gradio.FileData"}
    return {"path": None, "url": address, "orig_name": name, "mime_type": mime, "meta": meta}


def jpeg_address(picture: np.ndarray, quality: int = JPEG_QUALITY) -> str:
    """The picture (HxWx3 uint8) as a `data:` address, which a page shows without any request."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return _address(buffer.getvalue(), "image/jpeg")


def _address(data: bytes, mime: str) -> str:
    return f"data:{mime};base64," + base64.b64encode(data).decode()


def decode_address(address: str, name: str, limit: int) -> bytes:
    """The bytes in a `data:` address.

    Args:
        address: as it came from outside.
        name: stands for it in the sentences of errors.
        limit: so many bytes it may hold; whether it does is known before it is decoded.

    Raises:
        PhotoError: it holds more, or no base64.
    """
    text = address.partition(",")[2]
    if 3 * len(text) > 4 * (limit + 2):  # four letters are three bytes, and the last four may be padded
        raise PhotoError(too_large(name, limit))
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise PhotoError(f"'{name}' holds no base64; give data:image/jpeg;base64,…") from None
