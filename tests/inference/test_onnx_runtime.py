"""`cilf.inference.onnx_runtime`: ONNX Runtime must say of a crop what PyTorch says."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cilf import AgeEstimator
from cilf.checkpoint import BUNDLED, load
from cilf.errors import WeightsError
from cilf.inference import onnx_runtime
from cilf.inference.onnx_runtime import Graph, GraphNetwork
from cilf.inference.outputs import CropOutputs
from cilf.inference.predictive import softmax
from cilf.model.runtime import TorchNetwork, crop_outputs
from tests import tiny


def agree(computed: CropOutputs, expected: CropOutputs) -> None:
    """To a hundredth of a year, and of everything else to what single precision leaves."""
    close = np.testing.assert_allclose
    close(computed.age, expected.age, rtol=0, atol=0.01)
    close(computed.spread, expected.spread, rtol=0, atol=0.01)
    close(computed.logits, expected.logits, rtol=1e-3, atol=1e-3)
    close(softmax(computed.logits), softmax(expected.logits), rtol=0, atol=1e-4)
    close(computed.parts, expected.parts, rtol=1e-3, atol=1e-3)
    close(computed.embedding, expected.embedding, rtol=0, atol=1e-4)
    close(computed.relevance, expected.relevance, rtol=1e-3, atol=1e-2)


def random_crops(count: int, size: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, size, size, 3), np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("name", BUNDLED)
def test_the_bundled_graphs_compute_what_pytorch_does(name: str) -> None:
    """Their folded batch normalisations and the ages' texts by NumPy too."""
    checkpoint = load(name)
    quick, slow = checkpoint.network(), replace(checkpoint, graph=None).network()
    assert isinstance(quick, GraphNetwork)
    assert isinstance(slow, TorchNetwork)
    for count in (1, 2, 16):
        crops = random_crops(count, checkpoint.config.model.image_size)
        agree(quick(crops), slow(crops))
        agree(quick(crops[:, :, ::-1]), slow(crops[:, :, ::-1].copy()))  # whose rows lie backwards in memory


def test_several_threads_share_a_graph() -> None:
    quick = load().network()
    crops = np.split(random_crops(12, load().config.model.image_size), 12)
    alone = [quick(crop).age for crop in crops]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda crop: quick(crop).age, crops))
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("processors", [1, 3, 8])
def test_the_crops_of_a_crowd_may_be_shared_out(processors: int, monkeypatch: pytest.MonkeyPatch) -> None:
    quick, crops = load().network(), random_crops(13, load().config.model.image_size)
    monkeypatch.setattr(onnx_runtime, "available_processors", lambda: processors)
    shared = quick(crops)
    for number in range(len(crops)):
        alone = quick(crops[number : number + 1])
        agree(
            replace(shared, **{name: value[number : number + 1] for name, value in vars(shared).items()}),
            alone,
        )


def test_without_a_graph_pytorch_computes() -> None:
    crops, model = random_crops(2, 64), tiny.model()
    expected = crop_outputs(model, crops, model.encode_ages(), mirror=True)
    slow = tiny.checkpoint(model, tiny.ensemble(), replace(tiny.CHECKPOINT, mirror=True)).network()
    assert isinstance(slow, TorchNetwork)
    agree(slow(crops), expected)


def test_a_graph_of_another_network_is_refused() -> None:
    ours, others = load().graph, load("mtmsa").graph
    assert ours is not None
    assert others is not None
    for graph in (others, Graph(b"no graph", ()), replace(ours, weights=ours.weights[1:])):
        with pytest.raises(WeightsError, match=r"of another network; write it again with .*export"):
            AgeEstimator(replace(load(), graph=graph))


PROGRAM = """
from cilf.checkpoint import load

load().network()
"""


@pytest.mark.slow
def test_nothing_is_put_down_about_the_user(tmp_path: Path) -> None:
    """Later versions of ONNX Runtime keep a number for the device and what they will report."""
    homes = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME", "LOCALAPPDATA", "TEMP"), str(tmp_path))
    root = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=root, env=os.environ | homes, check=False)
    assert done.returncode == 0
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
