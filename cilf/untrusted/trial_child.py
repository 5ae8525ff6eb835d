"""The child process of `cilf.untrusted.trial`: `python -m cilf.untrusted.trial_child FOLDER`.

It computes one crop with the graph and with PyTorch, and compares the two: a graph could say anything.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from cilf.checkpoint import GRAPH, Checkpoint, load
from cilf.child_process import limit_resources
from cilf.errors import CilfError, WeightsError
from cilf.estimator import AgeEstimator
from cilf.face.finder import Face, FaceFinder
from cilf.face.pyramid import Pyramid
from cilf.prediction import FacePrediction
from cilf.untrusted.trial import REFUSED

CPU_LIMIT = 60  # seconds of computing, where the system counts them
MAX_MEMORY = 8 * 2**30  # bytes of the process, where the system counts them

# How far graph and PyTorch may be apart: in years, and in probabilities and coordinates of a unit vector.
YEARS, PARTS = 0.05, 1e-3


class NoFaces(FaceFinder):
    """Finds no face, so that the whole picture is taken."""

    def __init__(self) -> None:
        pass

    def find(self, photo: np.ndarray | Pyramid, tiles: bool = True) -> list[Face]:
        return []


def _estimate(checkpoint: Checkpoint, crop: np.ndarray) -> FacePrediction:
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


def main() -> int:
    """Try the checkpoint in the folder that the command line names; its exit status says how that went."""
    limit_resources(MAX_MEMORY, CPU_LIMIT)
    torch.set_num_threads(1)
    try:
        compare(Path(sys.argv[1]))
    except CilfError as error:
        sys.stderr.write(f"{error}\n")
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
