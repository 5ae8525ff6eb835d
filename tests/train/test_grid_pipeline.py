"""prepare → fit → calibrate → export → evaluate → card for LRA-GNN and MCGRL, by command, on a small generated set."""

from pathlib import Path

import pytest

from cilf import AgeEstimator
from cilf.checkpoint import load
from tests.train.test_pipeline import work  # noqa: F401 - a fixture
from train.__main__ import main

pytestmark = [pytest.mark.training, pytest.mark.slow]

MODELS = {
    "lra-gnn": "width = 16\nheads = 2\nkey_width = 8\nlayers = 2\npolicy_width = 16\n[loss]\nwalk_updates = 5\n",
    "mcgrl": "width = 16\nneighbours = [4, 3]\ndilations = [1, 2]\nembed = 16\n[loss]\n",
}
RECIPE = """
[data.utkface]
share = 1.0
[augment]
[fit]
batch_size = 4
epochs = 2
learning_rate = 1e-3
weight_decay = 0.01
warmup = 0.1
ema_decay = 0.9
mixup = 0.4
mixup_share = 0.5
sizes = [[0.0, 48]]
precision = "bf16"
seed = 0
[model]
image_size = 48
trunk = "test_resnet"
"""


@pytest.mark.parametrize("kind", MODELS)
def test_from_photos_to_a_model_card(kind: str, work: Path) -> None:  # noqa: F811
    (work / f"{kind}.toml").write_text(f'{RECIPE}kind = "{kind}"\n{MODELS[kind]}')
    cache, split = ["--cache", str(work / "crops")], ["--split", str(work / "split.csv")]
    data = ["--data", f"utkface={work / 'UTKFace'}"]
    recipe, run, checkpoint = ["--recipe", str(work / f"{kind}.toml")], str(work / "run"), work / "checkpoint"
    report = checkpoint / "report.json"
    assert main(["prepare", *data, *cache, "--size", "48", "--margin", "6", "--processes", "1"]) == 0
    assert main(["fit", *recipe, *cache, *split, "--output", run]) == 0
    assert main(["calibrate", *recipe, "--run", run, *cache, *split, "--output", str(checkpoint)]) == 0
    assert main(["export", str(checkpoint)]) == 0
    assert main(["evaluate", *data, *split, "--weights", str(checkpoint), "--report", str(report)]) == 0
    assert main(["card", str(checkpoint)]) == 0
    assert load(checkpoint).graph is not None
    estimator = AgeEstimator.from_pretrained(checkpoint)
    assert estimator.kind == kind
    assert not estimator.compares_texts
    assert "compact rebuild" in estimator.card
    assert "compares no prompts" in estimator.card
    [face] = estimator.predict(next((work / "UTKFace").iterdir()), no_face="whole")
    assert len(face.trace) == 1
    low, high = face.interval
    assert low <= face.age <= high
