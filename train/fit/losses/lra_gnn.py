"""Training losses of LRA-GNN (METHOD 15): age groups by a focal loss, and the age that they and the years give."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from cilf.model.head import LinearHead
from cilf.model.lra_gnn import LRAGNN, YEARS, Ensemble, cell_of
from train.data.crop_cache import Subset
from train.fit.losses.ages import MixedAges, distribution_terms, with_sum
from train.fit.walk import learn_walk


@dataclass(frozen=True)
class LRAGNNLossConfig:
    """Weights of the terms.

    Attributes:
        groups: η, weight of the focal loss of the decades; the age's has 1 − η.
        focal: τ, by which decades that are told already count less.
        years: by which the age's absolute error is divided.
        sigma: years, width of the label distribution, where the network has CILF's head.
        walk_updates: of the Q-network, after everything else is trained (`train.fit.walk`).
    """

    groups: float = 0.4
    focal: float = 1.3
    years: float = 5.0
    sigma: float = 2.0
    walk_updates: int = 4000

    def terms(
        self, model: LRAGNN, cells: Float[Tensor, "batch node channel"], ages: MixedAges
    ) -> dict[str, Tensor]:
        """`lra_gnn_loss` with these weights."""
        return lra_gnn_loss(model, cells, ages, self)

    def last_stage(self, model: LRAGNN, recipe: Any, train: Sequence[Subset]) -> None:
        """Fit the walk, which the loop leaves alone, in place."""
        learn_walk(model, recipe, train)


def focal_loss(
    target: Float[Tensor, "batch group"], logits: Float[Tensor, "batch group"], power: float
) -> Float[Tensor, ""]:
    """Mean over the batch of −Σ target (1 − p)^power log p (Lin et al., ICCV 2017); `target` rows sum to 1."""
    log_shares = logits.float().log_softmax(dim=1)
    return -(target * (1 - log_shares.exp()) ** power * log_shares).sum(dim=1).mean()


def ensemble_terms(ensemble: Ensemble, ages: MixedAges, config: LRAGNNLossConfig) -> dict[str, Tensor]:
    """The weighted terms of classifier and regressors."""
    decades = ensemble.groups.shape[1]
    groups = ages.mean(lambda age: F.one_hot(cell_of(age, decades) // YEARS, decades).float())
    error = (ensemble.ages()[0] - ages.mean()).abs().mean() / config.years
    return {
        "groups": config.groups * focal_loss(groups, ensemble.groups, config.focal),
        "age": (1 - config.groups) * error,
    }


def lra_gnn_loss(
    model: LRAGNN, cells: Float[Tensor, "batch node channel"], ages: MixedAges, config: LRAGNNLossConfig
) -> dict[str, Tensor]:
    """All weighted terms by name, and their sum as `loss`, from the cells of the trunk's grid."""
    features, head = model.features(cells), model.head
    with torch.autocast(cells.device.type, enabled=False):
        if isinstance(head, LinearHead):
            return with_sum(distribution_terms(head.estimate(features), ages, config.sigma))
        return with_sum(ensemble_terms(head(features), ages, config))
