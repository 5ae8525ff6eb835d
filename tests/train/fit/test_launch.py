"""`fit` by command as two processes of a real launcher, as the README shows it for machines without a GPU."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from tests.train.made_up import subset
from tests.train.recipes import RECIPES
from train.fit import provenance
from train.fit.logger import read_log
from train.fit.loop import averaged_model
from train.fit.recipe import read_recipe

pytestmark = pytest.mark.training

ROOT = Path(__file__).parents[3]


def cached(folder: Path) -> None:
    """A crop cache as `prepare` leaves it, of generated crops: looking for faces would take longer than the run."""
    data = subset()
    folder.mkdir(parents=True)
    np.save(folder / "crops.npy", data.cache.crops)
    index = {
        "samples": [asdict(sample) | {"path": str(sample.path)} for sample in data.cache.samples],
        "wanted": {"size": data.cache.size, "margin": data.cache.margin},
        "detected": data.cache.detected.tolist(),
    }
    (folder / "index.json").write_text(json.dumps(index))
    rows = (f"{s.name},{('train', 'tune')[i % 2]},{i}" for i, s in enumerate(data.cache.samples))
    (folder.parent / "split.csv").write_text("\n".join(["filename,split,group", *rows]) + "\n")


def test_torchrun_starts_two_processes_that_make_one_run(tmp_path: Path) -> None:
    cached(tmp_path / "crops" / "utkface")
    recipe, run = tmp_path / "tiny.toml", tmp_path / "run"
    recipe.write_text(RECIPES["cilf"].replace("epochs = 2", "epochs = 1"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-port",
        str(port),
    ]
    fit = ["-m", "train", "fit", "--recipe", str(recipe), "--cache", str(tmp_path / "crops")]
    files = ["--split", str(tmp_path / "crops" / "split.csv"), "--output", str(run)]
    environment = os.environ | {
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
    process = subprocess.Popen(
        [*launch, *fit, *files], cwd=ROOT, env=environment, text=True, stderr=subprocess.PIPE
    )
    try:
        _, said = process.communicate(timeout=600)
    finally:
        if process.poll() is None:
            process.terminate()  # it ends its processes before it ends itself
            process.wait(timeout=60)
    assert process.returncode == 0, said
    _, step = averaged_model(read_recipe(recipe), run)
    assert step == 4  # 16 photos, in batches of 4 that the two share
    assert provenance.read(run)["processes"] == 2
    assert [row["step"] for row in read_log(run)] == [4]  # the first process alone writes
    assert (run / "report.html").is_file()
