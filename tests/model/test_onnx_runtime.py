"""`cilf.model.onnx_runtime`: ONNX Runtime must say of a crop what PyTorch says."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from cilf import AgeEstimator
from cilf.checkpoint import BUNDLED, load
from cilf.errors import WeightsError
from cilf.model.base import Description
from cilf.model.onnx_runtime import Graph, GraphNetwork, network
from tests import tiny

CPU = torch.device("cpu")


def agree(found: Description, wanted: Description) -> None:
    """To a hundredth of a year, and of everything else to what single precision leaves."""
    torch.testing.assert_close(found.estimate.age, wanted.estimate.age, rtol=0, atol=0.01)
    torch.testing.assert_close(found.estimate.spread, wanted.estimate.spread, rtol=0, atol=0.01)
    torch.testing.assert_close(found.estimate.logits, wanted.estimate.logits, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.estimate.entropy, wanted.estimate.entropy, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.estimate.probabilities, wanted.estimate.probabilities, rtol=0, atol=1e-4)
    torch.testing.assert_close(found.embedding, wanted.embedding, rtol=0, atol=1e-4)
    torch.testing.assert_close(found.relevance, wanted.relevance, rtol=1e-3, atol=1e-2)


@torch.inference_mode()
@pytest.mark.parametrize("name", BUNDLED)
def test_the_bundled_graphs_compute_what_pytorch_does(name: str) -> None:
    checkpoint = load(name)
    model, mirror = checkpoint.model, checkpoint.config.mirror
    age_text = model.encode_ages()
    batches = [torch.rand(count, 3, model.image_size, model.image_size) for count in (1, 2, 16)]
    wanted = [model.describe(pixels, age_text, mirror=mirror) for pixels in batches]
    quick = network(model, checkpoint.graph, CPU, mirror=mirror)
    assert isinstance(quick, GraphNetwork)
    for pixels, described in zip(batches, wanted, strict=True):
        agree(quick(pixels, age_text), described)
        in_rows = pixels.contiguous(memory_format=torch.channels_last)  # as crops lie in memory
        agree(quick(in_rows, age_text), described)


@torch.inference_mode()
def test_several_threads_share_a_graph() -> None:
    checkpoint = load()
    model = checkpoint.model
    age_text = model.encode_ages()
    quick = network(model, checkpoint.graph, CPU, mirror=False)
    crops = [torch.rand(1, 3, model.image_size, model.image_size) for _ in range(12)]
    alone = [quick(pixels, age_text).estimate.age for pixels in crops]
    with ThreadPoolExecutor(4) as threads:
        together = threads.map(lambda pixels: quick(pixels, age_text).estimate.age, crops)
    assert torch.equal(torch.cat(list(together)), torch.cat(alone))


@torch.inference_mode()
def test_without_a_graph_pytorch_computes() -> None:
    pixels, model = torch.rand(2, 3, 64, 64), tiny.model()
    wanted = model.describe(pixels, model.encode_ages(), mirror=True)
    slow = network(model, None, CPU, mirror=True)
    assert isinstance(slow, partial)
    agree(slow(pixels, model.encode_ages()), wanted)


def test_a_graph_of_another_network_is_refused() -> None:
    ours, others = load().graph, load("mtmsa").graph
    assert ours is not None
    assert others is not None
    for graph in (others, Graph(b"no graph", ()), replace(ours, weights=ours.weights[1:])):
        with pytest.raises(WeightsError, match=r"of another network; write it again with .*export"):
            AgeEstimator(replace(load(), graph=graph))


PROGRAM = """
import torch
from cilf.model.onnx_runtime import network
from cilf.checkpoint import load

checkpoint = load()
network(checkpoint.model, checkpoint.graph, torch.device("cpu"), mirror=False)
"""


def test_nothing_is_put_down_about_the_user(tmp_path: Path) -> None:
    """Later versions of ONNX Runtime keep a number for the device and what they will report."""
    homes = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME", "LOCALAPPDATA", "TEMP"), str(tmp_path))
    root = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=root, env=os.environ | homes, check=False)
    assert done.returncode == 0
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
