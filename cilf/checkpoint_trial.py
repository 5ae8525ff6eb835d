"""Try a checkpoint that does not come with the package in a child process, before this one computes with it.

What hangs, crashes or takes too much memory there harms nobody. The child also compares what the graph says of one crop
with what PyTorch says: a graph could say anything. `python -m cilf.checkpoint_trial FOLDER` is that child.
"""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from cilf.checkpoint import GRAPH, Checkpoint, load
from cilf.errors import CilfError, WeightsError
from cilf.face.finder import Face, FaceFinder
from cilf.face.pyramid import Pyramid
from cilf.prediction import FacePrediction

LIMIT = 300.0  # seconds; PyTorch's start took 60 of them on a busy machine
CPU_LIMIT = 60  # seconds of computing, where the system counts them
MAX_MEMORY = 8 * 2**30  # bytes of the child's data, where the system counts them
REFUSED = 3  # exit status of the child that has a sentence to say

# How far graph and PyTorch may be apart: in years, and in probabilities and coordinates of a unit vector.
YEARS, PARTS = 0.05, 1e-3


def require_success(folder: Path) -> None:
    """Try the checkpoint in `folder`. Raises WeightsError where it fails, or takes longer than `LIMIT` seconds."""
    command = [sys.executable, "-m", "cilf.checkpoint_trial", str(folder.resolve())]
    paths = [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONSAFEPATH": "1"}
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise WeightsError(
            f"the checkpoint in '{folder}' does not answer within {LIMIT:.0f} seconds; load another"
        ) from error
    if done.returncode == REFUSED:
        raise WeightsError(done.stderr.strip().rpartition("\n")[2])
    if done.returncode:
        raise WeightsError(
            f"the checkpoint in '{folder}' failed when it was tried (exit status {done.returncode}); load another"
        )


class NoFaces(FaceFinder):
    """Finds no face, so that the whole picture is taken."""

    def __init__(self) -> None:
        pass

    def find(self, photo: np.ndarray | Pyramid, tiles: bool = True) -> list[Face]:
        return []


def _estimate(checkpoint: Checkpoint, crop: np.ndarray) -> FacePrediction:
    from cilf.estimator import AgeEstimator  # which imports this module

    [face] = AgeEstimator(checkpoint, NoFaces()).predict(crop, no_face="whole")
    return face


def compare(folder: Path) -> None:
    """Estimate one crop with the graph and without it. Raises WeightsError where the two differ, or either fails."""
    checkpoint = load(folder)
    crop = np.random.default_rng().integers(
        0, 256, (256, 256, 3), np.uint8
    )  # which no graph can know beforehand
    expected = _estimate(replace(checkpoint, graph=None), crop)
    if checkpoint.graph is None:
        return
    answer = _estimate(load(folder), crop)
    pairs = ((answer.distribution, expected.distribution), (answer.embedding, expected.embedding))
    if abs(answer.age - expected.age) > YEARS or any(np.abs(a - b).max() > PARTS for a, b in pairs):
        raise WeightsError(
            f"'{folder / GRAPH}' computes something else than the weights beside it; write it again with "
            "`python -m train export`"
        )


def _limit_resources() -> None:
    """Bound this process's memory and time: it ends by itself, even where its parent was killed."""
    if sys.platform == "win32":
        return
    import resource

    for kind, limit in ((resource.RLIMIT_DATA, MAX_MEMORY), (resource.RLIMIT_CPU, CPU_LIMIT)):
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def main() -> int:
    """Try the checkpoint in the folder that the command line names; its exit status says how that went."""
    _limit_resources()
    torch.set_num_threads(1)
    try:
        compare(Path(sys.argv[1]))
    except CilfError as error:
        sys.stderr.write(f"{error}\n")
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
