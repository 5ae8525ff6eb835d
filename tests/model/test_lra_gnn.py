"""LRA-GNN: graphs, residual convolutions, groups and the walk keep what their formulas promise."""

from dataclasses import replace
from inspect import signature

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cilf.model.config import LRAGNNConfig
from cilf.model.lra_gnn import (
    LRAGNN,
    STAY,
    YEARS,
    Ensemble,
    GridWalk,
    GroupHead,
    ResidualGraphLayer,
    cell_of,
    initial_graph,
    neighbours,
    residual_convolution,
    transitions,
    visit_rates,
)
from cilf.model.nodes import key_point_cells
from tests import tiny

NODES, WIDTH = 16, 16


def random_nodes(batch: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(batch, NODES, WIDTH, generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 1000), st.integers(1, 20))
def test_the_initial_graph_is_symmetric_without_loops(seed: int, edges: int) -> None:
    adjacency = initial_graph(random_nodes(seed=seed), edges)
    assert torch.equal(adjacency, adjacency.transpose(1, 2))
    assert not adjacency.diagonal(dim1=1, dim2=2).any()
    assert adjacency.sum(dim=(1, 2)).tolist() == [2 * edges] * 3


def test_the_initial_graph_joins_the_nodes_that_are_most_alike() -> None:
    nodes = random_nodes()
    joined = initial_graph(nodes, 10) > 0
    units = torch.nn.functional.normalize(nodes, dim=2)
    cosine = units @ units.transpose(1, 2)
    pairs = ~torch.eye(NODES, dtype=torch.bool)
    for face in range(len(nodes)):
        assert cosine[face][joined[face]].min() >= cosine[face][pairs & ~joined[face]].max()


@torch.no_grad()
def test_attention_follows_the_random_walk() -> None:
    """Where queries say nothing it is that of the walk alone, to the power of λ."""
    model, nodes = tiny.lra_gnn(), random_nodes()
    assert model.relations is not None
    torch.nn.init.zeros_(model.relations.queries.weight)
    transition = transitions(initial_graph(nodes, 10))
    visits = visit_rates(transition, model.config.walk_steps)
    strength = torch.nn.functional.softplus(model.relations.guidance)[:, None, None]
    share = (1e-4 + (transition + visits) / 2).unsqueeze(1) ** strength
    torch.testing.assert_close(model.relations(nodes, 10), share / share.sum(dim=3, keepdim=True))


def test_the_walk_stays_in_the_graphs_components() -> None:
    adjacency = torch.zeros(1, 6, 6)
    for first, second in ((0, 1), (1, 2), (3, 4)):
        adjacency[0, first, second] = adjacency[0, second, first] = 1
    transition = transitions(adjacency)
    rates = visit_rates(transition, 5)
    for matrix in (transition, rates):
        torch.testing.assert_close(matrix.sum(dim=2), torch.ones(1, 6))
    component = torch.tensor([0, 0, 0, 1, 1, 2])
    assert ((rates[0] > 0) == (component[:, None] == component)).all()


def test_visit_rates_are_those_of_drawn_walks() -> None:
    """A walk of node2vec with p = q = 1, which stays where it is as often as it goes to each neighbour."""
    generator = torch.Generator().manual_seed(0)
    adjacency = initial_graph(random_nodes(1)[:, :5], 5)
    transition = transitions(adjacency)[0]
    place, visits = torch.zeros(20_000, dtype=torch.long), torch.zeros(5)
    for _ in range(4):
        place = transition[place].multinomial(1, generator=generator).squeeze(1)
        visits += torch.bincount(place, minlength=5)
    torch.testing.assert_close(
        visits / visits.sum(), visit_rates(transition[None], 4)[0, 0], atol=0.01, rtol=0
    )


def test_attention_rows_sum_to_one() -> None:
    model = tiny.lra_gnn()
    assert model.relations is not None
    attention = model.relations(random_nodes(), 10)
    torch.testing.assert_close(attention.sum(dim=3), torch.ones(3, 2, NODES))
    assert (attention > 0).all()


@torch.no_grad()
def test_the_order_of_the_nodes_does_not_matter() -> None:
    model, nodes = tiny.lra_gnn(), random_nodes()
    order = torch.randperm(NODES, generator=torch.Generator().manual_seed(1))
    assert model.relations is not None
    attention = model.relations(nodes, 10)
    permuted = model.relations(nodes[:, order], 10)
    torch.testing.assert_close(permuted, attention[:, :, order][:, :, :, order])
    torch.testing.assert_close(model.pooled(nodes[:, order], permuted), model.pooled(nodes, attention))


def test_residuals_alone_and_none_at_all() -> None:
    nodes, weight = random_nodes().unsqueeze(1), torch.randn(1, WIDTH, WIDTH)
    attention = random_nodes(seed=1) @ random_nodes(seed=2).transpose(1, 2)
    now = nodes
    for _ in range(3):  # a = 1, b = 0, c = 0
        now = residual_convolution(attention.unsqueeze(1) @ now, nodes, now, weight, (1.0, 0.0, 0.0))
        torch.testing.assert_close(now, nodes.relu())
    plain = residual_convolution(attention.unsqueeze(1) @ nodes, nodes, nodes, weight, (0.0, 0.0, 1.0))
    torch.testing.assert_close(plain, (attention.unsqueeze(1) @ nodes @ weight).relu())


def test_at_the_start_a_tenth_of_each_residual_is_added() -> None:
    layer = ResidualGraphLayer(tiny.LRA_GNN_MODEL, 1)
    for gate in (layer.initial, layer.developmental):
        torch.testing.assert_close(gate(torch.randn(5, WIDTH)).sigmoid(), torch.full((5, 1), 0.1))


@torch.no_grad()
def test_residuals_keep_nodes_apart() -> None:
    """Twelve layers of averaging without them make all nodes alike."""
    torch.manual_seed(0)
    config = replace(tiny.LRA_GNN_MODEL, layers=12)
    layers = [ResidualGraphLayer(config, 1 + number).eval() for number in range(12)]
    nodes = random_nodes().unsqueeze(1)
    attention = torch.randn(3, 1, NODES, NODES).softmax(dim=3)

    def alike(now: Tensor) -> float:
        units = torch.nn.functional.normalize(now[:, 0], dim=2)
        return float((units @ units.transpose(1, 2)).mean())

    now = before = bare = nodes
    for layer in layers:
        now, before = layer(now, before, nodes, attention), now
        bare = residual_convolution(attention @ bare, nodes, bare, layer.weight, (0.0, 0.0, layer.identity))
    assert alike(now) < alike(bare)
    assert alike(bare) > 0.98


@given(st.integers(0, 119))
def test_cells_are_ages(age: int) -> None:
    cell = cell_of(torch.tensor([float(age)]), 12)
    assert cell.item() == age == YEARS * (cell // YEARS).item() + (cell % YEARS).item()


def test_moves_lead_to_neighbours_and_never_off_the_grid() -> None:
    ends = neighbours(12)
    assert ends.shape == (120, 5)
    assert ends[37].tolist() == [27, 47, 36, 38, 37]
    assert ends[0].tolist() == [0, 10, 0, 1, 0]
    assert ends[119].tolist() == [109, 119, 118, 119, 119]
    assert torch.equal(ends[:, STAY], torch.arange(120))


def test_the_groups_give_the_age() -> None:
    groups = torch.full((1, 12), -50.0)
    groups[0, 3] = 50
    ensemble = Ensemble(groups, torch.full((1, 12), 4.6))
    age, doubt = ensemble.ages()
    assert age.item() == pytest.approx(34.6, abs=1e-4)
    assert doubt.item() == pytest.approx(0, abs=1e-2)
    assert ensemble.start().tolist() == [35]


def random_walk(seed: int = 0) -> GridWalk:
    torch.manual_seed(seed)
    walk = GridWalk(tiny.LRA_GNN_MODEL)
    torch.nn.init.normal_(walk.values[-1].weight)
    return walk


@torch.no_grad()
def test_a_walk_takes_the_best_moves_and_ends_on_staying_or_at_its_length() -> None:
    walk, features = random_walk(), torch.randn(40, WIDTH)
    start = torch.randint(120, (40,), generator=torch.Generator().manual_seed(0))
    place, taken = start.clone(), torch.zeros(40, dtype=torch.long)
    for _ in range(walk.most):
        best = walk(features, place.unsqueeze(1))[:, 0].argmax(dim=1)
        taken += best != STAY
        place = walk.moves[place, best]
    assert torch.equal(walk.follow(features, start), place)
    assert torch.equal(walk.follow(features, start), walk.follow(features, start))
    assert (taken <= walk.most).all()
    assert (place != start).any()


@torch.no_grad()
def test_before_it_is_fitted_a_walk_ends_where_it_begins() -> None:
    walk, start = GridWalk(tiny.LRA_GNN_MODEL), torch.arange(7)
    assert torch.equal(walk.follow(torch.randn(7, WIDTH), start), start)


def test_no_label_enters_the_walk_or_the_estimate() -> None:
    for function, names in (
        (GridWalk.follow, {"self", "features", "start"}),
        (GroupHead.estimate, {"self", "features"}),
        (LRAGNN.read, {"self", "cells"}),
    ):
        assert set(signature(function).parameters) == names


@torch.no_grad()
def test_walk_and_regression_differ_in_the_age_alone() -> None:
    model, pixels = tiny.lra_gnn(), torch.rand(2, 3, 64, 64)
    regression = LRAGNN(replace(tiny.LRA_GNN_MODEL, head="regression")).eval()
    regression.load_state_dict(
        {name: value for name, value in model.state_dict().items() if ".walk." not in name}
    )
    walked, regressed = (
        each.describe(pixels, each.encode_ages(), mirror=False) for each in (model, regression)
    )
    torch.testing.assert_close(walked.embedding, regressed.embedding)
    assert torch.equal(walked.estimate.age, walked.estimate.age.round())
    assert not torch.equal(walked.estimate.age, regressed.estimate.age)


@torch.no_grad()
def test_cells_without_a_key_point_are_no_nodes() -> None:
    model, beside = tiny.lra_gnn(), torch.from_numpy(~key_point_cells(8))
    cells = torch.rand(2, 64, model.grid.channels)
    others = torch.where(beside.unsqueeze(1), torch.rand_like(cells), cells)
    first, second = model.read(cells), model.read(others)
    torch.testing.assert_close(first.embedding, second.embedding)
    assert not first.relevance[:, beside].any()
    assert (first.relevance[:, ~beside] > 0).all()
    every = LRAGNN(replace(tiny.LRA_GNN_MODEL, nodes="all")).eval()
    assert not torch.equal(every.read(cells).embedding, every.read(others).embedding)


@torch.no_grad()
def test_smaller_pictures_and_all_nodes() -> None:
    model = LRAGNN(replace(tiny.LRA_GNN_MODEL, nodes="all", shared=False)).eval()
    assert model.layers[0].weight.shape[0] == 2
    assert model(torch.rand(2, 3, 48, 48)).shape == (2, WIDTH)
    assert model.read(model.cells(torch.rand(2, 3, 64, 64))).relevance.shape == (2, 16)


def test_the_released_sizes_are_the_default() -> None:
    config = LRAGNNConfig()
    assert (config.image_size, config.layers, config.heads, config.moves) == (128, 8, 4, 24)
