"""What lies beside a checkpoint's weights is read only so far, and by no link that leads elsewhere."""

from pathlib import Path

import pytest

from cilf.untrusted import small_file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "secret").write_text("password")
    return tmp_path / "checkpoint"


def test_a_file_of_its_own(folder: Path) -> None:
    card = folder / "README.md"
    assert small_file.read(card, 10) is None
    card.write_text("0123456789")
    assert small_file.read(card, 10) == b"0123456789"


def test_more_than_may_be_is_left_out_unread(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with (folder / "README.md").open("wb") as file:
        file.truncate(1 << 40)  # a terabyte of nothing
    assert small_file.read(folder / "README.md", 1 << 20) is None
    assert "README.md' is no file of at most 1,048,576 bytes; it is left out" in caplog.text


@pytest.mark.parametrize("target", ["../secret", "/proc/self/environ", "../nowhere", "README.md"])
def test_a_link_that_leads_elsewhere_is_left_out(folder: Path, target: str) -> None:
    (folder / "README.md").symlink_to(target)
    assert small_file.read(folder / "README.md", 1 << 20) is None


def test_a_folder_is_left_out(folder: Path) -> None:
    (folder / "README.md").mkdir()
    assert small_file.read(folder / "README.md", 1 << 20) is None


def test_links_of_the_hub_s_cache_are_followed(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "0123"
    for each in (blobs, snapshot):
        each.mkdir(parents=True)
    (blobs / "abcd").write_text("card")
    (snapshot / "README.md").symlink_to("../../blobs/abcd")
    assert small_file.read(snapshot / "README.md", 10) == b"card"
