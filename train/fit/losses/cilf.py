"""Training losses of CILF (METHOD 6 and 7)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from cilf.model.cilf import Prediction
from cilf.model.head import AgeEstimate

NEVER = -1e9  # logit of what is left out of a softmax; −∞ times a target of 0 would be no number


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms and widths of the targets.

    Attributes:
        sigma: years, width of the age label distribution.
        distribution: weight of KL(label distribution ‖ prediction).
        l1: weight of |E[age] − age| / 10.
        contrastive: weight of the image-text loss on the fused embedding.
        attributes: weight of the loss on pairs of texts that differ in one measured attribute; at 0 none is measured,
            and captions say nothing but age, gender and race.
        contrastive_sigma: years, how far a face may be from a caption's age and still match.
        score_map: weight of the auxiliary loss on the grid's score map (DenseCLIP).
        score_map_temperature: of that loss.
        distillation: share of the teachers' distribution in the target; the label distribution has the rest.
        parts: weight of the first four terms, again, on the image tower's embedding alone and on the fusion's shares
            alone, each against the plain age prompts (deep supervision, Lee et al., AISTATS 2015).
        consistency: weight of the symmetric divergence between the distributions of two views of a photo; above 0 half
            of every batch is also seen in a second view (`train.data.augmentation`), which learns the labels too.
        consistency_temperature: by which both distributions are softened for that.
    """

    sigma: float = 2.0
    distribution: float = 1.0
    l1: float = 1.0
    contrastive: float = 0.5
    attributes: float = 0.0
    contrastive_sigma: float = 1.5
    score_map: float = 0.4
    score_map_temperature: float = 0.07
    distillation: float = 0.0
    parts: float = 0.0
    consistency: float = 0.0
    consistency_temperature: float = 2.0


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


@dataclass(frozen=True)
class Texts:
    """What images are matched with.

    Attributes:
        embeddings: (T, D) of unit length.
        scale: factor of the cosines.
        matches: (B, T) ≥ 0, how true each text is of each image.
        unknown: (B, T) where nothing is known of that; None where everything is.
    """

    embeddings: Float[Tensor, "text embed"]
    scale: Float[Tensor, ""]
    matches: Float[Tensor, "image text"]
    unknown: Bool[Tensor, "image text"] | None = None
    pairs: "AttributePairs | None" = None


@dataclass(frozen=True)
class AttributePairs:
    """Texts that differ in one attribute, and what was measured of it.

    Attributes:
        present, absent: (A, D) of unit length.
        truth: (B, A) in [0, 1], how clearly each attribute is there; as `Texts.matches`, of all processes' images.
        measured: (B, A) where that is known.
    """

    present: Float[Tensor, "attribute embed"]
    absent: Float[Tensor, "attribute embed"]
    truth: Float[Tensor, "image attribute"]
    measured: Bool[Tensor, "image attribute"]


FEWEST = 4  # images that an attribute's presence, or its absence, is averaged over at least


def attribute_loss(
    image: Float[Tensor, "image embed"], pairs: AttributePairs, scale: Float[Tensor, ""]
) -> Float[Tensor, ""]:
    """Mean over attributes of the cross-entropy of which text of its pair fits better.

    In the contrastive loss an attribute that a caption names counts little beside age and gender, by which nearly every
    text can be told from the others. Here nothing else differs. Presence and absence weigh the same, however rare.
    """
    logits = (scale * image @ (pairs.present - pairs.absent).T).float()
    surprise = F.binary_cross_entropy_with_logits(logits, pairs.truth, reduction="none")
    total = logits.new_zeros(logits.shape[1])
    for share in (pairs.truth, 1 - pairs.truth):
        share = share * pairs.measured
        total = total + (share * surprise).sum(dim=0) / (2 * share.sum(dim=0).clamp(min=FEWEST))
    return total.mean()


def contrastive(image: Float[Tensor, "image embed"], texts: Texts) -> Float[Tensor, ""]:
    """Multi-positive image-text loss ½[CE(Q, rows) + CE(Qᵀ, columns)] (METHOD 6).

    Q is `texts.matches` with rows, and with columns for the other direction, made to sum to 1. Images or texts that
    match nothing are left out; a pair of which nothing is known counts neither for nor against. `image` of unit length.
    """
    similarity, matches = (texts.scale * image @ texts.embeddings.T).float(), texts.matches
    if texts.unknown is not None:
        similarity = similarity.masked_fill(texts.unknown, NEVER)
        matches = matches.masked_fill(texts.unknown, 0.0)
    return 0.5 * (_matching(similarity, matches) + _matching(similarity.T, matches.T))


def _matching(similarity: Tensor, matches: Tensor) -> Tensor:
    """Mean cross-entropy of the rows that match something, without an index that a GPU would have to hand back."""
    total = matches.sum(dim=1)
    some = total > 1e-6
    share = matches / total.clamp(min=1e-6).unsqueeze(1)
    surprise = -(share * similarity.log_softmax(dim=1)).sum(dim=1)
    return torch.where(some, surprise, 0.0).sum() / some.sum().clamp(min=1)


def symmetric_divergence(
    first: Float[Tensor, "row column"], second: Float[Tensor, "row column"], temperature: float
) -> Float[Tensor, ""]:
    """Mean over rows of ½[KL(p ‖ q) + KL(q ‖ p)] of two softmaxes at a temperature."""
    p, q = ((logits.float() / temperature).log_softmax(dim=1) for logits in (first, second))
    return 0.5 * ((p.exp() - q.exp()) * (p - q)).sum(dim=1).mean()


def total_loss(
    prediction: Prediction,
    age: Float[Tensor, " batch"],
    target: Float[Tensor, "batch age"],
    texts: Texts,
    config: LossConfig,
    *,
    gather: Callable[[Tensor], Tensor] = lambda rows: rows,
) -> dict[str, Float[Tensor, ""]]:
    """All weighted terms by name, and their sum as `loss`. `target` is the label distribution of `age`.

    Rows of the prediction beyond those of `age` are second views of the first photos. `gather` gives the embeddings
    that the texts are matched with, where these are more than the prediction's own: those of all processes.
    """
    count = len(age)
    views = len(prediction.embedding) - count
    again = [torch.cat([value, value[:views]]) for value in (age, target)]

    def divergence(estimate: AgeEstimate) -> Tensor:
        return config.distribution * kl_divergence(again[1], estimate.logits)

    def error(estimate: AgeEstimate) -> Tensor:
        return config.l1 * (estimate.age - again[0]).abs().mean() / 10

    def matched(embedding: Tensor) -> Tensor:
        return config.contrastive * contrastive(gather(embedding[:count]), texts)

    def named(embedding: Tensor) -> Tensor:
        if texts.pairs is None or not config.attributes:
            return embedding.new_zeros(())
        return config.attributes * attribute_loss(gather(embedding[:count]), texts.pairs, texts.scale)

    scores = prediction.scores[:count].mean(dim=(2, 3)) / config.score_map_temperature
    logits = prediction.estimate.logits
    terms = {
        "distribution": divergence(prediction.estimate),
        "l1": error(prediction.estimate),
        "contrastive": matched(prediction.embedding),
        "attributes": named(prediction.embedding),
        "score_map": config.score_map * cross_entropy(target, scores),
    }
    if config.parts:
        for name, part in (("tower", prediction.tower), ("shares", prediction.shares)):
            age_terms = divergence(part.estimate) + error(part.estimate)
            terms[name] = config.parts * (age_terms + matched(part.embedding) + named(part.embedding))
    if views:
        terms["consistency"] = config.consistency * symmetric_divergence(
            logits[:views], logits[count:], config.consistency_temperature
        )
    return terms | {"loss": torch.stack(list(terms.values())).sum()}
