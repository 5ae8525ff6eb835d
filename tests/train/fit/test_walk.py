"""The reward and the double DQN of LRA-GNN's walk."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from cilf.model.lra_gnn import LRAGNN, STAY, GridWalk, GroupHead
from tests import tiny
from tests.train.fit.test_lra_gnn_losses import RECIPE
from tests.train.made_up import subset
from train.calibrate.calibrate import describe
from train.data.crop_cache import Subset
from train.fit.objective import finish, predict_ages
from train.fit.walk import RAREST, Faces, distances, double_target, final_reward, fit_walk, rarity


@pytest.mark.parametrize(("cell", "reward"), [(23, 4.0), (27, -8.0), (43, -8.0)])
def test_the_reward_of_staying(cell: int, reward: float) -> None:
    """Four times rarer than the commonest decade, true age 23."""
    assert final_reward(torch.tensor([cell]), torch.tensor([23]), torch.tensor([4.0])).item() == reward


def test_rare_decades_count_more_and_not_without_bound() -> None:
    truth = torch.tensor([23] * 8 + [34] * 2 + [119])
    rho = rarity(truth, 12)
    assert (rho[2], rho[3], rho[11], rho[0]) == (1.0, 4.0, 8.0, RAREST)


def test_the_grids_distance_is_not_the_ages() -> None:
    assert distances(torch.tensor([29]), torch.tensor([30])).item() == 10


@given(st.integers(0, 100))
def test_with_equal_networks_double_learning_is_plain(seed: int) -> None:
    values = torch.randn(6, 5, generator=torch.Generator().manual_seed(seed))
    ended = torch.arange(6) < 2
    expected = torch.where(ended, 1.0, 1.0 + 0.9 * values.amax(dim=1))
    torch.testing.assert_close(double_target(torch.ones(6), ended, values, values, 0.9), expected)


def test_without_a_future_the_reward_is_learned() -> None:
    reward = torch.randn(6)
    values = torch.randn(6, 5)
    assert torch.equal(double_target(reward, torch.zeros(6, dtype=torch.bool), values, values, 0.0), reward)


def known_ages(count: int = 40) -> tuple[GridWalk, Faces]:
    """Faces whose features are their true age, one of `count`."""
    torch.manual_seed(0)
    config = replace(tiny.LRA_GNN_MODEL, width=count, policy_width=64)
    truth = torch.arange(count)
    start = torch.randint(count, (count,), generator=torch.Generator().manual_seed(1))
    return GridWalk(config), Faces(torch.eye(count), start, truth)


@pytest.mark.training
@pytest.mark.slow
def test_where_the_features_tell_the_age_the_walk_finds_it() -> None:
    walk, faces = known_ages()
    before = (walk.follow(faces.features, faces.start) - faces.truth).abs().float().mean()
    fit_walk(walk, faces, updates=1500)
    with torch.no_grad():
        after = (walk.follow(faces.features, faces.start) - faces.truth).abs().float().mean()
        best = walk(faces.features, faces.truth.unsqueeze(1))[:, 0].argmax(dim=1)
    assert before > 8
    assert after < 0.2
    assert (best == STAY).float().mean() > 0.95


@pytest.mark.training
@pytest.mark.slow
def test_where_the_features_tell_little_the_walk_ends_all_the_same() -> None:
    """No cell promises a reward above 0 there, and still it must not be put off."""
    torch.manual_seed(0)
    truth = torch.randint(60, (400,))
    near = (truth + torch.randint(-15, 16, truth.shape)).clamp(0, 59)
    walk = GridWalk(replace(tiny.LRA_GNN_MODEL, width=60, policy_width=64))
    faces = Faces(F.one_hot(near, 60).float(), near, truth)
    fit_walk(walk, faces, updates=1500)
    with torch.no_grad():
        ends = walk.follow(faces.features, faces.start)
        stays = walk(faces.features, ends.unsqueeze(1))[:, 0].argmax(dim=1) == STAY
    assert stays.float().mean() > 0.9


@pytest.mark.training
def test_the_same_seed_gives_the_same_walk() -> None:
    walks = []
    for _ in range(2):
        walk, faces = known_ages(12)
        fit_walk(walk, faces, updates=3, seed=4)
        walks.append(walk)
    assert all(
        torch.equal(first, second)
        for first, second in zip(walks[0].parameters(), walks[1].parameters(), strict=True)
    )


@pytest.mark.training
def test_finishing_fits_the_walk_and_nothing_else() -> None:
    data, model = subset(), tiny.lra_gnn()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    finish(model, RECIPE, [data])
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith("head.walk.") for name in changed)
    regression = LRAGNN(replace(tiny.LRA_GNN_MODEL, head="regression"))
    finish(regression, RECIPE, [data])
    assert isinstance(regression.head, GroupHead)
    assert regression.head.walk is None


def relabelled(data: Subset) -> Subset:
    """The same pictures with each other's ages."""
    samples = [
        replace(sample, age=other.age)
        for sample, other in zip(data.cache.samples, reversed(data.cache.samples), strict=True)
    ]
    return replace(data, cache=replace(data.cache, samples=samples))


@pytest.mark.parametrize("make", [tiny.lra_gnn, tiny.mcgrl])
def test_permuting_the_labels_of_a_set_changes_no_prediction(make, tmp_path: Path) -> None:
    model, data = make(), subset()
    assert (predict_ages(model, data, 64) == predict_ages(model, relabelled(data), 64)).all()
    first, second = (describe(model, each, mirror=True) for each in (data, relabelled(data)))
    assert torch.equal(first.estimate.age, second.estimate.age)
    assert torch.equal(first.estimate.logits, second.estimate.logits)
    assert not torch.equal(first.truth, second.truth)
