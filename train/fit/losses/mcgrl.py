"""Training losses of MCGRL (METHOD 16): the age, and three contrasts of the semantic and the structural branch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from cilf.model.head import LinearHead
from cilf.model.mcgrl import MCGRL
from train.data.crop_cache import Subset
from train.fit.losses.ages import MixedAges, distribution_terms, with_sum


@dataclass(frozen=True)
class MCGRLLossConfig:
    """Weights of the terms, and the margins of the contrasts in distances of unit vectors.

    Attributes:
        structural: weight of T1: h is nearer to h+ than to the negatives, by a margin.
        near: weight of T2: the same for the mean of its neighbours.
        bound: weight of U: the negatives are no farther than that margin and a little more.
        margin, slack: that margin, and that little more.
        negatives: for each row.
        sigma: years, width of the label distribution, where the network has CILF's head.
    """

    structural: float = 1.0
    near: float = 1.0
    bound: float = 1.0
    margin: float = 0.8
    slack: float = 0.2
    negatives: int = 4
    sigma: float = 2.0

    def terms(
        self, model: MCGRL, cells: Float[Tensor, "batch node channel"], ages: MixedAges
    ) -> dict[str, Tensor]:
        """`mcgrl_loss` with these weights."""
        return mcgrl_loss(model, cells, ages, self)

    def last_stage(self, model: MCGRL, recipe: Any, train: Sequence[Subset]) -> None:
        """Nothing is left once the loop is through."""


def hidden_nodes(images: int, nodes: int, share: float) -> Bool[Tensor, "batch node"]:
    """A share of the nodes of each image, drawn at random, as many in each."""
    order = torch.rand(images, nodes).argsort(dim=1)
    return order < round(share * nodes)


def negative_rows(images: int, nodes: int, count: int) -> Int[Tensor, "negative row"]:
    """For each of the rows (image by image) `count` rows of other images: random permutations, in which what falls on
    its own image is drawn again. Needs two images."""
    rows = torch.arange(images * nodes)
    own = rows // nodes
    drawn = torch.stack([torch.randperm(len(rows)) for _ in range(count)])
    other = (own + torch.randint(1, images, drawn.shape)) % images
    return torch.where(drawn // nodes == own, other * nodes + torch.randint(nodes, drawn.shape), drawn)


def distance(
    first: Float[Tensor, "*row embed"], second: Float[Tensor, "*row embed"]
) -> Float[Tensor, "*row"]:
    """Euclidean distances; with a gradient also where they are 0."""
    return ((first - second).square().sum(dim=-1) + 1e-8).sqrt()


def contrasts(
    to_structural: Float[Tensor, " row"],
    to_near: Float[Tensor, " row"],
    to_negatives: Float[Tensor, "negative row"],
    config: MCGRLLossConfig,
) -> dict[str, Float[Tensor, ""]]:
    """T1, T2 and U from the distances of h to h+, to its neighbours' mean and to the negatives.

        T1 = Σ_k mean [d(h, h+) − d(h, h⁻_k) + m]₊,   T2 the same,   U = mean [d(h, h⁻_k) − d(h, h+) − m − s]₊

    Multiplet loss and upper bound of SUGRL (Mo et al., AAAI 2022), with means where it sums over rows. U moves the
    negatives alone: no gradient goes through its d(h, h+).
    """
    bound = to_negatives - to_structural.detach() - config.margin - config.slack
    return {
        "structural": F.relu(to_structural - to_negatives + config.margin).mean(dim=1).sum(),
        "near": F.relu(to_near - to_negatives + config.margin).mean(dim=1).sum(),
        "bound": F.relu(bound).mean(),
    }


def mcgrl_loss(
    model: MCGRL, cells: Float[Tensor, "batch node channel"], ages: MixedAges, config: MCGRLLossConfig
) -> dict[str, Tensor]:
    """All weighted terms by name, and their sum as `loss`, from the cells of the trunk's grid."""
    images, nodes = cells.shape[:2]
    share, head = model.config.mask, model.head
    hidden = hidden_nodes(images, nodes, share).to(cells.device) if share else None
    branches = model.branches(cells, hidden)
    with torch.autocast(cells.device.type, enabled=False):
        rows = (branches.semantic, branches.structural, branches.near)
        h, structural, near = (F.normalize(value.float(), dim=2).flatten(0, 1) for value in rows)
        negatives = negative_rows(images, branches.semantic.shape[1], config.negatives).to(h.device)
        terms = contrasts(distance(h, structural), distance(h, near), distance(h, h[negatives]), config)
        weights = {name: getattr(config, name) for name in terms}
        contrast = {name: weights[name] * value for name, value in terms.items() if weights[name]}
        features = branches.features.float()
        if isinstance(head, LinearHead):
            return with_sum(distribution_terms(head.estimate(features), ages, config.sigma) | contrast)
        return with_sum({"age": (head(features) - ages.mean()).abs().mean()} | contrast)
