"""The face detector's model file: where it may lie, and how it comes there."""

import hashlib
import os
import tempfile
import urllib.request
from contextlib import suppress
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path

from platformdirs import user_cache_path

from cilf.errors import DetectorError

VARIABLE = "CILF_FACE_MODEL"

URL = (
    "https://storage.googleapis.com/mediapipe-models/face_detector/"
    "blaze_face_short_range/float16/1/blaze_face_short_range.tflite"
)

# Of the published file, 229,746 bytes; independent projects that pin it agree on the hash, and the address is that of a
# fixed version. The wheels of mediapipe below 0.10.30 carry the model in 229,714 bytes, with another hash.
SHA256 = "b4578f35940bf5a1a655214a1cce5cab13eba73c1297cd78e1a04c2380b0152f"

_IN_WHEEL = Path("modules", "face_detection", "face_detection_short_range.tflite")
_TIMEOUT = 30  # seconds without an answer


def face_model(path: str | Path | None = None) -> bytes:
    """Give the detector's model: a `.tflite` file with BlazeFace short range.

    The first of these that there is: `path`; the file that the environment variable CILF_FACE_MODEL names; the file in
    the installed mediapipe wheel; the file in the user's cache, downloaded once from Google and checked by SHA-256.

    Raises:
        DetectorError: a named file cannot be read, or the model is nowhere and cannot be downloaded.
    """
    if path is not None:
        return _read(Path(path), "the face detector's model")
    if named := os.environ.get(VARIABLE):
        return _read(Path(named), f"the face detector's model, named by {VARIABLE},")
    in_wheel = _wheel_file()
    if in_wheel is not None:
        return in_wheel.read_bytes()
    return _cached()


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DetectorError(
            f"{what} cannot be read from '{path}' ({error.strerror}); give the path of a copy of {URL}"
        ) from error


def _wheel_file() -> Path | None:
    """The model inside the installed mediapipe package, found without the second that importing it takes."""
    spec = find_spec("mediapipe")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (file := Path(folder) / _IN_WHEEL).is_file():
            return file
    return None


def _cached() -> bytes:
    file = user_cache_path("cilf") / URL.rpartition("/")[2]
    if file.is_file() and _is_published(model := file.read_bytes()):
        return model
    model = _download()
    with suppress(OSError):  # a cache that cannot be written costs a download each time, nothing more
        _write_whole(file, model)
    return model


def _download() -> bytes:
    way_out = f"copy {URL} by hand and name the copy in the environment variable {VARIABLE} or as face_model"
    try:
        with urllib.request.urlopen(URL, timeout=_TIMEOUT) as answer:
            model = bytes(answer.read())
    except (
        OSError,
        HTTPException,
    ) as error:  # urllib's own errors and time-outs are OSErrors; a cut answer is not
        raise DetectorError(f"the face detector's model cannot be downloaded ({error}); {way_out}") from error
    if not _is_published(model):
        raise DetectorError(
            f"the face detector's model came damaged or changed from the network ({len(model)} bytes); {way_out}"
        )
    return model


def _is_published(model: bytes) -> bool:
    return hashlib.sha256(model).hexdigest() == SHA256


def _write_whole(file: Path, content: bytes) -> None:
    """Write beside the place and rename, so that no other program ever sees half a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=file.parent, prefix=file.name, delete=False) as part:
        part.write(content)
    Path(part.name).replace(file)
