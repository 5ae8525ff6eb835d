"""A model's files change while the program runs: what is loaded stays as it was."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from cilf import AgeEstimator
from cilf.checkpoint import FILES, GRAPH, WEIGHTS, bundled
from cilf.errors import WeightsError


@pytest.mark.slow
def test_a_model_whose_files_change_goes_on_as_it_was(tmp_path: Path, eileen_collins: np.ndarray) -> None:
    folder = Path(shutil.copytree(bundled(), tmp_path / "model"))
    estimator = AgeEstimator.from_pretrained(folder)
    [before] = estimator.predict(eileen_collins)
    for name in (WEIGHTS, GRAPH):
        with (folder / name).open("r+b") as file:  # overwritten in place, as by `cp`
            file.write(bytes(4096))
            file.truncate(4096)
    [changed] = estimator.predict(eileen_collins)
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    [gone] = estimator.predict(eileen_collins)
    assert before.age == changed.age == gone.age
    with pytest.raises(WeightsError, match=r"holds no config\.json"):
        AgeEstimator.from_pretrained(folder)
