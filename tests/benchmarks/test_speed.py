"""How long one face takes: `pytest tests/benchmarks -s`. Prints medians and shares of one run; asserts no time."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cilf import AgeEstimator
from cilf.checkpoint import BUNDLED, load
from cilf.face.finder import FaceFinder, align
from cilf.model.base import AgeModel
from cilf.model.correction import correct
from cilf.model.onnx_runtime import network
from cilf.model.registry import build
from train.fit.recipe import read_recipe, stored_model
from train.release.onnx_export import graph

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
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        found.append(1000 * (time.perf_counter() - start))
    return found


def milliseconds(work: Callable[[], Any]) -> float:
    return float(np.median(times(work, ROUNDS)))


def test_one_frame(frame: np.ndarray) -> None:
    torch.set_num_threads(2)
    checkpoint = load()
    finder = FaceFinder()
    estimator = AgeEstimator(load(), finder)
    model, config = checkpoint.model, checkpoint.config
    size, mirror = model.image_size, config.mirror
    with torch.inference_mode():
        age_text = model.encode_ages()
        [face] = finder.find(frame)
        pixels = torch.from_numpy(align(frame, face, size)).permute(2, 0, 1).unsqueeze(0).float() / 255
        describe = network(model, checkpoint.graph, torch.device("cpu"), mirror=mirror)
        found = describe(pixels, age_text)
        parts = {
            "detector, with tiles": milliseconds(lambda: finder.find(frame)),
            "alignment": milliseconds(lambda: align(frame, face, size)),
            "network": milliseconds(lambda: describe(pixels, age_text)),
            "correction": milliseconds(
                lambda: correct(checkpoint.ensemble, found.embedding, found.estimate, config.correction)
            ),
        }

        def whole_model() -> None:
            found = describe(pixels, age_text)
            correct(checkpoint.ensemble, found.embedding, found.estimate, config.correction)

        crops = times(whole_model, CROPS)
        live = milliseconds(lambda: finder.find(frame, tiles=False))
    whole = milliseconds(lambda: estimator.predict(frame))
    lines = [f"{name:22} {value:7.1f} ms  {value / whole:6.1%}" for name, value in parts.items()]
    lines.append(f"{'whole path':22} {whole:7.1f} ms  median of {ROUNDS}, 2 threads, 640×480, one face")
    lines.append(
        f"{'one crop, whole model':22} {np.median(crops):7.1f} ms  median of {CROPS}; "
        f"a tenth of them under {np.percentile(crops, 10):.1f} ms"
    )
    lines.append(f"{'detector, no tiles':22} {live:7.1f} ms")
    lines.append(
        f"{'whole path, no tiles':22} {milliseconds(lambda: estimator.predict(frame, tiles=False)):7.1f} ms"
    )
    print("\n" + "\n".join(lines))


def of_name(name: str) -> AgeModel:
    """A bundled network, or a recipe's with random weights."""
    return load(name).model if name in BUNDLED else build(stored_model(read_recipe(name))).eval()


def test_graphs() -> None:
    """What a graph brings: one crop through each network, by PyTorch on two threads and by ONNX Runtime on one."""
    torch.set_num_threads(2)
    lines = [f"{'':12}{'PyTorch':>20}{'graph':>20}   wall and processor ms, one look; medians of {ROUNDS}"]
    for name in (*BUNDLED, "vit-b-16"):
        size = of_name(name).image_size
        pixels = torch.rand(1, size, size, 3).permute(0, 3, 1, 2)
        line = f"{name:12}"
        for made in (None, graph(of_name(name), mirror=False)):
            model = of_name(name)
            with torch.inference_mode():
                age_text = model.encode_ages()
                describe = network(model, made, torch.device("cpu"), mirror=False)
                start = time.process_time()
                wall = milliseconds(partial(describe, pixels, age_text))
                line += f"{wall:10.1f}{1000 * (time.process_time() - start) / (ROUNDS + 1):10.1f}"
        lines.append(line)
    print("\n" + "\n".join(lines))
