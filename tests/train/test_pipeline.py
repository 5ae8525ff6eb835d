"""prepare → fit → calibrate → evaluate → card → publish, by command, on a small generated set; and back again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cilf import AgeEstimator
from cilf.checkpoint import load
from tests.hub import TOKEN, hub
from train.__main__ import main

RECIPE = """
[data.utkface]
share = 1.0
[architecture]
embed_dim = 16
[architecture.vision_cfg]
timm_model_name = "test_resnet"
timm_pool = "avg"
timm_proj = "linear"
image_size = 48
[architecture.text_cfg]
context_length = 24
width = 16
heads = 2
layers = 1
[model]
grid_stage = 2
[prompts]
context_tokens = 2
anchors = 3
[fusion]
width = 16
image_blocks = 1
fusion_blocks = 1
[loss]
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
precision = "fp32"
seed = 0
"""
pytestmark = [pytest.mark.usefixtures("quick_calibration"), pytest.mark.training]

PARTS = ("train", "train", "held", "tune", "cal", "test")


@pytest.fixture
def work(tmp_path: Path, grace_hopper: np.ndarray, eileen_collins: np.ndarray) -> Path:
    """UTKFace's layout: 36 chips cut from the two portraits, with made-up labels; a split and a recipe."""
    chips = [
        Image.fromarray(grace_hopper).crop((150, 60, 390, 300)),
        Image.fromarray(eileen_collins).crop((135, 20, 315, 200)),
    ]
    folder = tmp_path / "UTKFace"
    folder.mkdir()
    rows = ["filename,split,group"]
    for index in range(36):
        name = f"{10 + 2 * index}_{index % 2}_{index % 5}_2017010100000{index:04}.jpg.chip.jpg"
        chips[index % 2].resize((200, 200)).rotate(index % 7 - 3).save(folder / name)
        rows.append(f"{name},{PARTS[index % len(PARTS)]},g{index}")
    (tmp_path / "split.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "tiny.toml").write_text(RECIPE)
    return tmp_path


def test_from_photos_to_a_model_card(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache, split = ["--cache", str(work / "crops")], ["--split", str(work / "split.csv")]
    data = ["--data", f"utkface={work / 'UTKFace'}"]
    recipe, run = ["--recipe", str(work / "tiny.toml")], str(work / "run")
    views = ["--views", str(work / "views"), "--processes", "1"]
    checkpoint, report = work / "checkpoint", work / "checkpoint" / "report.json"
    assert main(["prepare", *data, *cache, "--size", "48", "--margin", "6", "--processes", "1"]) == 0
    assert main(["fit", *recipe, *cache, *split, "--output", run]) == 0
    assert (
        main(["calibrate", *recipe, "--run", run, *cache, *split, *views, "--output", str(checkpoint)]) == 0
    )
    page = (work / "run" / "report.html").read_text()
    assert "Do not publish: contains pictures of the data set" in page
    assert "split-conformal" in page
    training = load(checkpoint).config.training
    assert training["recipe"]["fit"]["batch_size"] == 4
    assert {"seed", "commit", "data_sha256", "versions"} <= training.keys()
    evaluate = ["evaluate", *data, *split, "--weights", str(checkpoint), "--report", str(report)]
    ours = str(work / "ours.csv")
    assert main([*evaluate, "--predictions", ours]) == 0
    assert main([*evaluate, "--rival", f"itself={ours}"]) == 0
    assert main(["card", str(checkpoint)]) == 0
    found = json.loads(report.read_text())
    assert found["rivals"]["itself"]["all"]["gain"] == pytest.approx(0, abs=1e-9)
    assert found["all"]["count"] == 6
    assert len(found["test_looks"]) == 2
    assert "| all | 6 |" in capsys.readouterr().out
    estimator = AgeEstimator.from_pretrained(checkpoint)
    assert estimator.report == found
    assert "model-index" in estimator.card
    photo = next((work / "UTKFace").iterdir())
    [face] = estimator.predict(photo, no_face="whole")
    assert 0 <= face.age <= 100
    assert published(checkpoint, photo, work) == {"age": face.age, "mae": found["all"]["mae"], "card": True}


# Publishes a checkpoint and loads it back; in a process of its own, since HF_ENDPOINT is read at import.
ROUND_TRIP = """
import json, sys
from cilf import AgeEstimator
from train.__main__ import main

checkpoint, photo = sys.argv[1:]
assert main(["publish", "--repo", "user/tiny", "--weights", checkpoint, "--tag", "v1"]) == 0
estimator = AgeEstimator.from_pretrained("user/tiny", revision="v1")
[face] = estimator.predict(photo, no_face="whole")
mae, card = estimator.report["all"]["mae"], 'from_pretrained("user/tiny")' in estimator.card
print(json.dumps({"age": face.age, "mae": mae, "card": card}))
"""


def published(checkpoint: Path, photo: Path, home: Path) -> dict[str, object]:
    """What the checkpoint says of a photo, after a way through a stand-in for the Hub."""
    with hub() as there:
        environment = os.environ | {
            "HF_ENDPOINT": there.address,
            "HF_HOME": str(home / "huggingface"),
            "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_XET": "1",  # the newer transfer speaks with servers of its own
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        command = [sys.executable, "-c", ROUND_TRIP, str(checkpoint), str(photo)]
        root = Path(__file__).parents[2]
        done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list(there.repositories) == ["models/user/tiny"]
    told: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return told


def test_a_second_stage_is_mixed_with_the_weights_it_started_from(work: Path) -> None:
    cache, split = ["--cache", str(work / "crops")], ["--split", str(work / "split.csv")]
    recipe, first, second = ["--recipe", str(work / "tiny.toml")], work / "first", work / "second"
    assert (
        main(["prepare", "--data", f"utkface={work / 'UTKFace'}", *cache, "--size", "48", "--margin", "6"])
        == 0
    )
    assert main(["fit", *recipe, *cache, *split, "--output", str(work / "run")]) == 0
    views = ["--views", str(work / "views"), "--processes", "1"]
    calibrate = ["calibrate", *recipe, "--run", str(work / "run"), *cache, *split, *views]
    assert main([*calibrate, "--output", str(first)]) == 0
    start = ["--start", str(first)]
    assert main(["fit", *recipe, *cache, *split, *start, "--output", str(work / "run")]) == 0
    assert main([*calibrate, *start, "--output", str(second)]) == 0
    training = load(second).config.training
    assert 0 <= training["share_of_start"] < 1
    assert (
        training["start"]["recipe"] == load(first).config.training["recipe"]
    )  # the first stage can be repeated too


def test_training_from_shards(work: Path) -> None:
    """The training photos come from tar files alone; the cache holds no crop of theirs."""
    cache, split = ["--cache", str(work / "crops")], ["--split", str(work / "split.csv")]
    data, size = ["--data", f"utkface={work / 'UTKFace'}"], ["--size", "48", "--margin", "6"]
    shards = ["--shards", str(work / "shards")]
    assert main(["prepare", *data, *split, *shards, *size, "--processes", "1"]) == 0
    tune = work / "tune"
    tune.mkdir()
    names = [row.split(",")[0] for row in (work / "split.csv").read_text().splitlines() if ",tune," in row]
    for name in names:
        (work / "UTKFace" / name).rename(tune / name)
    assert main(["prepare", "--data", f"utkface={tune}", *cache, *size, "--processes", "1"]) == 0
    fit = ["fit", "--recipe", str(work / "tiny.toml"), *cache, *split, "--output", str(work / "run")]
    assert main([*fit, *shards]) == 0
    assert (work / "run" / "report.html").is_file()
    assert main([*fit, "--shards", str(work / "nowhere")]) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["prepare", "--data", "nothing=x"], "Unknown data set 'nothing'"),
        (["evaluate", "--data", "utkface=x", "--split", "none.csv"], "none.csv does not exist"),
        (["prepare", "--data", "utkface=x", "--split", "x.csv"], "--split keeps parts apart in shards alone"),
        (
            ["calibrate", "--weights", "a", "--start", "b", "--split", "x.csv", "--output", "c"],
            "leave it out with --weights",
        ),
        (
            ["evaluate", "--data", "utkface=x", "--zero-shot", "--rival", "a=b.csv"],
            "leave it out with --zero-shot",
        ),
        (["fit", "--recipe", "no-such", "--split", "none.csv"], "no-such"),
    ],
)
def test_wrong_input_is_one_sentence(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    message = capsys.readouterr().err.strip()
    assert said in message
    assert "\n" not in message
