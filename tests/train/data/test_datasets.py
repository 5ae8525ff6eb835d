"""Readers of the data sets, on small trees of the published layout."""

from pathlib import Path

import pytest

from train.data.datasets import DATASETS, DatasetError, read_groups, read_split, select


def tree(root: Path, names: list[str]) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_utkface(tmp_path: Path) -> None:
    names = [
        "26_1_2_20170116184024662.jpg.chip.jpg",
        "110_0_0_20170113210318931.jpg.chip.jpg",
        "39_1_20170116174525125.jpg.chip.jpg",  # the race is missing in the published set
        "55_0_0_20170116232725357jpg.chip.jpg",  # and here a dot
        "61_3_20170109150557335.jpg.chip.jpg",  # and here the gender
        "24_0_1_20170116220224657 .jpg.chip.jpg",  # and here a space is too many
        "notes.txt",
        "not_a_face.jpg",
    ]
    found = {sample.name: sample for sample in DATASETS["utkface"].read(tree(tmp_path, names))}
    assert set(found) == set(names[:6])
    assert (found[names[4]].gender, found[names[4]].race) == (None, "indian")
    young = found[names[0]]
    assert (young.age, young.gender, young.race) == (26, "female", "asian")
    assert found[names[1]].age == 110
    assert found[names[2]].race is None


def test_all_age_faces(tmp_path: Path) -> None:
    names = [f"original images/{name}" for name in ("00000A02.jpg", "07380A17.jpg", "07381A80.jpg", "README")]
    found = DATASETS["all-age-faces"].read(tree(tmp_path, names))
    assert [(s.age, s.gender, s.race) for s in found] == [
        (2, "female", "asian"), (17, "female", "asian"), (80, "male", "asian")
    ]  # fmt: skip


@pytest.mark.parametrize("name", DATASETS)
def test_a_missing_root_names_what_was_looked_for(name: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="looked for"):
        DATASETS[name].read(tmp_path / "nowhere")


def test_splits(tmp_path: Path) -> None:
    path = tmp_path / "split.csv"
    path.write_text("filename,split,group\n00000A02.jpg,train,g1\n07380A17.jpg,test,g2\n")
    samples = DATASETS["all-age-faces"].read(
        tree(tmp_path, ["original images/00000A02.jpg", "original images/07380A17.jpg"])
    )
    assert [s.name for s in select(samples, read_split(path), "test")] == ["07380A17.jpg"]
    path.write_text("file;part\n")
    with pytest.raises(DatasetError, match="lacks"):
        read_split(path)
    with pytest.raises(DatasetError, match="does not exist"):
        read_split(tmp_path / "none.csv")


def test_photos_without_a_group_are_in_none(tmp_path: Path) -> None:
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_text("filename,split,group\na.jpg,train,7\nb.jpg,train,\nc.jpg,train,\n")
    second.write_text("filename,split,group\nd.jpg,train,7\n")
    assert read_groups([first, second]) == {"a.jpg": "0/7", "d.jpg": "1/7"}


def test_a_group_in_two_parts_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "split.csv"
    path.write_text("filename,split,group\na.jpg,train,7\nb.jpg,test,7\n")
    with pytest.raises(DatasetError, match="puts the group '7' into the parts 'train' and 'test'"):
        read_groups([path])


@pytest.mark.parametrize("age", ["nan", "-1", "1985", "inf", "old"])
def test_what_is_no_age_is_refused(tmp_path: Path, age: str) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    (tmp_path / "ages.csv").write_text(f"filename,age\na.jpg,{age}\n")
    with pytest.raises(DatasetError, match=r"gives no age from 0 to 130 years for 'a.jpg'"):
        DATASETS["own"].read(tmp_path)
