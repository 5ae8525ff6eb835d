"""Uploads are read and removed, and what is shown travels without a file."""

import base64
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cilf.demo.uploads import images
from cilf.errors import PhotoError
from tests.demo.conftest import pixels


def test_an_upload_is_read_and_removed(tmp_path: Path, photo: np.ndarray) -> None:
    file = tmp_path / "upload" / "me.png"
    file.parent.mkdir()
    Image.fromarray(photo).save(file)
    upload = images.Upload.from_payload({"path": str(file), "orig_name": "me.png", "url": "/file=me.png"})
    assert upload is not None
    assert np.array_equal(pixels(upload), photo)
    assert not file.parent.exists()


def test_a_broken_upload_is_removed_and_named_as_the_visitor_names_it(tmp_path: Path) -> None:
    file = tmp_path / "upload" / "3f2a.jpg"
    file.parent.mkdir()
    file.write_text("hello")
    upload = images.Upload.from_file("holiday.jpg", file)
    with pytest.raises(PhotoError, match="holiday") as caught:
        pixels(upload)
    assert str(tmp_path) not in str(caught.value)
    assert not file.parent.exists()


def test_a_vanished_upload_gives_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="me"):
        pixels(images.Upload.from_file("me.jpg", tmp_path / "gone" / "me.jpg"))


def test_what_is_shown_can_be_read_back(photo: np.ndarray) -> None:
    smooth = np.full_like(photo, 90)
    payload = images.shown(smooth)
    upload = images.Upload.from_payload(payload)
    assert upload is not None
    assert np.abs(pixels(upload).astype(int) - smooth).max() <= 2


@pytest.mark.parametrize(
    "url",
    [
        "data:image/jpeg;base64,!!",
        "data:image/jpeg;base64,ü",
        "data:image/jpeg;base64,aGVsbG8=",
        "data:",
    ],
)
def test_an_address_without_a_picture_gives_a_sentence(url: str) -> None:
    upload = images.Upload.from_payload({"path": None, "url": url, "orig_name": "x"})
    assert upload is not None
    with pytest.raises(PhotoError):
        pixels(upload)


def test_an_address_is_bounded_before_it_is_decoded() -> None:
    ten = "data:;base64," + base64.b64encode(b"0123456789").decode()
    assert images.decode_address(ten, "x", 10) == b"0123456789"
    with pytest.raises(PhotoError, match="larger"):
        images.decode_address(ten, "x", 9)
    with pytest.raises(PhotoError, match="larger"):
        images.decode_address("data:;base64," + "!" * 20, "x", 9)


def test_the_empty_area_is_no_upload() -> None:
    assert images.Upload.from_payload(None) is None


def test_no_other_file_of_this_computer_is_read_or_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    file = tmp_path / "private.png"
    Image.new("RGB", (64, 48)).save(file)
    upload = images.Upload.from_payload({"path": str(file), "orig_name": "me.png"})
    assert upload is not None
    assert upload.data == b""
    with pytest.raises(PhotoError, match="me"):
        pixels(upload)
    assert file.exists()
