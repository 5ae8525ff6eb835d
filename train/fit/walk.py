"""The second stage of LRA-GNN: its walk on the grid of decades and years, by a double DQN on the features of the
training photos (METHOD 15).

A walk ends where the network stays, there alone is it rewarded for the place. So it learns to stop by itself: nothing
of the label is in its state, and after training nothing else ends a walk but its length. Nothing is discounted, and
each step costs something: where the features leave the age in doubt the reward of staying is negative, and a discounted
walk puts it off for ever.
"""

import logging
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F
from tqdm import trange

from cilf.model.lra_gnn import LRAGNN, STAY, YEARS, GridWalk, GroupHead, cell_of
from train.data.batches import plain_batches
from train.data.crop_cache import Subset
from train.fit.precision import autocast

log = logging.getLogger(__name__)

DISCOUNT = 1.0
STEP_REWARD = 0.1  # of a step towards the true cell; away from it as much less
STEP_COST = 0.1  # of each step: a walk goes on only for what it earns where it ends
RAREST = 20.0  # largest ρ; rewards are divided by it
RATE, BATCH, MEMORY = 1e-3, 1024, 100_000
TARGET_RATE = 0.005  # by which the target network follows
EXPLORING = (1.0, 0.05)  # share of random moves, at the start and from half of the updates on


def distances(cells: Int[Tensor, " row"], truth: Int[Tensor, " row"]) -> Int[Tensor, " row"]:
    """Steps on the grid from each cell to the true one."""
    rows = (cells // YEARS - truth // YEARS).abs()
    return rows + (cells % YEARS - truth % YEARS).abs()


def rarity(truth: Int[Tensor, " photo"], decades: int) -> Float[Tensor, " decade"]:
    """ρ of each decade: how many times more photos the commonest one has, at most `RAREST`."""
    counts = torch.bincount(truth // YEARS, minlength=decades).float()
    return (counts.max() / counts.clamp(min=1e-9)).clamp(max=RAREST)


def final_reward(
    cells: Int[Tensor, " row"], truth: Int[Tensor, " row"], rarity: Float[Tensor, " row"]
) -> Float[Tensor, " row"]:
    """Of staying at a cell, i steps from the true one: ρ there; −i √ρ in the true decade; −i ρ in another."""
    steps = distances(cells, truth).float()
    missed = -steps * torch.where(cells // YEARS == truth // YEARS, rarity.sqrt(), rarity)
    return torch.where(steps == 0, rarity, missed)


def double_target(
    reward: Float[Tensor, " row"],
    ended: Bool[Tensor, " row"],
    online: Float[Tensor, "row move"],
    target: Float[Tensor, "row move"],
    discount: float,
) -> Float[Tensor, " row"]:
    """r + γ Q_target(s', argmax_a Q_online(s', a)), without the second term where the walk has ended (van Hasselt et
    al., AAAI 2016)."""
    future = target.gather(1, online.argmax(dim=1, keepdim=True)).squeeze(1)
    return reward + discount * torch.where(ended, 0.0, future)


@dataclass(frozen=True)
class Faces:
    """What walks learn from: (N, C) features, and (N,) cells of their starts and true ages."""

    features: Float[Tensor, "photo width"]
    start: Int[Tensor, " photo"]
    truth: Int[Tensor, " photo"]


@dataclass
class _Walkers:
    """Walks that go on beside each other: the photo of each, its cell, and the steps taken."""

    photo: Tensor
    cell: Tensor
    taken: Tensor


def fit_walk(
    walk: GridWalk, faces: Faces, updates: int, *, seed: int = 0, discount: float = DISCOUNT
) -> None:
    """Learn the Q-network of `walk`, in place."""
    torch.manual_seed(seed)
    decades = len(walk.moves) // YEARS
    rho = rarity(faces.truth, decades)[faces.truth // YEARS]
    target = deepcopy(walk).requires_grad_(False)
    optimizer = torch.optim.Adam(walk.parameters(), lr=RATE)
    memory = torch.empty(0, 3, dtype=torch.long)  # photo, cell and move
    walkers = _Walkers(*_fresh(faces, BATCH), torch.zeros(BATCH, dtype=torch.long))
    for update in trange(updates, desc="walk", unit="update", leave=False):
        random_share = max(EXPLORING[1], EXPLORING[0] - 2 * update / updates)
        memory = torch.cat([memory, _steps(walk, faces, walkers, random_share)])[-MEMORY:]
        photo, cell, move = memory[torch.randint(len(memory), (BATCH,))].T
        following, ended = walk.moves[cell, move], move == STAY
        truth = faces.truth[photo]
        nearer = distances(cell, truth) - distances(following, truth)
        moved = STEP_REWARD * nearer - STEP_COST
        reward = torch.where(ended, final_reward(cell, truth, rho[photo]) / RAREST, moved)
        features = faces.features[photo]
        with torch.no_grad():
            online, slow = (network(features, following.unsqueeze(1))[:, 0] for network in (walk, target))
            goal = double_target(reward, ended, online, slow, discount)
        value = walk(features, cell.unsqueeze(1))[:, 0].gather(1, move.unsqueeze(1)).squeeze(1)
        optimizer.zero_grad()
        F.smooth_l1_loss(value, goal).backward()
        optimizer.step()
        for follower, leader in zip(target.parameters(), walk.parameters(), strict=True):
            follower.lerp_(leader.detach(), TARGET_RATE)


def _fresh(faces: Faces, count: int) -> tuple[Tensor, Tensor]:
    photo = torch.randint(len(faces.start), (count,))
    return photo, faces.start[photo]


@torch.no_grad()
def _steps(walk: GridWalk, faces: Faces, walkers: _Walkers, random_share: float) -> Tensor:
    """One step of every walk: (W, 3) photo, cell and move. Walks that end begin again with other photos."""
    best = walk(faces.features[walkers.photo], walkers.cell.unsqueeze(1))[:, 0].argmax(dim=1)
    move = torch.where(torch.rand(len(best)) < random_share, torch.randint(STAY + 1, best.shape), best)
    steps = torch.stack([walkers.photo, walkers.cell, move], dim=1)
    walkers.cell, walkers.taken = walk.moves[walkers.cell, move], walkers.taken + 1
    over = (move == STAY) | (walkers.taken >= walk.most)
    photo, cell = _fresh(faces, len(move))
    walkers.photo, walkers.cell = (
        torch.where(over, new, old) for new, old in ((photo, walkers.photo), (cell, walkers.cell))
    )
    walkers.taken = torch.where(over, 0, walkers.taken)
    return steps


def has_walk(model: LRAGNN) -> bool:
    """Whether the network's age is where a walk ends."""
    return isinstance(model.head, GroupHead) and model.head.walk is not None


def fit_walk_on(
    model: LRAGNN, features: Float[Tensor, "photo width"], ages: Float[Tensor, " photo"], recipe: Any
) -> None:
    """Fit the walk of a trained network, where it has one, on the features and true ages of some photos."""
    head = model.head
    if not isinstance(head, GroupHead) or head.walk is None:
        return
    with torch.no_grad():
        start = head(features).start()
    faces = Faces(features, start, cell_of(ages, model.config.decades))
    fit_walk(head.walk, faces, recipe.loss.walk_updates, seed=recipe.fit.seed)
    log.info("the walk is fitted on %d photos", len(ages))


def _features(model: LRAGNN, pixels: Tensor) -> Tensor:
    with autocast(pixels.device):
        return model(pixels.to(memory_format=torch.channels_last)).float()


def learn_walk(model: LRAGNN, recipe: Any, train: Sequence[Subset]) -> None:
    """`fit_walk_on` the unaugmented training photos."""
    if not has_walk(model):
        return
    model.eval()
    with torch.no_grad():
        features = [
            _features(model, pixels) for part in train for pixels in plain_batches(part, model.image_size)
        ]
    ages = torch.tensor([float(sample.age) for part in train for sample in part.samples])
    fit_walk_on(model, torch.cat(features), ages, recipe)
