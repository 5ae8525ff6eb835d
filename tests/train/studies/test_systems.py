"""The comparison of systems: rows that share everything but what is compared, and a document that types no figure."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cilf.checkpoint import load, save
from cilf.inference.error_models import GaussianError
from cilf.model.nodes import GridTrunk
from tests import tiny
from tests.train.made_up import subset
from tests.train.recipes import RECIPES
from train.__main__ import main
from train.data.datasets.base import DatasetError
from train.fit.provenance import weights_sha256
from train.fit.recipe import read_recipe
from train.studies.systems import end_to_end, frozen, report
from train.studies.systems.frozen import (
    CONTROL,
    GRAPH_OFF,
    ROWS,
    UNMASKED,
    WALK,
    Fit,
    Grids,
    HeadRow,
    Run,
    Stored,
    extract,
    make_all,
)
from train.studies.systems.report import end_to_end_rows, frozen_rows
from train.studies.systems.report import read as read_systems

ROOT = Path(__file__).parents[3]
SYSTEMS = ("systems/control", "lra-gnn", "mcgrl", "systems/cilf-one-stage")


def test_the_systems_share_photos_augmentation_and_schedule() -> None:
    recipes = [read_recipe(name) for name in SYSTEMS]
    first = recipes[0]
    assert first.fit.sizes[-1][1] == first.model.image_size
    assert first.fit.trunk_of_start
    for recipe in recipes[1:]:
        assert recipe.model.image_size == first.model.image_size
        assert recipe.shares == first.shares
        assert recipe.augment == first.augment
        assert recipe.trunk == first.trunk
        assert recipe.mirror == first.mirror
        # As many minutes, so perhaps not as many epochs.
        assert replace(recipe.fit, rates={}, epochs=0) == replace(first.fit, rates={}, epochs=0)
        assert not recipe.distils
        rates = [rate for name, rate in recipe.fit.rates.items() if "trunk" in name]
        assert rates == [0.5]


def test_every_row_is_compared_with_one_before_it() -> None:
    earlier: set[str] = {""}
    for name, row in ROWS.items():
        assert row.versus in earlier
        earlier.add(name)


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.versus and row.changed])
def test_a_row_differs_from_its_reference_in_what_it_says(name: str) -> None:
    """In those fields of the network alone; rows against the control are of another network."""
    row = ROWS[name]
    own, reference = (frozen._recipe(each) for each in (row, ROWS[row.versus]))
    if type(own.model) is type(reference.model) and row.versus != CONTROL:
        before, after = asdict(reference.model), asdict(own.model)
        assert {key for key in before if before[key] != after[key]} <= row.changed.keys()
        assert replace(own, model=reference.model) == reference
    assert {key: getattr(own.model, key) for key in row.changed} == row.changed


def grids(count: int = 12) -> Grids:
    generator = torch.Generator().manual_seed(0)
    fine, coarse = (
        torch.randn(2, count, channels, side, side, generator=generator).half()
        for channels, side in ((192, 4), (96, 2))
    )
    return Grids(fine, coarse, subset(count).samples)


def stored_grids(folder: Path) -> Stored:
    """The same photos as all parts, stored as `extract` stores them."""
    made = grids()
    parts = ("train", "held", "tune")
    for part in parts:
        torch.save(("of these photos", made.fine, made.coarse), folder / f"grids-{part}.pt")
    return Stored(folder, dict.fromkeys(parts, made.samples))


@pytest.fixture
def recipes(tmp_path: Path) -> dict[str, str]:
    files = {}
    for kind, text in RECIPES.items():
        path = tmp_path / f"{kind}.toml"
        path.write_text(text)
        files[kind] = str(path)
    return files


@pytest.mark.training
def test_a_row_is_fitted_once_and_its_seed_decides(recipes: dict[str, str], tmp_path: Path) -> None:
    stored = stored_grids(tmp_path)
    recipe = frozen._recipe(HeadRow(recipes["lra-gnn"]))
    fits = [Fit(recipe, seed, 2, tmp_path / f"{name}.pt") for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    make_all(fits[:1], stored, 1)
    written = fits[0].stored.stat().st_mtime_ns
    make_all(fits, stored, 2)  # two processes beside each other, with one thread each
    first, same, other = (fit.run(walked=True).errors for fit in fits)
    assert fits[0].stored.stat().st_mtime_ns == written
    assert first.shape == (12,)
    assert first == pytest.approx(same, abs=1e-3)
    assert first != pytest.approx(other, abs=1e-3)


@pytest.mark.training
def test_a_walk_and_the_regression_before_it_are_read_of_one_fit(
    recipes: dict[str, str], tmp_path: Path
) -> None:
    fit = Fit(frozen._recipe(HeadRow(recipes["lra-gnn"])), 0, 2, tmp_path / "a.pt")
    make_all([fit], stored_grids(tmp_path), 1)
    walked, regression = (fit.run(walked=walked) for walked in (True, False))
    walk = tiny.lra_gnn().head.walk
    assert walked.parameters == regression.parameters + sum(value.numel() for value in walk.parameters())
    assert (2 * walked.errors % 1 == 0).all()  # the mean of two whole years
    assert not (2 * regression.errors % 1 == 0).all()


@torch.no_grad()
def test_stored_grids_are_the_cells_of_the_trunk(tmp_path: Path) -> None:
    model, data = tiny.lra_gnn(), subset(5)
    assert isinstance(model.grid, GridTrunk)
    extract(model.grid, 64, {"tune": [data]}, tmp_path)
    stored = Stored(tmp_path, {"tune": data.samples}).read()["tune"]
    crops = torch.from_numpy(data.cache.crops[:, 8:-8, 8:-8].copy()).permute(0, 3, 1, 2).float() / 255
    photo = torch.arange(5)
    for view, pixels in ((0, crops), (1, crops.flip(-1))):
        cells = stored.cells(torch.full_like(photo, view), photo)
        torch.testing.assert_close(cells, model.cells(pixels), atol=0.05, rtol=0.05)


def test_the_frozen_table_knows_a_gain_from_chance() -> None:
    generator = np.random.default_rng(0)
    hard = generator.exponential(5, 300)
    noise = [Run(hard + generator.normal(0, 0.3, 300), 10) for _ in range(3)]
    runs = {CONTROL: noise, "better": [Run(run.errors * 0.8, 20) for run in noise]}
    units = [f"group {index // 2}" for index in range(300)]
    control, better = frozen_rows(runs, {CONTROL: "", "better": CONTROL}, units)
    assert "gain" not in control
    assert 0 < better["gain"]["gain_range"][0] < better["gain"]["gain"]
    assert better["mae"] == pytest.approx(0.8 * control["mae"])


def test_what_one_seed_alone_gains_is_chance_to_the_frozen_table() -> None:
    """All photos get better with one seed and none with the other: over photos alone that would be sure."""
    before = [Run(np.full(100, 5.0), 10)] * 2
    runs = {CONTROL: before, "lucky": [Run(np.full(100, 4.0), 10), Run(np.full(100, 5.2), 10)]}
    _, lucky = frozen_rows(runs, {CONTROL: "", "lucky": CONTROL}, [str(index) for index in range(100)])
    low, high = lucky["gain"]["gain_range"]
    assert low < 0 < lucky["gain"]["gain"] < high


def test_a_variant_is_compared_with_the_same_seeds() -> None:
    before = [Run(np.full(100, error), 10) for error in (5.0, 7.0)]
    runs = {CONTROL: before, "variant": [Run(np.full(100, 4.0), 10)]}
    _, variant = frozen_rows(runs, {CONTROL: "", "variant": CONTROL}, [str(index) for index in range(100)])
    assert (variant["seeds"], variant["gain"]["gain"]) == (1, pytest.approx(1.0))


def test_no_question_is_answered_by_a_variant() -> None:
    assert not [name for name, _ in report.QUESTIONS.values() if name in ROWS and ROWS[name].variant]


def test_near_duplicates_count_as_one_to_the_frozen_table() -> None:
    error = np.random.default_rng(0).exponential(5, 40).repeat(10)
    runs = {CONTROL: [Run(error, 1)], "other": [Run(error[::-1].copy(), 1)]}
    spans = []
    for units in ([str(index) for index in range(400)], [str(index // 10) for index in range(400)]):
        _, row = frozen_rows(runs, {CONTROL: "", "other": CONTROL}, units)
        low, high = row["gain"]["gain_range"]
        spans.append(high - low)
    assert spans[1] > 2 * spans[0]


@pytest.mark.parametrize(
    ("name", "gain", "ends", "answer"),
    [
        (WALK, 0.1, (0.05, 0.15), "Does its walk? yes: +0.100 years (+0.050 to +0.150)."),
        (GRAPH_OFF, 0.1, (0.05, 0.15), "graph earn anything? no, it costs: −0.100 years (−0.150 to −0.050)."),
        (UNMASKED, -0.1, (-0.3, 0.1), "Does its masking? not that one could tell it from chance: +0.100"),
    ],
)
def test_each_question_gets_its_answer(
    name: str, gain: float, ends: tuple[float, float], answer: str
) -> None:
    assert answer in report._answers([{"name": name, "gain": {"gain": gain, "gain_range": ends}}])


def test_end_to_end_rows_are_compared_on_the_same_photos() -> None:
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame({"name": list("abcd"), "truth": [10.0, 20, 30, 70], "age": [12.0, 22, 32, 72]})
    cost: dict[str, Any] = {"reading": "", "minutes": None}
    measured = [
        {"name": "control", **cost, "predictions": table},
        {"name": "LRA-GNN", **cost, "predictions": table[::-1].assign(age=table["truth"] + 1)},
    ]
    _, row = end_to_end_rows(measured, {})
    assert row["mae"] == pytest.approx(1)
    assert row["gain_over_control"]["gain"] == pytest.approx(1)
    assert row["bands"]["0–12"] == {"count": 1, "mae": pytest.approx(1)}


def test_what_a_part_gains_is_read_of_the_system_with_and_without_it() -> None:
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame({"name": list("abcd"), "truth": [10.0, 20, 30, 70], "age": [12.0, 22, 32, 72]})
    readings = {"": table.assign(age=table["truth"] + 1), "without the walk": table[::-1]}
    measured = [{"name": "control", "reading": "", "predictions": table}] + [
        {"name": "LRA-GNN", "reading": what, "predictions": each} for what, each in readings.items()
    ]
    *_, whole, part = end_to_end_rows(measured, {})
    assert "gain_of_the_whole" not in whole
    assert part["gain_of_the_whole"]["gain"] == pytest.approx(1)
    assert report._gains([whole, part]).startswith(
        "- LRA-GNN (compact rebuild) against itself without the walk: gain +1.00 ("
    )


def started_from_trunk(recipe: Path) -> str:
    """The recipe in a file of its own, with the trunk of a checkpoint to start from."""
    path = recipe.with_name(f"started-{recipe.name}")
    path.write_text(recipe.read_text().replace("[fit]\n", "[fit]\ntrunk_of_start = true\n"))
    return str(path)


@pytest.fixture
def small(recipes: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tiny systems and few rows; all but the trunk start from it."""
    own = {"control": "control", "LRA-GNN": "lra-gnn", "MCGRL": "mcgrl", "CILF": "cilf"}
    started = {name: started_from_trunk(Path(recipes[kind])) for name, kind in own.items()}
    monkeypatch.setattr(end_to_end, "RECIPES", {end_to_end.TRUNK: recipes["control"], **started})
    monkeypatch.setattr(end_to_end, "LOADED", {})
    monkeypatch.setattr(end_to_end, "RUNS", 1)
    rows = {
        CONTROL: HeadRow(recipes["control"], ""),
        "LRA-GNN": HeadRow(recipes["lra-gnn"]),
        "MCGRL, graph off": HeadRow(recipes["mcgrl"], CONTROL, {"graph": False}, variant=True),
    }
    monkeypatch.setattr(frozen, "ROWS", rows)
    monkeypatch.setattr(frozen, "CILF_RECIPE", recipes["cilf"])
    monkeypatch.setattr("train.studies.systems.comparison.CONTROL_RECIPE", recipes["control"])
    return


@pytest.mark.training
@pytest.mark.slow
@pytest.mark.usefixtures("small", "quick_calibration")
def test_one_command_makes_the_table(work: Path) -> None:
    cache, split = ["--cache", str(work / "crops")], ["--split", str(work / "split.csv")]
    data = ["--data", f"utkface={work / 'UTKFace'}"]
    assert main(["prepare", *data, *cache, "--size", "48", "--margin", "6", "--processes", "1"]) == 0
    output = work / "output"
    output.mkdir()
    command = ["compare-systems", *data, *cache, *split, "--run", str(work / "runs"), "--output", str(output)]
    command += ["--seeds", "2", "--variant-seeds", "1", "--steps", "2", "--epochs", "1", "--processes", "1"]
    assert main(command) == 0
    text = (output / "SYSTEMS.md").read_text()
    for name in (
        "control",
        "LRA-GNN (compact rebuild), without the walk",
        "MCGRL (compact rebuild)",
        "CILF, without correction",
        "MCGRL (compact rebuild), graph off",
    ):
        assert f"| {name} |" in text
    assert "fitted 2 times, a variant 1 times, for 2 steps of 32 photos" in " ".join(text.split())
    seeds = {row["name"]: row["seeds"] for row in read_systems(output / "SYSTEMS.json")["frozen"]}
    assert seeds == dict.fromkeys(seeds, 2) | {"MCGRL, graph off": 1}
    written = (output / "SYSTEMS.json").stat().st_mtime_ns
    checkpoints = {path: path.stat().st_mtime_ns for path in (work / "runs").rglob("model.safetensors")}
    assert len(checkpoints) == 5
    assert main(command) == 0
    assert (output / "SYSTEMS.json").stat().st_mtime_ns > written
    assert checkpoints == {
        path: path.stat().st_mtime_ns for path in (work / "runs").rglob("model.safetensors")
    }
    assert "The trunk from which all systems above started" in text
    assert main([*command, "--only", "end-to-end"]) == 0  # what was fitted on the frozen trunk stays
    assert (output / "SYSTEMS.md").read_text() == text


@pytest.mark.training
@pytest.mark.slow
@pytest.mark.usefixtures("small", "quick_calibration")
def test_fits_on_another_trunk_say_so_and_leave_the_rest(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache, split = ["--cache", str(work / "crops")], ["--split", str(work / "split.csv")]
    data = ["--data", f"utkface={work / 'UTKFace'}"]
    assert main(["prepare", *data, *cache, "--size", "48", "--margin", "6", "--processes", "1"]) == 0
    command = ["compare-systems", *data, *cache, *split, "--run", str(work / "runs"), "--only", "frozen"]
    command += ["--seeds", "1", "--steps", "2", "--epochs", "1", "--processes", "1"]
    assert main([*command, "--output", str(work / "nowhere")]) != 0
    assert "nothing was measured end to end yet" in capsys.readouterr().err
    output = work / "output"
    output.mkdir()
    shutil.copy(ROOT / "checkpoints" / "SYSTEMS.json", output)
    assert main([*command, "--output", str(output)]) == 0
    text = (output / "SYSTEMS.md").read_text()
    assert re.search(r"A trunk like the one .+ started, trained again on [1-9][\d,]* pictures, frozen", text)
    measured, shipped = (read_systems(folder / "SYSTEMS.json") for folder in (output, ROOT / "checkpoints"))
    assert measured["end_to_end"] == shipped["end_to_end"]
    assert [row["name"] for row in measured["frozen"]] == [*frozen.ROWS, *frozen.CILF_ROWS]


@pytest.mark.training
@pytest.mark.usefixtures("small", "quick_calibration")
def test_systems_of_another_trunk_are_not_taken_for_the_same(work: Path) -> None:
    splits, folder = (work / "split.csv",), work / "runs"
    data = ["--data", f"utkface={work / 'UTKFace'}", "--cache", str(work / "crops")]
    assert main(["prepare", *data, "--size", "48", "--margin", "6", "--processes", "1"]) == 0
    checkpoint = end_to_end.trained("control", {}, work / "crops", splits, folder, 1)
    assert end_to_end.trained("control", {}, work / "crops", splits, folder, 1) == checkpoint
    save(work / "other", tiny.lra_gnn(), GaussianError(), tiny.LRA_GNN_CHECKPOINT)
    with pytest.raises(DatasetError, match="begun from other weights"):
        end_to_end.trained(
            "control", {end_to_end.TRUNK: str(work / "other")}, work / "crops", splits, folder, 1
        )


@pytest.mark.training
@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_systems_train_side_by_side_from_one_trunk(work: Path) -> None:
    splits, folder, given = (work / "split.csv",), work / "runs", {"MCGRL": "given", "CILF": "given"}
    data = ["--data", f"utkface={work / 'UTKFace'}", "--cache", str(work / "crops")]
    assert main(["prepare", *data, "--size", "48", "--margin", "6", "--processes", "1"]) == 0
    end_to_end.train_all(given, work / "crops", splits, folder, 2)
    trunk = weights_sha256(load(folder / "trunk" / "checkpoint").model.state_dict())
    made = {path.name for path in folder.iterdir()}
    assert made == {"trunk", "control", "lra-gnn"}
    for name in ("control", "lra-gnn"):
        assert load(folder / name / "checkpoint").config.training["start_sha256"] == trunk
        assert end_to_end.minutes(folder / name)
    written = (folder / "control" / "checkpoint" / "model.safetensors").stat().st_mtime_ns
    checkpoint = end_to_end.trained("control", given, work / "crops", splits, folder, 1)
    assert (Path(checkpoint) / "model.safetensors").stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("given", "sentence"), [("mcgrl=x", "no system is called mcgrl"), ("trunk={cilf}", "has no grid")]
)
def test_a_checkpoint_of_no_use_is_refused_before_any_training(
    given: str, sentence: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cilf = work / "cilf"
    save(cilf, tiny.model(), tiny.ensemble(), tiny.CHECKPOINT)
    command = ["compare-systems", "--data", f"utkface={work / 'UTKFace'}", "--split", str(work / "split.csv")]
    command += ["--cache", str(work / "crops"), "--run", str(work / "runs"), "--output", str(work)]
    assert main([*command, "--checkpoint", given.format(cilf=cilf)]) == 2
    assert sentence in capsys.readouterr().err
