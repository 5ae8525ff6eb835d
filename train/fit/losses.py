"""Training losses of CILF (METHOD 6 and 7)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from cilf.model.cilf import Prediction


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms and widths of the targets.

    Attributes:
        sigma: years, width of the age label distribution.
        distribution: weight of KL(label distribution ‖ prediction).
        l1: weight of |E[age] − age| / 10.
        contrastive: weight of the image-text loss on the fused embedding.
        contrastive_sigma: years, how far a face may be from a caption's age and still match.
        score_map: weight of the auxiliary loss on the grid's score map (DenseCLIP).
        score_map_temperature: of that loss.
        taught: share of the teachers' distribution in the target; the label distribution has the rest.
    """

    sigma: float = 2.0
    distribution: float = 1.0
    l1: float = 1.0
    contrastive: float = 0.5
    contrastive_sigma: float = 1.5
    score_map: float = 0.4
    score_map_temperature: float = 0.07
    taught: float = 0.0


def label_distribution(
    age: Float[Tensor, " batch"], sigma: float, num_ages: int
) -> Float[Tensor, "batch age"]:
    """Discretised N(age, sigma) over the ages 0 … K−1; rows sum to 1. Ages beyond the range count as its end."""
    ages = torch.arange(num_ages, dtype=age.dtype, device=age.device)
    logits = -((ages - age.clamp(0, num_ages - 1).unsqueeze(1)) ** 2) / (2 * sigma**2)
    return logits.softmax(dim=1)


def cross_entropy(
    target: Float[Tensor, "row column"], logits: Float[Tensor, "row column"]
) -> Float[Tensor, ""]:
    """Mean over rows of −Σ target · log softmax(logits)."""
    return -(target * logits.float().log_softmax(dim=1)).sum(dim=1).mean()


def kl_divergence(
    target: Float[Tensor, "row column"], logits: Float[Tensor, "row column"]
) -> Float[Tensor, ""]:
    """Mean over rows of KL(target ‖ softmax(logits))."""
    return F.kl_div(logits.float().log_softmax(dim=1), target, reduction="batchmean")


def contrastive(
    image: Float[Tensor, "image embed"],
    text: Float[Tensor, "text embed"],
    scale: Float[Tensor, ""],
    matches: Float[Tensor, "image text"],
) -> Float[Tensor, ""]:
    """Multi-positive image-text loss ½[CE(Q, rows) + CE(Qᵀ, columns)] (METHOD 6).

    `image` and `text` of unit length; `matches` ≥ 0 says how true each text is of each image, and Q is `matches` with
    rows, and with columns for the other direction, made to sum to 1. Images or texts that match nothing are left out.
    """
    similarity = scale * image @ text.T
    return 0.5 * (_matching(similarity, matches) + _matching(similarity.T, matches.T))


def _matching(similarity: Tensor, matches: Tensor) -> Tensor:
    total = matches.sum(dim=1)
    some = total > 1e-6
    return cross_entropy(matches[some] / total[some].unsqueeze(1), similarity[some])


def total_loss(
    prediction: Prediction,
    age: Float[Tensor, " batch"],
    target: Float[Tensor, "batch age"],
    text: Float[Tensor, "text embed"],
    scale: Float[Tensor, ""],
    matches: Float[Tensor, "image text"],
    config: LossConfig,
    *,
    image: Float[Tensor, "image embed"] | None = None,
) -> dict[str, Float[Tensor, ""]]:
    """All weighted terms by name, and their sum as `loss`. `target` is the label distribution of `age`.

    `image` are the embeddings that the texts are matched with, where these are more than the prediction's own: those of
    all processes.
    """
    image = prediction.embedding if image is None else image
    scores = prediction.scores.mean(dim=(2, 3)) / config.score_map_temperature
    terms = {
        "distribution": config.distribution * kl_divergence(target, prediction.estimate.logits),
        "l1": config.l1 * (prediction.estimate.age - age).abs().mean() / 10,
        "contrastive": config.contrastive * contrastive(image, text, scale, matches),
        "score_map": config.score_map * cross_entropy(target, scores),
    }
    return terms | {"loss": torch.stack(list(terms.values())).sum()}
