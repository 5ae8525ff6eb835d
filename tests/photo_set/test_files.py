"""Which photos stand behind files and folders."""

import os
from pathlib import Path

import pytest

from cilf.photo_set.files import find_photos
from cilf.photo_set.pipeline import predict_paths
from tests.stand_in import CountingEstimator, picture


def names(paths: object) -> list[str]:
    return [name for name, _ in find_photos(paths)]


class TestFindPhotos:
    def test_a_folder_is_walked_in_the_order_of_names(self, tmp_path: Path) -> None:
        for name in ("b.jpg", "a/z.png", "a/B/1.webp", "c.HEIC", "a.JPG"):
            picture(tmp_path / "photos" / Path(name).with_suffix(".png")).rename(tmp_path / "photos" / name)
        folder = tmp_path / "photos"
        expected = ("a/B/1.webp", "a/z.png", "a.JPG", "b.jpg", "c.HEIC")
        assert names([folder]) == [str(folder / name) for name in expected]

    def test_names_start_with_the_folder_as_given(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        picture(tmp_path / "photos" / "in" / "a.png")
        monkeypatch.chdir(tmp_path)
        assert names(["./photos/"]) == ["./photos/in/a.png"]
        assert names(["."]) == ["./photos/in/a.png"]
        assert names(["photos/../photos/in/a.png"]) == ["photos/../photos/in/a.png"]

    def test_only_photos_are_taken_from_a_folder_and_nothing_hidden(self, tmp_path: Path) -> None:
        picture(tmp_path / "a.png")
        picture(tmp_path / ".hidden.png")
        picture(tmp_path / ".thumbnails" / "b.png")
        (tmp_path / "notes.txt").write_text("no photo")
        (tmp_path / "film.mp4").write_bytes(b"")
        (tmp_path / "folder.jpg").mkdir()
        assert names([tmp_path]) == [str(tmp_path / "a.png")]

    def test_a_named_file_is_taken_whatever_it_is(self, tmp_path: Path) -> None:
        (tmp_path / ".portrait").write_bytes(b"")
        assert names([tmp_path / ".portrait", "not there"]) == [str(tmp_path / ".portrait"), "not there"]

    def test_a_single_path_needs_no_list(self, tmp_path: Path) -> None:
        assert names(str(picture(tmp_path / "a.png"))) == [str(tmp_path / "a.png")]

    def test_rings_of_links_end(self, tmp_path: Path) -> None:
        picture(tmp_path / "a" / "1.png")
        (tmp_path / "a" / "up").symlink_to(tmp_path)
        (tmp_path / "a" / "self.png").symlink_to("self.png")
        (tmp_path / "a" / "other.png").symlink_to("1.png")
        listed = names([tmp_path])
        assert listed == [str(tmp_path / "a" / name) for name in ("1.png", "other.png", "self.png")]
        rows = list(predict_paths(CountingEstimator(), tmp_path))
        assert [row["status"] for row in rows] == ["no_face", "no_face", "unreadable"]

    def test_a_folder_that_is_itself_a_link_is_walked(self, tmp_path: Path) -> None:
        picture(tmp_path / "real" / "1.png")
        (tmp_path / "link").symlink_to("real")
        assert names([tmp_path / "link"]) == [str(tmp_path / "link" / "1.png")]

    def test_a_folder_that_may_not_be_listed_gives_a_row(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        picture(tmp_path / "a.png")
        picture(tmp_path / "locked" / "b.png")
        scandir = os.scandir

        def refuse_locked(folder: str) -> object:
            if folder.endswith("locked"):
                raise PermissionError(13, "Permission denied", folder)
            return scandir(folder)

        monkeypatch.setattr(os, "scandir", refuse_locked)
        rows = list(predict_paths(CountingEstimator(), tmp_path))
        assert [(row["path"], row["status"]) for row in rows] == [
            (str(tmp_path / "a.png"), "no_face"),
            (str(tmp_path / "locked"), "unreadable"),
        ]
