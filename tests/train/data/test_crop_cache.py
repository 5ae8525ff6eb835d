"""A crop cache says in a sentence what it cannot give."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from tests.train.made_up import subset as made_up
from train.__main__ import main
from train.data.crop_cache import subset
from train.data.datasets import DatasetError


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


def test_an_empty_part_is_refused(cache: Path) -> None:
    splits = {"0.jpg": "train", "7.jpg": "train"}
    assert subset(cache / "utkface", splits, "train").rows.tolist() == [0, 7]
    with pytest.raises(DatasetError, match=r"utkface holds no photo of the part 'tune'"):
        subset(cache / "utkface", splits, "tune")


@pytest.mark.parametrize("command", ["fit", "calibrate"])
def test_crops_smaller_than_what_a_recipe_sees_are_refused(
    command: str, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = cache / "split.csv"
    rows = [f"{row}.jpg,{part},{row}" for row, part in enumerate(("train", "held", "tune", "cal") * 2)]
    split.write_text("filename,split,group\n" + "\n".join(rows) + "\n")
    arguments = [command, "--recipe", "mtmsa", "--cache", str(cache), "--split", str(split)]
    assert main([*arguments, "--output", str(cache / "output")]) == 2
    said = capsys.readouterr().err
    assert "utkface are of 64 px, the recipe wants 112" in said
    assert "`prepare --size 112 --margin 14`" in said
