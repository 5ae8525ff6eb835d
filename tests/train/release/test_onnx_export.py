"""Exporting: the graph computes what the network does, holds no weights, and goes with its checkpoint."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from cilf import AgeEstimator
from cilf.checkpoint import GRAPH, load, save, tensors_of
from cilf.inference.error_models import GaussianError
from cilf.inference.onnx_runtime import Graph, GraphNetwork
from cilf.inference.text_tower import TextTower
from cilf.model.base import AgeModel
from cilf.model.runtime import crop_outputs
from cilf.untrusted.graph_check import check_graph
from tests import tiny
from tests.inference.test_onnx_runtime import agree, random_crops
from train.__main__ import main
from train.release.onnx_export import export, graph

pytestmark = pytest.mark.slow


def mixed(make: Callable[[], AgeModel], seed: int) -> AgeModel:
    """A model with weights, and statistics of its batches, that no other seed gives."""
    model = make()
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point() and "temperature" not in name:
                value.copy_(value + 0.05 * torch.rand_like(value))
    return model


UNBOUNDED = pytest.param(tiny.model, marks=pytest.mark.long)  # as checkpoints were trained before


def stemmed_mcgrl() -> AgeModel:
    """With convolutions of its own on the pixels, whose biases stand before batch normalisations."""
    return tiny.mcgrl(stem="pixels")


NETWORKS = [UNBOUNDED, tiny.bounded_model, tiny.mtmsa, tiny.lra_gnn, tiny.mcgrl, stemmed_mcgrl]


@pytest.fixture(scope="module", params=NETWORKS)
def make(request: pytest.FixtureRequest) -> Callable[[], AgeModel]:
    function: Callable[[], AgeModel] = request.param
    return function


@cache
def graph_of(make: Callable[[], AgeModel]) -> Graph:
    """Exported once: that takes seconds."""
    return graph(mixed(make, 1), mirror=True)


@pytest.fixture
def exported(make: Callable[[], AgeModel]) -> Graph:
    return graph_of(make)


@torch.no_grad()
def test_one_graph_serves_all_weights_of_a_network(make: Callable[[], AgeModel], exported: Graph) -> None:
    for seed in (1, 2):
        model = mixed(make, seed)
        tensors, age_text = tensors_of(model, GaussianError()), model.encode_ages()
        quick = GraphNetwork(exported, tensors, "test_resnet", age_text.numpy)
        for count in (1, 5):
            crops = random_crops(count, 64)
            agree(quick(crops), crop_outputs(model, crops, age_text, mirror=True))


def test_the_graph_is_one_that_unknown_checkpoints_may_bring(exported: Graph) -> None:
    check_graph(exported)


def test_the_graph_tells_nothing_of_who_made_it(exported: Graph) -> None:
    assert str(Path(__file__).parents[3]).encode() not in exported.onnx
    assert b".py" not in exported.onnx


@torch.no_grad()
def test_a_checkpoints_graph_holds_the_texts_of_the_ages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_ages(_: TextTower) -> None:
        raise AssertionError("the text tower ran")

    config = replace(tiny.CHECKPOINT, model=tiny.BOUNDED)
    save(tmp_path, tiny.bounded_model(), tiny.ensemble(), config)
    monkeypatch.setattr(
        "train.release.onnx_export.graph", lambda model, *, mirror: graph_of(tiny.bounded_model)
    )
    export(tmp_path)
    checkpoint = load(tmp_path)
    monkeypatch.setattr(TextTower, "encode_ages", no_ages)
    quick, slow = checkpoint.network(), replace(checkpoint, graph=None).network()
    agree(quick(random_crops(2, 64)), slow(random_crops(2, 64)))


def test_the_command_puts_a_graph_beside_the_weights(tmp_path: Path) -> None:
    folder = tiny.mtmsa_checkpoint(tmp_path / "mtmsa")
    assert load(folder).graph is None
    assert main(["export", str(folder)]) == 0
    checkpoint = load(folder)
    assert checkpoint.graph is not None
    assert isinstance(AgeEstimator(checkpoint)._network, GraphNetwork)
    tiny.mtmsa_checkpoint(folder)
    assert load(folder).graph is None, "other weights, perhaps of another network"
    assert not (folder / GRAPH).exists()
