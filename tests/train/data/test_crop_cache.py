"""A crop cache says in a sentence what it cannot give."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from tests.train.made_up import subset as made_up
from train.__main__ import main
from train.data.attributes import MESH
from train.data.crop_cache import subset, with_mean_ages
from train.data.datasets import DatasetError
from train.studies.cross_dataset import measured_photos


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A folder of caches that holds one, of eight crops of 64 px."""
    data, folder = made_up(8).cache, tmp_path / "utkface"
    folder.mkdir()
    np.save(folder / "crops.npy", data.crops)
    samples = [asdict(sample) | {"path": str(sample.path)} for sample in data.samples]
    index = {"wanted": {"margin": data.margin}, "detected": [True] * 8, "samples": samples}
    (folder / "index.json").write_text(json.dumps(index))
    return tmp_path


def test_photos_whose_expressions_were_never_measured_are_other_data(cache: Path) -> None:
    """Captions name what was measured."""
    bare = subset(cache / "utkface", {"0.png": "train"}, "train")
    measured = replace(bare, cache=replace(bare.cache, mesh=np.zeros((8, len(MESH)), np.int8)))
    assert bare.fingerprint() == subset(cache / "utkface", {"0.png": "train"}, "train").fingerprint()
    assert bare.fingerprint() != measured.fingerprint()


def test_photos_that_no_split_names_are_not_measured(cache: Path) -> None:
    """`cross-dataset` without the split file of the set to measure on would take its test photos too."""
    photos = measured_photos(cache / "utkface", {"0.png": "tune", "1.png": "test"}, [])
    assert photos.rows.tolist() == [0]
    with pytest.raises(DatasetError, match="no photo of the parts other than test; give the --split file"):
        measured_photos(cache / "utkface", {"of another set.png": "tune"}, [])


def test_an_empty_part_is_refused(cache: Path) -> None:
    splits = {"0.png": "train", "7.png": "train"}
    assert subset(cache / "utkface", splits, "train").rows.tolist() == [0, 7]
    with pytest.raises(DatasetError, match=r"utkface holds no photo of the part 'tune'"):
        subset(cache / "utkface", splits, "tune")


@pytest.mark.parametrize("command", ["fit", "calibrate"])
def test_crops_smaller_than_what_a_recipe_sees_are_refused(
    command: str, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = cache / "split.csv"
    rows = [f"{row}.png,{part},{row}" for row, part in enumerate(("train", "held", "tune", "cal") * 2)]
    split.write_text("filename,split,group\n" + "\n".join(rows) + "\n")
    arguments = [command, "--recipe", "mtmsa", "--cache", str(cache), "--split", str(split)]
    assert main([*arguments, "--output", str(cache / "output")]) == 2
    said = capsys.readouterr().err
    assert "utkface are of 64 px, the recipe wants 112" in said
    assert "`prepare --size 112 --margin 14`" in said


def test_near_duplicates_are_trained_with_their_mean_age() -> None:
    part = made_up(4)
    ages = [sample.age for sample in part.samples]
    groups = {part.samples[0].name: "a", part.samples[2].name: "a", part.samples[3].name: "b"}
    averaged = [sample.age for sample in with_mean_ages(part, groups).samples]
    assert averaged == [(ages[0] + ages[2]) / 2, ages[1], (ages[0] + ages[2]) / 2, ages[3]]
    assert [sample.age for sample in part.samples] == ages


def test_a_person_keeps_the_ages_of_all_years() -> None:
    part = made_up(4)
    people = [replace(sample, subject="one person") for sample in part.cache.samples]
    part = replace(part, cache=replace(part.cache, samples=people))
    groups = {sample.name: "one person" for sample in people}
    assert with_mean_ages(part, groups).samples == part.samples
