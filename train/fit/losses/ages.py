"""True ages of a batch, mixed where its pictures are, and the loss of CILF's age head alone."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cilf.model.head import AgeEstimate
from train.fit.losses.cilf import kl_divergence, label_distribution
from train.fit.targets import Labelled


@dataclass(frozen=True)
class MixedAges:
    """Of B pictures, each `share` of one photo and the rest of another: (B,) ages of both in years."""

    first: Float[Tensor, " batch"]
    second: Float[Tensor, " batch"]
    share: float = 1.0

    def to(self, device: torch.device) -> "MixedAges":
        """The same on a device."""
        first, second = (value.to(device, non_blocking=True) for value in (self.first, self.second))
        return MixedAges(first, second, self.share)

    def mixed(self, share: float) -> "MixedAges":
        """As mixup mixes the pictures: each with its place in the reversed batch."""
        return MixedAges(self.first, self.first.flip(0), share)

    def mean(self, of: Callable[[Tensor], Tensor] = lambda age: age) -> Tensor:
        """A function of both ages, mixed as the pictures are."""
        return self.share * of(self.first) + (1 - self.share) * of(self.second)


def true_ages(batch: Labelled) -> MixedAges:
    """Ages of a step's samples (`train.fit.targets.Describe`)."""
    age = torch.tensor([float(sample.age) for sample in batch.samples])
    return MixedAges(age, age)


def distribution_terms(estimate: AgeEstimate, ages: MixedAges, sigma: float) -> dict[str, Tensor]:
    """KL(label distribution of `sigma` years ‖ prediction) and |E[age] − age| / 10, as CILF's head learns."""
    target = ages.mean(lambda age: label_distribution(age, sigma, estimate.logits.shape[1]))
    return {
        "distribution": kl_divergence(target, estimate.logits),
        "l1": (estimate.age - ages.mean()).abs().mean() / 10,
    }


def with_sum(terms: dict[str, Tensor]) -> dict[str, Tensor]:
    """The terms, and their sum as `loss`."""
    return terms | {"loss": torch.stack(list(terms.values())).sum()}
