"""Pictures between the browser and us: uploads are read and removed, and what is shown travels without a file."""

import base64
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cilf.demo.uploads.zip_archive import MAX_PHOTO, too_large
from cilf.errors import PhotoError
from cilf.face.images import open_photo_bytes

# Above this the JPEG that is sent to the browser shows no difference on a screen.
JPEG_QUALITY = 90

# What a browser shows by itself begins so, and goes back to it as it came, up to so many bytes: more would take long,
# and the photo is not looked at before.
SHOWN_BY_BROWSERS = {
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG": "image/png",
    b"GIF8": "image/gif",
    b"RIFF": "image/webp",
}
MAX_PREVIEW = 1 << 20


@dataclass(frozen=True)
class Sent:
    """A photo's bytes as they came from the visitor; `problem` says why there are none."""

    name: str
    data: bytes = field(default=b"", repr=False)
    problem: str = ""

    def take(self) -> np.ndarray:
        """Decode the photo: HxWx3 uint8 RGB, upright.

        Raises:
            PhotoError: it cannot be read; the sentence names it as the visitor does.
        """
        if self.problem:
            raise PhotoError(self.problem)
        return open_photo_bytes(self.data, self.name)


@dataclass(frozen=True)
class Upload:
    """A picture as it came from the visitor: a file on our disk, or a `data:` address; `name` is the visitor's own."""

    name: str
    path: Path | None = None
    address: str = field(default="", repr=False)

    @classmethod
    def from_payload(cls, payload: dict[str, Any] | None) -> "Upload | None":
        """The upload in what `gr.Image` sends to an event with `preprocess=False`; None when the area was emptied.

        Gradio has checked by then that the file lies in its upload folder. Its own preprocessing is left out
        because it fails on a broken picture before our code sees it.
        """
        if not payload:
            return None
        name = str(payload.get("orig_name") or "photo")
        address = payload.get("url") or ""
        if address.startswith("data:"):
            return cls(name, address=address)
        return cls(name, path=Path(payload["path"])) if payload.get("path") else None

    def receive(self) -> Sent:
        """Bring the bytes into memory and remove the file; what goes wrong is said when they are decoded."""
        try:
            if self.path is None:
                return Sent(self.name, decoded(self.address, self.name, MAX_PHOTO))
            if self.path.stat().st_size > MAX_PHOTO:
                return Sent(self.name, problem=too_large(self.name, MAX_PHOTO))
            return Sent(self.name, self.path.read_bytes())
        except PhotoError as error:
            return Sent(self.name, problem=str(error))
        except OSError:
            return Sent(self.name, problem=f"'{self.name}' is no longer there; choose it again")
        finally:
            self.remove()

    def take(self) -> np.ndarray:
        """Read the picture and remove it from the disk, readable or not.

        Returns:
            HxWx3 uint8 RGB, upright.

        Raises:
            PhotoError: the picture cannot be read; the sentence names it as the visitor does.
        """
        return self.receive().take()

    def remove(self) -> None:
        """Remove the file from the disk, and Gradio's folder round it."""
        if self.path is None:
            return
        try:
            self.path.unlink()
            self.path.parent.rmdir()  # Gradio makes a folder for every upload
        except OSError:
            pass  # it is gone already, or somebody else's upload lies in the folder


def shown(picture: np.ndarray | None) -> dict[str, Any] | None:
    """The picture (HxWx3 uint8) as `gr.Image` takes it from an event with `postprocess=False`; None empties the area.

    The picture travels inside the answer; Gradio's own postprocessing would write it to the disk first.
    """
    return None if picture is None else _in_the_answer(jpeg_address(picture), "photo.jpg", "image/jpeg")


def preview(sent: Sent) -> dict[str, Any] | None:
    """A photo as it came, for the time until it was looked at, since a browser that asks for its file late finds it
    gone; None where it is large, or in a format that browsers do not show."""
    mime = next((mime for start, mime in SHOWN_BY_BROWSERS.items() if sent.data.startswith(start)), None)
    if mime is None or len(sent.data) > MAX_PREVIEW:
        return None
    return _in_the_answer(f"data:{mime};base64," + base64.b64encode(sent.data).decode(), sent.name, mime)


def _in_the_answer(address: str, name: str, mime: str) -> dict[str, Any]:
    return {
        "path": None,
        "url": address,
        "orig_name": name,
        "mime_type": mime,
        "meta": {"_type": "gradio.FileData"},
    }


def jpeg_address(picture: np.ndarray, quality: int = JPEG_QUALITY) -> str:
    """The picture (HxWx3 uint8) as a `data:` address, which a page shows without any request."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def decoded(address: str, name: str, most: int) -> bytes:
    """The bytes in a `data:` address.

    Args:
        address: as it came from outside.
        name: stands for it in the sentences of errors.
        most: so many bytes it may hold; whether it does is known before it is decoded.

    Raises:
        PhotoError: it holds more, or no base64.
    """
    text = address.partition(",")[2]
    if 3 * len(text) > 4 * (most + 2):  # four letters are three bytes, and the last four may be padded
        raise PhotoError(too_large(name, most))
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise PhotoError(f"'{name}' holds no base64; give data:image/jpeg;base64,…") from None
