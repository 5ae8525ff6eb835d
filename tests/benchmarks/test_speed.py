"""How long one face takes: `pytest tests/benchmarks/test_speed.py -s`. Records medians of one run; asserts no time."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cilf import AgeEstimator
from cilf.checkpoint import BUNDLED, load, tensors_of
from cilf.face.finder import Face, FaceFinder, align
from cilf.inference.error_models import GaussianError
from cilf.inference.onnx_runtime import GraphNetwork
from cilf.model.base import AgeModel
from cilf.model.build import build
from cilf.model.runtime import TorchNetwork
from tests.benchmarks.results import record
from train.fit.recipe import read_recipe, stored_model
from train.release.onnx_export import graph

COMMAND = "pytest tests/benchmarks/test_speed.py -s"
ROUNDS = 30
CROPS = 300  # calls of what takes least, so that they outlast a busy moment of the machine


@pytest.fixture
def frame(grace_hopper: np.ndarray) -> np.ndarray:
    """A webcam's 640×480 frame with one face."""
    frame = Image.new("RGB", (640, 480), (90, 110, 120))
    frame.paste(Image.fromarray(grace_hopper).resize((410, 480)), (115, 0))
    return np.array(frame)


def times(work: Callable[[], Any], rounds: int) -> list[float]:
    """Milliseconds of each of several calls."""
    work()
    spent = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        spent.append(1000 * (time.perf_counter() - start))
    return spent


def milliseconds(work: Callable[[], Any]) -> float:
    return float(np.median(times(work, ROUNDS)))


def test_one_frame(frame: np.ndarray) -> None:
    finder = FaceFinder()
    estimator = AgeEstimator(load(), finder)
    [face], size = finder.find(frame), load().config.model.image_size
    parts = {
        "whole path": lambda: estimator.predict(frame),
        "whole path, without tiles": lambda: estimator.predict(frame, tiles=False),
        "detector, with tiles": lambda: finder.find(frame),
        "detector, without tiles": lambda: finder.find(frame, tiles=False),
        "alignment": lambda: align(frame, face, size),
    }
    record(
        "one frame",
        {name: {"ms": milliseconds(part)} for name, part in parts.items()},
        command=COMMAND,
        method=f"A 640×480 frame with one face: medians of {ROUNDS} calls. Tiles show small faces.",
    )


class KnownFaces(FaceFinder):
    """Gives faces that were detected beforehand."""

    def __init__(self, faces: list[Face]) -> None:
        self.faces = faces

    def find(self, photo: Any, tiles: bool = True) -> list[Face]:
        return self.faces


@pytest.mark.parametrize("name", BUNDLED)
def test_one_crop(name: str, frame: np.ndarray) -> None:
    """A detected face through alignment, network and correction."""
    estimator = AgeEstimator(load(name), KnownFaces(FaceFinder().find(frame)))
    spent = times(lambda: estimator.predict(frame), CROPS)
    record(
        "one crop",
        {name: {"ms": float(np.median(spent)), "ms, fastest tenth": float(np.percentile(spent, 10))}},
        command=COMMAND,
        method=f"One detected face through alignment, network and correction: medians of {CROPS} calls.",
    )


def of_name(name: str) -> AgeModel:
    """A bundled network, or a recipe's with random weights."""
    return load(name).model if name in BUNDLED else build(stored_model(read_recipe(name))).eval()


@torch.inference_mode()
def graph_network(model: AgeModel) -> GraphNetwork:
    """Its batch normalisations are folded where the graph is made, so that its own tensors are the graph's."""
    age_text = model.encode_ages().numpy()
    made = graph(model, mirror=False)
    return GraphNetwork(made, tensors_of(model, GaussianError()), "", lambda: age_text)


def test_graphs() -> None:
    """What a graph brings: one crop through each network, by PyTorch on two threads and by ONNX Runtime on one."""
    torch.set_num_threads(2)
    rows: dict[str, dict[str, float]] = {}
    for name in (*BUNDLED, "vit-b-16"):
        size = of_name(name).image_size
        crop = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), np.uint8)
        row = rows.setdefault(name, {})
        for what, network in (
            ("PyTorch", TorchNetwork(of_name(name), "cpu", mirror=False)),
            ("graph", graph_network(of_name(name))),
        ):
            start = time.process_time()
            row[f"{what}, ms"] = milliseconds(partial(network, crop))
            row[f"{what}, processor ms"] = 1000 * (time.process_time() - start) / (ROUNDS + 1)
    record(
        "networks with and without a graph",
        rows,
        command=COMMAND,
        method=f"One crop through each network alone, one view, by PyTorch on two threads and by ONNX Runtime on one: "
        f"medians of {ROUNDS} calls. `vit-b-16` has random weights.",
    )
