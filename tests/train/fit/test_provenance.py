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
