"""A file that could not be written to its end is not there."""

from pathlib import Path

import pytest

from train.files import written_whole


def test_a_file_takes_its_place_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "values.npz"
    path.write_text("earlier")

    def interrupted() -> None:
        with written_whole(path) as partial:
            partial.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "earlier"
    with written_whole(path) as partial:
        partial.write_text("whole")
    assert path.read_text() == "whole"
    assert [each.name for each in tmp_path.iterdir()] == ["values.npz"]
