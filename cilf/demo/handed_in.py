"""A photo as a program hands it in: a file that it uploaded before, or an address. None of them stays on the disk."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
from gradio.processing_utils import ssrf_protected_download
from gradio.utils import get_upload_folder

from cilf.demo.pictures import Upload
from cilf.errors import PhotoError

# What stands before the path in the address of a file that was uploaded to this page.
UPLOADED = "/gradio_api/file="


def name_of(photo: Any) -> str:
    """What the program calls the photo, in a word."""
    if isinstance(photo, dict):
        return str(photo.get("orig_name") or Path(str(photo.get("path") or "photo")).name)
    if isinstance(photo, str) and not photo.startswith("data:"):
        return unquote(urlsplit(photo).path).rpartition("/")[2][:200] or "photo"
    return "photo"


def read(photo: Any) -> np.ndarray:
    """The photo's pixels, upright: HxWx3 uint8 RGB.

    Args:
        photo: a file as `gradio_client.handle_file` sends it; the address of a file that was uploaded to this page; a
            public http(s) address; or a `data:` address.

    Raises:
        PhotoError: it is none of these, cannot be fetched, is larger than an upload may be, or is no picture.
    """
    name, path = name_of(photo), _uploaded(photo)
    if path is not None:
        return Upload(name, path=path).take()
    if not isinstance(photo, str) or not photo.startswith(("http://", "https://", "data:")):
        raise PhotoError(
            f"'{name}' is no photo; give a file that was uploaded to this page, an http(s) address or a data: address"
        )
    if photo.startswith("data:"):
        return Upload(name, address=photo).take()
    with TemporaryDirectory() as folder:
        return Upload(name, path=_fetched(photo, folder)).take()


def discard(photos: Any) -> None:
    """Remove what was uploaded and is still there, because an error came before it was read."""
    for photo in photos if isinstance(photos, list) else []:
        path = _uploaded(photo)
        if path is not None and path.is_file():
            Upload(name_of(photo), path=path).remove()


def _uploaded(photo: Any) -> Path | None:
    """Where an uploaded file lies; None where the photo is none, or names another file of this computer."""
    if isinstance(photo, dict):
        path = Path(str(photo.get("path")))
    elif isinstance(photo, str) and UPLOADED in photo:
        path = Path(unquote(photo.partition(UPLOADED)[2]))
    else:
        return None
    return path if path.resolve().is_relative_to(Path(get_upload_folder()).resolve()) else None


def _fetched(address: str, folder: str) -> Path:
    """Gradio's own way to fetch, which refuses addresses inside this computer's network."""
    try:
        return Path(ssrf_protected_download(address, folder))
    except Exception as error:  # whatever the network and the other side come up with
        raise PhotoError(
            f"'{name_of(address)}' cannot be fetched ({type(error).__name__}); give a public http(s) address of a "
            "picture, or upload it"
        ) from None
