"""CILF: the whole differentiable model, put together from its parts."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from cilf.model.base import AgeModel, Description
from cilf.model.clip import ClipTowers
from cilf.model.config import ModelConfig
from cilf.model.fourierformer import FourierFusion
from cilf.model.head import AgeEstimate, AgeHead
from cilf.model.prompts import AgePrompts, ContextAwarePrompting


@dataclass(frozen=True)
class PartEstimate:
    """An embedding (B, D) of unit length and the age distribution that it gives by itself."""

    embedding: Float[Tensor, "batch embed"]
    estimate: AgeEstimate


@dataclass(frozen=True)
class Prediction:
    """What the model says of a batch of B crops; K ages, D shared width.

    Attributes:
        embedding: (B, D) fused image embedding g, unit length.
        age_text: (B, K, D) context-aware age prompts T′, unit length.
        estimate: the age head's distribution and its moments.
        tower, shares: the two parts of g, each of unit length (`Fused`), with the estimate that it gives by itself
            against the plain age prompts: the image tower's global embedding, and what the fusion added to it.
        grid: (B, D, H, W) each grid cell's share of the fused embedding.
        scores: (B, K, H, W) cosine of raw grid cells and plain age prompts.
    """

    embedding: Float[Tensor, "batch embed"]
    age_text: Float[Tensor, "batch age embed"]
    estimate: AgeEstimate
    tower: PartEstimate
    shares: PartEstimate
    grid: Float[Tensor, "batch embed rows columns"]
    scores: Float[Tensor, "batch age rows columns"]

    def relevance(self) -> Float[Tensor, "batch rows columns"]:
        """How much each grid cell speaks for the estimated age, against all other ages.

        The fused embedding is, up to its length, the global embedding plus the mean of the cells' shares (METHOD 5.3).
        So a share's inner product with a direction is what its cell adds along it: here from the mean of all prompts
        towards the mean of those of the likely ages, weighted by their probabilities.
        """
        expected = self.estimate.probabilities.unsqueeze(1) @ self.age_text
        contrast = F.normalize(expected - self.age_text.mean(dim=1, keepdim=True), dim=-1)
        return (contrast @ self.grid.flatten(2)).unflatten(2, self.grid.shape[2:]).squeeze(1)


class CILF(AgeModel):
    """CLIP towers → age prompts → FourierFormer fusion → context-aware prompts → age head.

    The error ensemble and the interval are not part of it: they are fitted afterwards, on other photos
    (`cilf.inference.correction`, `cilf.conformal`).
    """

    head: AgeHead

    def __init__(
        self,
        towers: ClipTowers,
        prompts: AgePrompts,
        fusion: FourierFusion,
        prompting: ContextAwarePrompting,
        head: AgeHead,
    ) -> None:
        super().__init__()
        self.towers = towers
        self.prompts = prompts
        self.fusion = fusion
        self.prompting = prompting
        self.head = head

    @property
    def image_size(self) -> int:
        """Side of the square crops in pixels."""
        return self.towers.config.image_size

    @property
    def embed_dim(self) -> int:
        """Width D of the space that images and texts share."""
        return self.towers.embed_dim

    @property
    def image_network(self) -> nn.Module:
        """The image tower."""
        visual: nn.Module = self.towers.clip.visual
        return visual

    def forward(
        self, pixels: Float[Tensor, "batch 3 height width"], age_text: Float[Tensor, "age embed"]
    ) -> Prediction:
        """Estimate ages from RGB crops with values in [0, 1]; `age_text` is from `encode_ages`."""
        return self.fuse(*self.towers.encode_image(pixels), age_text)

    def fuse(
        self,
        image: Float[Tensor, "batch embed"],
        grid: Float[Tensor, "batch embed rows columns"],
        age_text: Float[Tensor, "age embed"],
    ) -> Prediction:
        """All that comes after the image tower, whose embeddings are `image` and `grid`."""
        fused = self.fusion(image, grid, age_text)
        text = self.prompting(age_text, fused.text)
        tower, shares = (
            PartEstimate(part, self.head(part, age_text)) for part in (fused.tower, fused.shares)
        )
        estimate = self.head(fused.image, text)
        return Prediction(fused.image, text, estimate, tower, shares, fused.grid, fused.scores)

    def describe(
        self,
        pixels: Float[Tensor, "batch 3 height width"],
        age_text: Float[Tensor, "age embed"],
        *,
        mirror: bool,
    ) -> Description:
        """Estimate ages as `forward` does; with `mirror` the image tower also sees the mirror image, and one fusion
        gets both views' mean. A mirrored photo may then get a slightly different age, since the fusion takes a grid's
        cells in order."""
        if mirror:
            image, grid = self.towers.encode_image(torch.cat([pixels, pixels.flip(-1)]))
            image = image.unflatten(0, (2, -1)).mean(dim=0)
            seen, mirrored = grid.unflatten(0, (2, -1))
            prediction = self.fuse(image, (seen + mirrored.flip(-1)) / 2, age_text)
        else:
            prediction = self(pixels, age_text)
        parts = torch.stack([prediction.tower.estimate.logits, prediction.shares.estimate.logits], dim=1)
        return Description(prediction.embedding, prediction.estimate, parts, prediction.relevance())

    def encode_ages(self, template: int | None = None) -> Float[Tensor, "age embed"]:
        """Plain age prompts T, unit length; `template` as in `AgePrompts.forward`."""
        return self.prompts(self.towers, template)

    @property
    def scale(self) -> Float[Tensor, ""]:
        """exp(s), by which the contrastive loss multiplies cosines; at most 100, as in CLIP."""
        return self.towers.clip.logit_scale.exp().clamp(max=100)


def build_model(config: ModelConfig) -> CILF:
    """Put the parts together. With `config.clip.pretrained` open_clip loads (and may download) published weights."""
    towers = ClipTowers(config.clip)
    return CILF(
        towers,
        AgePrompts(towers, config.prompts),
        FourierFusion(towers.embed_dim, config.prompts.num_ages, config.fusion),
        ContextAwarePrompting(towers.embed_dim, config.prompts.gamma),
        AgeHead(config.prompts.num_ages),
    )
