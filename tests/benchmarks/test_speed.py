"""How long one face takes: `pytest tests/benchmarks -s`. Prints medians and shares of one run; asserts no time."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cilf import AgeEstimator
from cilf.correction import correct
from cilf.faces import FaceFinder, align
from cilf.runtime import network
from cilf.weights import load

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
        as_trained = milliseconds(lambda: model.describe(pixels, age_text, mirror=mirror))
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
    lines.append(f"{'network by PyTorch':22} {as_trained:7.1f} ms  as it was trained, without a graph")
    lines.append(f"{'detector, no tiles':22} {live:7.1f} ms")
    lines.append(
        f"{'whole path, no tiles':22} {milliseconds(lambda: estimator.predict(frame, tiles=False)):7.1f} ms"
    )
    print("\n" + "\n".join(lines))
