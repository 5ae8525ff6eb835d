"""A photo as a program hands it in: a file that it uploaded before, or an address. None of them stays on the disk."""

from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import numpy as np
from gradio.utils import get_upload_folder
from gradio_client.utils import synchronize_async

from cilf.demo.uploads.images import Sent, Upload
from cilf.demo.uploads.url_download import Budget, fetch
from cilf.demo.uploads.zip_archive import MAX_PHOTO
from cilf.errors import PhotoError

# What stands before the path in the address of a file that was uploaded to this page.
UPLOADED = "/gradio_api/file="

# The folder, which does not exist, of the paths in which addresses stand; see `postponed`.
POSTPONED = "address"


async def postponed(url: str, cache_dir: str) -> str:
    """In the place of Gradio's own download: a path in which the address stands, for `read` to fetch in its turn.

    Gradio downloads what a file's record names before our code is asked, whatever its size, and onto the disk.
    """
    return str(Path(cache_dir) / POSTPONED / quote(url, safe=""))


def name_of(photo: Any) -> str:
    """What the program calls the photo, in a word."""
    if isinstance(photo, dict):
        if photo.get("orig_name"):
            return str(photo["orig_name"])
        meant = _meant(photo)
        return name_of(meant) if isinstance(meant, str) else Path(str(photo.get("path") or "photo")).name
    if not isinstance(photo, str) or photo.startswith("data:"):
        return "photo"
    try:
        return unquote(urlsplit(photo).path).rpartition("/")[2][:200] or "photo"
    except ValueError:  # "http://[x/a.png": such a host is none
        return "photo"


def read(photo: Any, budget: Budget | None = None) -> np.ndarray:
    """The photo's pixels, upright: HxWx3 uint8 RGB.

    Args:
        photo: a file as `gradio_client.handle_file` sends it; the address of a file that was uploaded to this page; a
            public http(s) address; or a `data:` address.
        budget: what its request's addresses may still take; by default it is the only one.

    Raises:
        PhotoError: it is none of these, cannot be fetched, is larger than an upload may be, or is no picture.
    """
    budget = budget or Budget()
    name, photo = name_of(photo), _meant(photo)
    path = _uploaded(photo)
    if path is not None:
        return Upload(name, path=path).take()
    if not isinstance(photo, str) or not photo.startswith(("http://", "https://", "data:")):
        raise PhotoError(
            f"'{name}' is no photo; give a file that was uploaded to this page, an http(s) address or a data: address"
        )
    if photo.startswith("data:"):
        return Upload(name, address=photo).take()
    return Sent(name, synchronize_async(fetch, photo, name, MAX_PHOTO, budget)).take()


def discard(photos: Any) -> None:
    """Remove what was uploaded and is still there, because an error came before it was read."""
    for photo in photos if isinstance(photos, list) else []:
        path = _uploaded(_meant(photo))
        if path is not None:
            Upload(name_of(photo), path=path).remove()


def _uploaded(photo: Any) -> Path | None:
    """Where an uploaded file lies; None where the photo is none, or names another file of this computer."""
    if isinstance(photo, dict):
        path = Path(str(photo.get("path")))
    elif isinstance(photo, str) and UPLOADED in photo:
        path = Path(unquote(photo.partition(UPLOADED)[2]))
    else:
        return None
    try:
        inside = path.resolve().is_relative_to(Path(get_upload_folder()).resolve())
    except (ValueError, OSError, RuntimeError):  # no path at all ("%00"), or one that leads to itself
        return None
    return path if inside else None


def _meant(photo: Any) -> Any:
    """The address, where one stands in an uploaded file's path, and else what was handed in."""
    path = _uploaded(photo)
    return unquote(path.name) if path is not None and path.parent.name == POSTPONED else photo
