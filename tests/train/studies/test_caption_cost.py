"""What captions with attributes cost: two trainings alike but for their captions."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cilf.checkpoint import load, read_config, save
from cilf.errors import UsageError
from tests import tiny
from tests.train import made_up
from tests.train.made_up import RECIPE
from tests.train.recipes import RECIPES
from train.__main__ import main
from train.data.batches import Batch
from train.data.datasets import DatasetError
from train.data.run_data import RunData
from train.fit import provenance
from train.fit.objective import build_system
from train.fit.targets import TextTargets
from train.studies import report
from train.studies.texts.caption_cost import caption_cost, compare, table

RICH = replace(RECIPE, loss=replace(RECIPE.loss, attributes=1.0))


def batch() -> Batch:
    photos = made_up.subset(8)
    pixels = torch.from_numpy(photos.cache.crops).permute(0, 3, 1, 2)[:, :, 8:72, 8:72].float() / 255
    flags = torch.zeros(8, dtype=torch.bool)
    return Batch(0, pixels, photos.samples, photos.rows, flipped=flags, covered=flags)


@pytest.mark.parametrize(("recipe", "named"), [(RICH, True), (RECIPE, False)])
def test_captions_name_attributes_only_where_the_loss_asks_for_them(
    recipe: made_up.Recipe, named: bool
) -> None:
    targets = build_system(recipe).targets(batch())
    assert isinstance(targets, TextTargets)
    assert (targets.attributes is not None) == named
    assert (targets.pair_ids is not None) == named
    assert any(caption.literals for caption in targets.captions) == named
    assert any(caption.age is not None for caption in targets.captions)


def test_the_cost_is_that_of_the_rich_captions_and_counts_groups_once() -> None:
    parts = [made_up.subset(16), made_up.subset(8)]
    truth = np.array([sample.age for part in parts for sample in part.samples])
    ages = {"plain": np.stack([truth + 0.5, truth - 1.5]), "rich": np.stack([truth - 1.5, truth + 1.5])}
    found = compare(parts, ages, {})
    assert found["photos"] == 24
    assert found["mae"] == pytest.approx({"plain": 1.0, "rich": 1.5})
    assert found["mae_by_seed"]["plain"] == pytest.approx([0.5, 1.5])
    assert found["cost"] == pytest.approx(0.5)
    assert found["cost_range"] == pytest.approx((0.5, 0.5))
    assert found["bands"]["60+"] == pytest.approx({"plain": 1.0, "rich": 1.5})


def test_captions_that_are_plain_already_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name no attributes"):
        caption_cost(RECIPE, RunData(tmp_path, {}, {"utkface": 1.0}), tmp_path)


@pytest.mark.training
def test_the_command_trains_both_and_its_figures_become_a_section(tmp_path: Path) -> None:
    write_cache(made_up.subset(48), tmp_path)
    (tmp_path / "rich.toml").write_text(RECIPES["cilf"] + "attributes = 1.0\n", encoding="utf-8")
    command = ["captions", "--recipe", str(tmp_path / "rich.toml"), "--cache", str(tmp_path / "crops")]
    command += ["--split", str(tmp_path / "split.csv"), "--run", str(tmp_path / "run"), "--seeds", "2"]
    assert main([*command, "--output", str(tmp_path / "captions.json")]) == 0
    found = json.loads((tmp_path / "captions.json").read_text(encoding="utf-8"))
    assert found["photos"] == 32
    assert found["mae"].keys() == found["areas"].keys() == {"plain", "rich"}
    assert len(found["mae_by_seed"]["rich"]) == found["seeds"] == 2
    assert (tmp_path / "run" / "rich-1" / "state.pt").is_file()
    assert table(found) in report.studies(tmp_path)
    shutil.rmtree(tmp_path / "run")
    for name in ("plain-1", "rich-1"):
        del found["runs"][name]
    (tmp_path / "captions.json").write_text(json.dumps(found), encoding="utf-8")
    assert main([*command, "--output", str(tmp_path / "captions.json")]) == 0
    assert {run.name for run in (tmp_path / "run").iterdir()} == {"plain-1", "rich-1"}
    again = json.loads((tmp_path / "captions.json").read_text(encoding="utf-8"))
    assert again["runs"].keys() == {"plain-0", "rich-0", "plain-1", "rich-1"}
    assert again["mae"] == pytest.approx(found["mae"])


@pytest.mark.training
def test_both_begin_from_the_weights_that_are_given(tmp_path: Path) -> None:
    write_cache(made_up.subset(48), tmp_path)
    start = tmp_path / "start"
    save(start, tiny.model(), tiny.ensemble(), tiny.CHECKPOINT)
    data = RunData.open(tmp_path / "crops", [tmp_path / "split.csv"], {"utkface": 1.0})
    found = caption_cost(RICH, data, tmp_path / "run", start=str(start))
    assert found["start_sha256"] == read_config(start).sha256
    for name in ("plain-0", "rich-0"):
        begun = provenance.read(tmp_path / "run" / name)
        assert begun["start_sha256"] == provenance.weights_sha256(load(start).model.state_dict())
    with pytest.raises(DatasetError, match="begun from other weights"):
        caption_cost(RICH, data, tmp_path / "run")


def write_cache(photos: made_up.Subset, folder: Path) -> None:
    """A crop cache and a split of a third each to learn from, held out and to choose on."""
    cache = folder / "crops" / "utkface"
    cache.mkdir(parents=True)
    np.save(cache / "crops.npy", photos.cache.crops)
    rows = [asdict(sample) | {"path": str(sample.path)} for sample in photos.samples]
    index = {"wanted": {"margin": 8}, "detected": [True] * len(rows), "samples": rows}
    (cache / "index.json").write_text(json.dumps(index), encoding="utf-8")
    parts = ("train", "held", "tune")
    lines = [f"{sample.name},{parts[row % 3]},{row}" for row, sample in enumerate(photos.samples)]
    (folder / "split.csv").write_text("\n".join(["filename,split,group", *lines]), encoding="utf-8")
