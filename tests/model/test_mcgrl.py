"""MCGRL: neighbours, masked passes and branches keep what their formulas promise."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cilf.model.config import MCGRLConfig
from cilf.model.mcgrl import MCGRL, Grapher, GroupedLinear, StructuralBranch, nearest
from tests import tiny

NODES, CHANNELS = 16, 24


def cells(batch: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(batch, NODES, CHANNELS, generator=torch.Generator().manual_seed(seed))


def branch(config: MCGRLConfig = tiny.MCGRL_MODEL) -> StructuralBranch:
    torch.manual_seed(0)
    return StructuralBranch(CHANNELS, config).eval()


@given(st.integers(1, 5), st.integers(1, 3), st.booleans())
def test_neighbours_are_distinct_and_a_node_is_its_own_only_when_asked(
    count: int, dilation: int, itself: bool
) -> None:
    chosen = nearest(cells(), count, dilation, itself=itself)
    assert chosen.shape == (3, NODES, count)
    assert (chosen.sort(dim=2).values.diff(dim=2) > 0).all()
    own = torch.arange(NODES)[None, :, None]
    assert bool((chosen == own).any()) == itself
    if itself:
        assert (chosen[:, :, :1] == own).all()


@pytest.mark.parametrize("dilation", [1, 2])
def test_neighbours_are_the_nearest_ones(dilation: int) -> None:
    units = torch.nn.functional.normalize(cells(), dim=2)
    cosine = (units @ units.transpose(1, 2)).masked_fill(torch.eye(NODES, dtype=torch.bool), -2.0)
    order = cosine.argsort(dim=2, descending=True)
    assert torch.equal(nearest(cells(), 3, dilation, itself=False), order[..., : 3 * dilation : dilation])


@torch.no_grad()
def test_a_layer_in_groups_is_a_convolution() -> None:
    layer = GroupedLinear(CHANNELS, 4)
    as_convolution = torch.nn.Conv1d(CHANNELS, CHANNELS, kernel_size=1, groups=4)
    as_convolution.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer(cells()), as_convolution(cells().transpose(1, 2)).transpose(1, 2))


@torch.no_grad()
def test_a_block_adds_the_greatest_differences_to_neighbours_and_a_feed_forward_layer() -> None:
    """METHOD 16, node by node."""
    torch.manual_seed(0)
    block, nodes = Grapher(16, 3, 2, tiny.MCGRL_MODEL).eval(), torch.randn(2, NODES, 16)
    result, index = block(nodes)
    entered = block.enter(block.norm(nodes))
    for face, node in ((0, 0), (0, 9), (1, 15)):
        own = entered[face, node]
        message = torch.stack([entered[face, other] - own for other in index[face, node]]).amax(dim=0)
        pair = torch.stack([own, message], dim=1).flatten()
        joined = torch.nn.functional.gelu(block.join_norm(block.join(pair.view(1, 1, -1))))[0, 0]
        expected = nodes[face, node] + block.leave(joined)
        torch.testing.assert_close(result[face, node], expected + block.feed_forward(expected))


def test_no_gradient_goes_through_the_choice_of_neighbours() -> None:
    structural, nodes = branch(), cells().requires_grad_()
    _, graphs = structural(nodes)
    assert not any(graph.requires_grad for graph in graphs)
    chosen, given = (
        torch.autograd.grad(structural(nodes, None, fixed)[0].square().sum(), nodes)[0]
        for fixed in (None, graphs)
    )
    torch.testing.assert_close(chosen, given)


def test_more_neighbours_than_nodes_and_too_few_are_refused() -> None:
    with pytest.raises(ValueError, match="4×4 nodes are too few"):
        branch(replace(tiny.MCGRL_MODEL, neighbours=(6, 9), dilations=(1, 2)))
    with pytest.raises(ValueError, match="a neighbour beside itself"):
        branch(replace(tiny.MCGRL_MODEL, neighbours=(1, 6), dilations=(1, 1)))


@torch.no_grad()
def test_with_nothing_hidden_both_passes_agree_bit_for_bit() -> None:
    structural = branch()
    clean, graphs = structural(cells())
    masked, _ = structural(cells(), torch.zeros(3, NODES, dtype=torch.bool), graphs)
    assert torch.equal(clean, masked)


@torch.no_grad()
def test_what_a_hidden_node_showed_changes_nothing() -> None:
    structural, hidden = branch(), torch.zeros(3, NODES, dtype=torch.bool)
    hidden[:, 5] = True
    _, graphs = structural(cells())
    other = cells()
    other[:, 5] += 10
    first, second = (structural(each, hidden, graphs)[0] for each in (cells(), other))
    assert torch.equal(first, second)
    assert not torch.equal(first, structural(other, None, graphs)[0])


@torch.no_grad()
def test_permuting_nodes_with_their_positions_permutes_the_result() -> None:
    structural = branch()
    order = torch.randperm(NODES, generator=torch.Generator().manual_seed(1))
    plain, _ = structural(cells())
    structural.nodes.position_embedding.data = structural.nodes.position_embedding.flatten(1)[:, order].view(
        16, 4, 4
    )
    permuted, _ = structural(cells()[:, order])
    torch.testing.assert_close(permuted, plain[:, order])
    torch.testing.assert_close(permuted.mean(dim=1), plain.mean(dim=1))


@torch.no_grad()
def test_evaluation_repeats_and_knows_no_batch() -> None:
    model, pixels = tiny.mcgrl(), torch.rand(4, 3, 64, 64)
    together = model.describe(pixels, model.encode_ages(), mirror=False)
    again = model.describe(pixels, model.encode_ages(), mirror=False)
    alone = model.describe(pixels[:1], model.encode_ages(), mirror=False)
    assert torch.equal(together.estimate.age, again.estimate.age)
    torch.testing.assert_close(alone.estimate.age, together.estimate.age[:1])
    torch.testing.assert_close(together.estimate.age, torch.full((4,), 33.0), atol=1, rtol=0)


@pytest.mark.parametrize(("readout", "rows"), [("node", NODES), ("image", 1)])
def test_nodes_or_images_are_contrasted(readout: str, rows: int) -> None:
    model = MCGRL(replace(tiny.MCGRL_MODEL, readout=readout))
    hidden = torch.zeros(3, NODES, dtype=torch.bool)
    hidden[:, :5] = True
    branches = model(torch.rand(3, 3, 64, 64), hidden)
    assert branches.features.shape == (3, 16)
    for value in (branches.semantic, branches.structural, branches.near):
        assert value.shape == (3, rows, 16)


def test_the_structural_branch_may_start_from_pixels() -> None:
    model = MCGRL(replace(tiny.MCGRL_MODEL, stem="pixels", readout="image"))
    semantic, structural = model._inputs(model.cells(torch.rand(2, 3, 64, 64)))
    assert structural.shape == (2, NODES, 16)
    assert semantic.shape[2] == model.semantic[0].in_features
    model(torch.rand(2, 3, 64, 64), None).features.sum().backward()
    assert model.grid.stem[0].weight.grad.abs().sum() > 0
