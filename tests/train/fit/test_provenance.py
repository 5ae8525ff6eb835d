"""A run is taken up only with what it was begun with."""

from pathlib import Path

import pytest

from tests import tiny
from train.data.datasets import DatasetError
from train.fit import provenance


def test_a_run_does_not_go_on_from_other_weights(tmp_path: Path) -> None:
    start = tiny.checkpoint(tiny.model(), tiny.ensemble(), tiny.CHECKPOINT)
    provenance.check_start(tmp_path, start)  # nothing has begun there
    begun = {"start_sha256": provenance.weights_sha256(start.model.state_dict())}
    provenance.write(begun, tmp_path, resumed=False)
    provenance.check_start(tmp_path, start)
    with pytest.raises(DatasetError, match="begun from other weights"):
        provenance.check_start(tmp_path, None)


def test_a_run_of_another_recipe_or_data_is_told(tmp_path: Path) -> None:
    record = {"recipe": {"epochs": 1}, "model_sha256": "a", "data_sha256": ["b"], "teachers_sha256": []}
    provenance.check_run(tmp_path, record)  # nothing has begun there
    provenance.write(record, tmp_path, resumed=False)
    provenance.check_run(tmp_path, record)
    with pytest.raises(DatasetError, match="begun with other recipe and data"):
        provenance.check_run(tmp_path, record | {"recipe": {"epochs": 2}, "data_sha256": ["c"]})


def test_runs_of_several_seeds_are_told_as_one(tmp_path: Path) -> None:
    def run(name: str, seed: int, **other: object) -> Path:
        made_of = {
            "recipe": {"fit": {"seed": seed, "epochs": 1}},
            "seed": seed,
            "data_sha256": ["b"],
            **other,
        }
        (tmp_path / name).mkdir()
        provenance.write(made_of, tmp_path / name, resumed=False)
        return tmp_path / name

    first, second, longer = run("first", 0), run("second", 1), run("longer", 2, data_sha256=["c"])
    assert provenance.of_seeds([first]) == provenance.read(first)
    assert provenance.of_seeds([first, second]) == provenance.read(first) | {"seeds": [0, 1]}
    with pytest.raises(DatasetError, match="have one seed"):
        provenance.of_seeds([first, first])
    with pytest.raises(DatasetError, match=r"differ in more than their seeds \(data_sha256\)"):
        provenance.of_seeds([first, second, longer])
