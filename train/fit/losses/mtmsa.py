"""Training losses of MTMSA (METHOD 10): age as a Gaussian, with gender and race as auxiliary tasks."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from cilf.model.config import MTMSAConfig
from cilf.model.mtmsa import DECADE, MTMSAPrediction
from train.data.datasets import Sample
from train.fit.targets import Labelled


@dataclass(frozen=True)
class MTMSALossConfig:
    """Weights of the terms.

    Attributes:
        age: weight of KL(Dirac at the true age ‖ N(μ, σ²)).
        l1: weight of |μ − age| / 10. The KL alone gives a hard face a wide σ and then hardly pulls at its μ, as
            Seitzer et al. show ("On the pitfalls of heteroscedastic uncertainty estimation", ICLR 2022).
        gender, race: weights of the cross entropies of the two auxiliary heads.
    """

    age: float = 1.0
    l1: float = 1.0
    gender: float = 0.3
    race: float = 0.3


@dataclass(frozen=True)
class Labels:
    """Of B samples: (B,) ages in years, and (B, classes) shares of each gender and race, all 0 where not known."""

    age: Float[Tensor, " batch"]
    gender: Float[Tensor, "batch gender"]
    race: Float[Tensor, "batch race"]

    def to(self, device: torch.device) -> "Labels":
        """The same on a device."""
        return Labels(*(value.to(device, non_blocking=True) for value in vars(self).values()))


@dataclass(frozen=True)
class MTMSALabels:
    """Labels of a step's samples (`train.fit.targets.Describe`), in the classes of the network's heads."""

    config: MTMSAConfig

    def __call__(self, batch: Labelled) -> Labels:
        return labels(batch.samples, self.config)


def labels(samples: Sequence[Sample], config: MTMSAConfig) -> Labels:
    """What the samples' labels say, in the classes of the network's heads."""
    return Labels(
        torch.tensor([float(sample.age) for sample in samples]),
        _one_hot([sample.gender for sample in samples], config.genders),
        _one_hot([sample.race for sample in samples], config.races),
    )


def _one_hot(words: list[str | None], classes: tuple[str, ...]) -> Float[Tensor, "batch classes"]:
    return torch.tensor([[float(word == known) for known in classes] for word in words])


def dirac_to_gaussian(
    residual: Float[Tensor, " batch"], log_variance: Float[Tensor, " batch"]
) -> Float[Tensor, ""]:
    """Mean over the batch of KL(δ_y ‖ N(μ, σ²)) up to a constant, as KL-Loss has it (He et al., CVPR 2019).

        e^(−α) h(y − μ) + α/2,   α = ln σ²,   h(d) = d²/2 for |d| < 1, else |d| − 1/2

    Past a residual of 1 it grows linearly, so that a wrong label does not rule the batch.
    """
    huber = F.smooth_l1_loss(residual, torch.zeros_like(residual), reduction="none")
    return ((-log_variance).exp() * huber + log_variance / 2).mean()


def known_cross_entropy(
    target: Float[Tensor, "batch classes"], logits: Float[Tensor, "batch classes"]
) -> Float[Tensor, ""]:
    """−Σ target · log softmax(logits) over the batch, divided by all of `target`: samples without a label (rows of
    zeros) count for nothing; a batch without any gives 0."""
    return -(target * logits.log_softmax(dim=1)).sum() / target.sum().clamp(min=1.0)


def multi_task_loss(
    prediction: MTMSAPrediction, target: Labels, config: MTMSALossConfig
) -> dict[str, Float[Tensor, ""]]:
    """All weighted terms by name, and their sum as `loss`."""
    residual = target.age / DECADE - prediction.mean
    terms = {
        "age": config.age * dirac_to_gaussian(residual, prediction.log_variance),
        "l1": config.l1 * residual.abs().mean(),
        "gender": config.gender * known_cross_entropy(target.gender, prediction.gender),
        "race": config.race * known_cross_entropy(target.race, prediction.race),
    }
    return terms | {"loss": torch.stack(list(terms.values())).sum()}
