"""Photos out of a zip file, whatever somebody packed into it."""

import io
import struct
import zipfile
from pathlib import Path

import pytest

from cilf.demo.uploads import zip_archive as archive
from cilf.demo.uploads.zip_archive import Archive
from cilf.errors import PhotoError
from tests.demo.conftest import pixels
from tests.stand_in import packed, png


def names(file: io.BytesIO) -> list[str]:
    return [photo.name for photo in Archive(file, "a.zip").photos()]


def test_photos_come_in_the_order_of_names_and_the_rest_is_passed_over() -> None:
    members = ["b/2.JPG", "a.png", "b/1.heic", "notes.txt", ".hidden.jpg", "b/.cache/3.jpg"]
    members += ["__MACOSX/b/._2.jpg", "__MACOSX/2.jpg", "empty/", "inner.zip"]
    file = packed({name: b"x" for name in members if not name.endswith("/")} | {"empty/": b""})
    assert names(file) == ["a.zip/a.png", "a.zip/b/1.heic", "a.zip/b/2.JPG"]


def test_a_member_is_opened_as_a_photo() -> None:
    [member] = Archive(packed({"a.png": png(7)}), "a.zip").photos()
    assert pixels(member).shape == (48, 64, 3)
    assert pixels(member)[0, 0, 0] == 7


def test_names_that_lead_out_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    file = packed({"../../evil.png": png(), "/tmp/cilf-evil.png": png(), "c:\\evil.png": png()})
    photos = list(Archive(file, "a.zip").photos())
    assert len(photos) == 3
    assert all(pixels(member).any() in (True, False) for member in photos)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert not Path("/tmp/cilf-evil.png").exists()


@pytest.mark.parametrize("content", [b"", b"PK", b"hello" * 100, packed({"a.png": png()}).getvalue()[:-30]])
def test_what_is_no_zip_file_gives_a_sentence(content: bytes) -> None:
    with pytest.raises(PhotoError, match=r"holiday\.zip.*pack it again"):
        Archive(io.BytesIO(content), "holiday.zip")


def test_without_a_photo_there_is_nothing_to_do() -> None:
    with pytest.raises(PhotoError, match="no photo was found"):
        Archive(packed({"notes.txt": b"x"}), "a.zip")


def test_a_bomb_is_read_no_further_than_a_photo_may_be_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_PHOTO", 5 << 20)
    file = packed({"bomb.png": bytes(60 << 20), "fine.png": png(1)})
    assert len(file.getvalue()) < 100_000
    bomb, fine = Archive(file, "a.zip").photos()
    with pytest.raises(PhotoError, match=r"a\.zip/bomb\.png.*larger than 5 MB"):
        pixels(bomb)
    assert pixels(fine)[0, 0, 0] == 1


def test_a_member_that_lies_about_its_size_is_bounded_too() -> None:
    content = bytearray(packed({"bomb.png": bytes(60 << 20)}).getvalue())
    size = struct.pack("<I", 60 << 20)
    start = content.index(b"PK\x01\x02")
    at = content.index(size, start)
    content[at : at + 4] = struct.pack("<I", 1000)
    [bomb] = Archive(io.BytesIO(bytes(content)), "a.zip").photos()
    with pytest.raises(PhotoError, match="damaged"):
        pixels(bomb)


def test_too_much_in_all_and_too_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    file = packed({f"{number}.png": bytes(1000) for number in range(20)})
    monkeypatch.setattr(archive, "MAX_MEMBERS", 19)
    with pytest.raises(PhotoError, match="more than 19 photos"):
        Archive(file, "a.zip")
    monkeypatch.undo()
    monkeypatch.setattr(archive, "MAX_UNPACKED", 19_999)
    with pytest.raises(PhotoError, match="unpack to more than"):
        Archive(file, "a.zip")
    monkeypatch.undo()
    monkeypatch.setattr(archive, "MAX_LIST", 500)  # a list of members is read at once
    with pytest.raises(PhotoError, match="photos; split it"):
        Archive(file, "a.zip")


def test_locked_and_strangely_packed_members_say_so() -> None:
    content = bytearray(packed({"a.png": png()}).getvalue())
    start = content.index(b"PK\x01\x02")
    content[start + 8] |= 1  # the flag of a password
    [locked] = Archive(io.BytesIO(bytes(content)), "a.zip").photos()
    with pytest.raises(PhotoError, match="password"):
        pixels(locked)
    [strange] = Archive(packed({"a.png": png()}, zipfile.ZIP_LZMA), "a.zip").photos()
    with pytest.raises(PhotoError, match="uncommon"):
        pixels(strange)
