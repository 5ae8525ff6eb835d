"""Two real processes learn what one learns; when one stops or dies, so does the other, and says so."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.train.fit.two_processes import FROZEN, ROWS, after_each_step, loss_of_rows
from tests.train.made_up import subset
from tests.train.recipes import RECIPES
from train.fit import provenance
from train.fit.logger import read_log
from train.fit.loop import averaged_model, fit
from train.fit.recipe import read_recipe

pytestmark = pytest.mark.training

ROOT = Path(__file__).parents[3]
ENVIRONMENT = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def both(folder: Path) -> list[dict[str, Any]]:
    """What the two processes found. A launcher would only set these variables, and take its own time to start."""
    cached(folder)
    shared = {
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": free_port(),
        **ENVIRONMENT,
    }
    command = [sys.executable, "-m", "tests.train.fit.two_processes", str(folder)]
    started = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | shared | {"RANK": rank, "LOCAL_RANK": rank},
            # Files: a pipe that nobody reads meanwhile would hold the other process up.
            stderr=(folder / f"{rank}.stderr").open("w"),
        )
        for rank in "01"
    ]
    try:
        for process in started:
            process.wait(timeout=1200)
    finally:
        for process in started:
            process.kill()
    said = [(folder / f"{rank}.stderr").read_text() for rank in "01"]
    assert [process.returncode for process in started] == [0, 1], said
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


def cached(folder: Path) -> None:
    """Recipe, split and crops as `prepare` leaves them, of generated pictures, for the command `fit`."""
    data, cache = subset(), folder / "crops" / "utkface"
    cache.mkdir(parents=True)
    np.save(cache / "crops.npy", data.cache.crops)
    index = {
        "samples": [asdict(sample) | {"path": str(sample.path)} for sample in data.cache.samples],
        "wanted": {"size": data.cache.size, "margin": data.cache.margin},
        "detected": data.cache.detected.tolist(),
    }
    (cache / "index.json").write_text(json.dumps(index))
    rows = (f"{s.name},{('train', 'tune')[i % 2]},{i}" for i, s in enumerate(data.cache.samples))
    (folder / "split.csv").write_text("\n".join(["filename,split,group", *rows]) + "\n")
    (folder / "tiny.toml").write_text(RECIPES["cilf"].replace("epochs = 2", "epochs = 1"))


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def check_command(folder: Path) -> None:
    """`fit` by command in two processes has made one run."""
    run = folder / "command"
    _, step = averaged_model(read_recipe(folder / "tiny.toml"), run)
    assert step == 4  # 16 photos, in batches of 4 that the two share
    assert provenance.read(run)["processes"] == 2
    assert [row["step"] for row in read_log(run)] == [4]  # the first process alone writes
    assert (run / "report.html").is_file()


def test_the_gradient_of_gathered_rows_is_that_of_one_process(both: list[dict[str, Any]]) -> None:
    """Data parallelism takes the mean over two processes, so each must have twice the gradient."""
    rows = ROWS.clone().requires_grad_()
    loss_of_rows(rows).backward()
    assert rows.grad is not None
    gathered = torch.tensor([row for found in both for row in found["gradient"]])
    assert torch.allclose(gathered, 2 * rows.grad, rtol=1e-5)


def test_two_processes_have_the_loss_curve_of_one(
    both: list[dict[str, Any]], folder: Path, tmp_path: Path
) -> None:
    """Every term, over 20 steps with mixup and contrastive pairs across the processes, in fp32."""
    curve: list[dict[str, float]] = []
    data = subset()
    with after_each_step(lambda _, losses: curve.append(losses)):
        fit(FROZEN, [data], data, tmp_path)
    assert len(curve) == 20
    for found in both:
        for alone, shared in zip(curve, found["curve"], strict=True):
            assert shared == pytest.approx(alone, rel=1e-4)
    [alone, shared] = [[row["tune_mae"] for row in read_log(run)] for run in (tmp_path, folder / "whole")]
    assert shared == pytest.approx(alone, rel=1e-2)  # the ages are computed in bfloat16


def test_a_signal_to_one_stops_both_and_they_go_on_as_if_never_stopped(both: list[dict[str, Any]]) -> None:
    for found in both:
        assert found["stopped"].startswith("Interrupted: Stopped at step 4 of 8")
        assert found["resumed"]


def test_what_cannot_be_shared_is_refused(both: list[dict[str, Any]]) -> None:
    assert all("batch of 6 cannot be cut into 2" in found["odd"] for found in both)
    assert all("other training data than process" in found["other_data"] for found in both[1:])


def test_the_death_of_one_stops_the_other_with_a_sentence(both: list[dict[str, Any]]) -> None:
    assert both[0]["after_a_death"].startswith("ProcessError: It stops, because another of the 2 has gone")


def test_the_command_makes_one_run(both: list[dict[str, Any]], folder: Path) -> None:
    assert [found["command"] for found in both] == [0, 0]
    check_command(folder)


@pytest.mark.long
def test_torchrun_starts_two_processes_that_make_one_run(tmp_path: Path) -> None:
    """As README shows it for machines without a GPU."""
    cached(tmp_path)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    launch += ["--master-port", free_port(), "-m", "train", "fit", "--recipe", str(tmp_path / "tiny.toml")]
    files = ["--cache", str(tmp_path / "crops"), "--split", str(tmp_path / "split.csv")]
    process = subprocess.Popen(
        [*launch, *files, "--output", str(tmp_path / "command")],
        cwd=ROOT,
        env=os.environ | ENVIRONMENT,
        text=True,
        stderr=subprocess.PIPE,
    )
    try:
        _, said = process.communicate(timeout=600)
    finally:
        if process.poll() is None:
            process.terminate()  # it ends its processes before it ends itself
            process.wait(timeout=60)
    assert process.returncode == 0, said
    check_command(tmp_path)
