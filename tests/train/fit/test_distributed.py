"""Two real processes learn what one learns; when one stops or dies, so does the other, and says so."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.train.fit.two_processes import FROZEN, ROWS, after_each_step, loss_of_rows
from tests.train.made_up import subset
from train.fit.logger import read_log
from train.fit.loop import fit

pytestmark = pytest.mark.training

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def both(folder: Path) -> list[dict[str, Any]]:
    """What the two processes found. A launcher would only set these variables, and take its own time to start."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "tests.train.fit.two_processes", str(folder)]
    started = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | shared | {"RANK": rank, "LOCAL_RANK": rank},
            text=True,
            stderr=subprocess.PIPE,
        )
        for rank in "01"
    ]
    try:
        said = [process.communicate(timeout=1800)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 1], said
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


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
