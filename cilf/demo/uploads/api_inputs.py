"""A photo as a program hands it in: an uploaded file, or an address. None of them stays on the disk."""

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from gradio_client.utils import synchronize_async

from cilf.demo.limits import MAX_ADDRESS, MAX_PHOTO, shortened
from cilf.demo.uploads.images import Upload, is_uploaded, remove
from cilf.demo.uploads.url_download import Budget, fetch

# Prefix of the path in the address of a file that was uploaded to this page.
UPLOADED = "/gradio_api/file="

WEB = ("http://", "https://")


def name_of(photo: Any) -> str:
    """What the program calls the photo, in a word."""
    if isinstance(photo, dict) and photo.get("orig_name"):
        return shortened(str(photo["orig_name"]))
    photo = _address_or_record(photo)
    if isinstance(photo, dict):
        return shortened(Path(str(photo.get("path") or "photo")).name)
    # `urlsplit` keeps its last 128 texts: of megabytes each they would fill the memory.
    if not isinstance(photo, str) or photo.startswith("data:") or len(photo) > 10 * MAX_ADDRESS:
        return "photo"
    try:
        return shortened(unquote(urlsplit(photo).path).rpartition("/")[2]) or "photo"
    except ValueError:  # "http://[x/a.png": such a host is none
        return "photo"


def read(photo: Any, budget: Budget | None = None) -> Upload:
    """The photo's name and bytes; what cannot be had, or is larger than an upload may be, has its error.

    Args:
        photo: a file as `gradio_client.handle_file` sends it; the address of a file that was uploaded to this page; a
            public http(s) address; or a `data:` address.
        budget: what its request's addresses may still take; by default it is the only one.
    """
    name, path = name_of(photo), _uploaded(photo)
    if path is not None:
        return Upload.from_file(name, path)
    address = _address_or_record(photo)
    if isinstance(address, str) and address.startswith("data:"):
        return Upload.from_address(name, address)
    if not isinstance(address, str) or not address.startswith(WEB):
        return Upload(
            name,
            error=f"'{name}' is not a photo; give a file that was uploaded to this page, an http(s) address or a data: "
            "address",
        )
    return Upload.read(name, lambda: synchronize_async(fetch, address, name, MAX_PHOTO, budget or Budget()))


def discard(photos: Any) -> None:
    """Remove what was uploaded and is still there, because an error came before it was read."""
    for photo in photos if isinstance(photos, list) else []:
        if isinstance(photo, list):
            discard(photo)
            continue
        path = _uploaded(photo)
        if path is not None:
            remove(path)


def _uploaded(photo: Any) -> Path | None:
    """Where an uploaded file lies; None where the photo is none, or names another file of this computer."""
    photo = _address_or_record(photo)
    if isinstance(photo, dict):
        path = Path(str(photo.get("path")))
    elif isinstance(photo, str) and UPLOADED in photo:
        path = Path(unquote(photo.partition(UPLOADED)[2]))
    else:
        return None
    return path if is_uploaded(path) else None


def _address_or_record(photo: Any) -> Any:
    """The address in a record that `gradio_client.handle_file` makes of an address, and else what was handed in."""
    path = photo.get("path") if isinstance(photo, dict) and photo.get("meta") else None
    return path if isinstance(path, str) and path.startswith(WEB) else photo
