"""What a run that was stopped leaves for the next one."""

import json
from pathlib import Path

import pytest

from cilf.errors import UsageError
from cilf.photo_set.journal import Journal

MADE_BY = {"weights": "0123", "no_face": "skip"}


def rows_of(name: str, faces: int = 1) -> list[dict[str, object]]:
    return [{"path": name, "face": number, "age": 30.123456789012345} for number in range(faces)]


def leave(output: Path, *names: str) -> Path:
    """Write down some photos as a run does that is stopped then; gives the journal's path."""
    with Journal(output, MADE_BY) as journal:
        assert journal.resume(names) == 0
        for name in names:
            journal.add(rows_of(name, faces=2))
    return journal.path


def test_the_next_run_goes_on_after_what_is_done(tmp_path: Path) -> None:
    output = tmp_path / "ages.csv"
    leave(output, "a", "caf\udce9")
    with Journal(output, MADE_BY) as journal:
        assert journal.resume(["a", "caf\udce9", "c"]) == 2
        journal.add(rows_of("c"))
        assert list(journal.rows()) == rows_of("a", 2) + rows_of("caf\udce9", 2) + rows_of("c")
        journal.remove()
    assert list(tmp_path.iterdir()) == []


def test_results_are_on_the_disk_as_they_come(tmp_path: Path) -> None:
    with Journal(tmp_path / "ages.csv", MADE_BY) as journal:
        journal.resume(["a"])
        journal.add(rows_of("a"))
        assert json.loads(journal.path.read_text().splitlines()[1]) == rows_of("a")


@pytest.mark.parametrize("cut", [1, 10])
def test_a_line_that_was_cut_off_is_done_again(tmp_path: Path, cut: int) -> None:
    path = leave(tmp_path / "ages.csv", "a", "b")
    path.write_bytes(path.read_bytes()[:-cut])
    with Journal(tmp_path / "ages.csv", MADE_BY) as journal:
        assert journal.resume(["a", "b"]) == 1
        assert list(journal.rows()) == rows_of("a", 2)


def test_a_first_line_that_was_cut_off_is_written_again(tmp_path: Path) -> None:
    path = leave(tmp_path / "ages.csv", "a")
    path.write_bytes(path.read_bytes()[:5])
    with Journal(tmp_path / "ages.csv", MADE_BY) as journal:
        assert journal.resume(["a"]) == 0
        journal.add(rows_of("a"))
    with Journal(tmp_path / "ages.csv", MADE_BY) as journal:
        assert journal.resume(["a"]) == 1


def test_damage_is_done_again(tmp_path: Path) -> None:
    path = leave(tmp_path / "ages.csv", "a", "b")
    header, first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(header + first + b"\0" * (len(second) - 1) + b"\n")
    with Journal(tmp_path / "ages.csv", MADE_BY) as journal:
        assert journal.resume(["a", "b"]) == 1


def test_from_the_first_photo_that_differs_all_is_done_again(tmp_path: Path) -> None:
    leave(tmp_path / "ages.csv", "a", "c", "d")
    with Journal(tmp_path / "ages.csv", MADE_BY) as journal:
        assert journal.resume(["a", "b", "c", "d"]) == 1
        assert list(journal.rows()) == rows_of("a", 2)


def test_results_of_other_weights_are_neither_mixed_nor_lost(tmp_path: Path) -> None:
    path = leave(tmp_path / "ages.csv", "a")
    content = path.read_bytes()
    with pytest.raises(UsageError, match=r"ages\.partial\.jsonl.* other weights or settings"):
        Journal(tmp_path / "ages.csv", MADE_BY | {"weights": "4567"})
    assert path.read_bytes() == content


def test_nothing_is_left_where_nothing_was_done(tmp_path: Path) -> None:
    leave(tmp_path / "ages.csv")
    assert list(tmp_path.iterdir()) == []


def test_two_runs_do_not_write_one_table(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    with Journal(tmp_path / "ages.csv", MADE_BY) as journal:
        journal.resume(["a", "b"])
        journal.add(rows_of("a"))
        with pytest.raises(UsageError, match="another run is writing"):
            Journal(tmp_path / "ages.csv", MADE_BY)
        journal.add(rows_of("b"))
        assert list(journal.rows()) == rows_of("a") + rows_of("b")
    with Journal(tmp_path / "ages.csv", MADE_BY) as journal:
        assert journal.resume(["a", "b"]) == 2
