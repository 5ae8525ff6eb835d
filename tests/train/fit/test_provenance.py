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
