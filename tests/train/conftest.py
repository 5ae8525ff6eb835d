"""What tests of the training package share."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from tests.train.recipes import RECIPES
from train.__main__ import main
from train.calibrate.predictions import PROPOSED

PARTS = ("train", "train", "held", "tune", "cal", "test")


@pytest.fixture(scope="session")
def prepared(
    tmp_path_factory: pytest.TempPathFactory, grace_hopper: np.ndarray, eileen_collins: np.ndarray
) -> Path:
    """UTKFace's layout: 36 chips cut from the two portraits, with made-up labels; a split, a recipe, and the crops that
    `prepare` makes, which takes longer than any training on them."""
    root = tmp_path_factory.mktemp("prepared")
    chips = [
        Image.fromarray(grace_hopper).crop((150, 60, 390, 300)),
        Image.fromarray(eileen_collins).crop((135, 20, 315, 200)),
    ]
    folder = root / "UTKFace"
    folder.mkdir()
    rows = ["filename,split,group"]
    for index in range(36):
        name = f"{10 + 2 * index}_{index % 2}_{index % 5}_2017010100000{index:04}.jpg.chip.jpg"
        chips[index % 2].resize((200, 200)).rotate(index % 7 - 3).save(folder / name)
        rows.append(f"{name},{PARTS[index % len(PARTS)]},g{index}")
    (root / "split.csv").write_text("\n".join(rows) + "\n")
    (root / "tiny.toml").write_text(RECIPES["cilf"])
    arguments = ["--data", f"utkface={folder}", "--cache", str(root / "crops"), "--processes", "1"]
    assert main(["prepare", *arguments, "--size", "48", "--margin", "6"]) == 0
    return root


@pytest.fixture
def work(prepared: Path, tmp_path: Path) -> Path:
    """A test's own copy of the photos, split, recipe and crops."""
    return shutil.copytree(prepared, tmp_path / "work")


@pytest.fixture
def quick_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few steps of the error ensemble, few views, few rules of correction and no curves in the run's report, for tests
    that are not about them."""
    monkeypatch.setattr("train.calibrate.error_ensemble.STEPS", 5)
    monkeypatch.setattr("train.calibrate.error_ensemble.COSTS", (0.0, 0.02))
    monkeypatch.setattr("train.calibrate.error_ensemble.ACCEPTED", (0.5, 0.75))
    monkeypatch.setattr("train.calibrate.error_ensemble.TRUSTS", (0.5,))
    monkeypatch.setattr("train.calibrate.intervals.HALVINGS", 4)
    monkeypatch.setattr("train.calibrate.calibrate.PROPOSED", PROPOSED[:2])
    monkeypatch.setattr("train.calibrate.run_report._curves", lambda *_: Figure())
